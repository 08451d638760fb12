"""Texts as a shell joins, unescapes and changes them. Pure."""

import re
from collections.abc import Sequence
from itertools import pairwise

from certagent.domain.sources.shell_patterns import remove_prefix, remove_suffix, substitute
from certagent.domain.sources.writes import UNKNOWN, Value

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "v": "\v", "\\": "\\"}
_ESCAPES |= {"'": "'", '"': '"'}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|0?[0-7]{1,3}|.)", re.DOTALL)


def change(text: str, operation: str) -> str:
    """`${x%...}` and its kin: what follows the name, applied; unknown for what is none of them."""
    if operation.startswith("#"):
        return remove_prefix(text, operation.lstrip("#"), longest=operation.startswith("##"))
    if operation.startswith("%"):
        return remove_suffix(text, operation.lstrip("%"), longest=operation.startswith("%%"))
    if operation.startswith("/"):
        pattern, _, other = operation.lstrip("/").partition("/")
        return substitute(text, pattern, other, everywhere=operation.startswith("//"))
    cases = {",,": text.lower(), "^^": text.upper(), ",": text[:1].lower() + text[1:], "^": text[:1].upper() + text[1:]}
    return cases.get(operation, UNKNOWN)


def join_values(values: Sequence[Value]) -> Value:
    """All of them without anything between."""
    if not values:
        return Value("", True)
    joined = values[0]
    for _, value in pairwise(values):
        joined = joined.joined(value)
    return joined


def unescape(text: str) -> str:
    """As `echo -e`, `printf` and `$'...'` do."""
    return _ESCAPE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = found[1]
    if code.startswith("x") and len(code) > 1:
        return chr(int(code[1:], 16))
    if code[0] in "01234567":
        return chr(int(code, 8))
    return _ESCAPES.get(code, found[0])


def without_backslashes(word: str) -> str:
    """A word without quotes as it is meant."""
    return re.sub(r"\\(.)", lambda found: "" if found[1] == "\n" else found[1], word, flags=re.DOTALL)


def join_spaced(pieces: Sequence[Value]) -> Value:
    """All of them with a blank between."""
    if not pieces:
        return Value("", True)
    if len(pieces) == 1:
        return pieces[0]
    return Value(" ".join(piece.text for piece in pieces), any(piece.resolved for piece in pieces))
