"""Regular expressions as nginx has them: PCRE2, bounded in time and memory. Pure."""

from functools import lru_cache
from typing import Any

import msgspec

_BOUNDS = b"(*LIMIT_MATCH=50000)(*LIMIT_DEPTH=2000)(*LIMIT_HEAP=2048)"
_LONGEST = 4096


class UndecidedError(Exception):
    """What only the running nginx knows; the message says what that is."""


class Match(msgspec.Struct, frozen=True):
    """Where a pattern matched: its groups, the whole first, and those that have names."""

    groups: tuple[str, ...]
    named: dict[str, str]


def search(pattern: str, text: str, *, ignore_case: bool = False) -> Match | None:
    """Where it matches, or None. Raises UndecidedError for one that PCRE refuses, or that takes too long."""
    compiled = _compile(pattern, ignore_case)
    import pcre2  # which has been imported by now

    try:
        found = compiled.search(text.encode(errors="surrogateescape"))
    except pcre2.LibraryError as error:
        raise UndecidedError("a regular expression takes too long to evaluate") from error
    if found is None:
        return None
    named = {name: _text(found[number]) for name, number in compiled.groupindex.items()}
    return Match(tuple(map(_text, (found[0], *found.groups()))), named)


@lru_cache(maxsize=4096)
def _compile(pattern: str, ignore_case: bool) -> Any:
    import pcre2  # only where a configuration has such patterns

    if len(pattern) > _LONGEST:
        raise UndecidedError("a regular expression is longer than certagent supports")
    try:
        return pcre2.compile(_BOUNDS + pattern.encode(errors="surrogateescape"), pcre2.I if ignore_case else 0)
    except pcre2.LibraryError as error:
        raise UndecidedError("a regular expression is not valid in PCRE") from error


def _text(group: bytes | None) -> str:
    return (group or b"").decode(errors="replace")
