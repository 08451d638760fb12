"""Which location of a server of nginx takes a path. Pure.

Facts: nginx's documentation of `location`; `ngx_http_core_find_location` for nested ones.
"""

from collections.abc import Sequence

import msgspec

from certagent.domain.web_servers.nginx_patterns import Match, search
from certagent.domain.web_servers.nginx_syntax import Directive

_KINDS = ("=", "^~", "~*", "~")
PASSING = ("proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass", "memcached_pass")


class Located(msgspec.Struct, frozen=True):
    """The locations that take a path, from the outermost inwards. `is_folder`: it lacks the final slash of the last,
    which passes on: nginx redirects to that."""

    locations: tuple[Directive, ...] = ()
    matches: tuple[Match, ...] = ()
    is_final: bool = False
    is_folder: bool = False


def locate(block: Sequence[Directive], path: str) -> Located:
    """`=`, then the longest prefix, then the first regular expression unless that prefix says `^~`; again in those.

    Raises UndecidedError for a regular expression that cannot be tried.
    """
    locations = [(*split_match(one), one) for one in block if one.name == "location" and one.args]
    for kind, text, one in locations:
        if kind == "=" and text == path:
            return Located((one,), is_final=True)
    prefixes = [(len(text), kind, one) for kind, text, one in locations if kind in ("", "^~") and path.startswith(text)]
    longest = max(prefixes, key=lambda prefix: prefix[0], default=None)
    if longest is None or longest[0] < len(path):
        for kind, text, one in locations:
            if kind in ("", "^~", "=") and text == f"{path}/" and any(inner.name in PASSING for inner in one.block):
                return Located((one,), is_final=True, is_folder=True)
    found = Located()
    if longest is not None:
        found = _within(longest[2], path)
        if found.is_final:
            return found
    return found if longest is not None and longest[1] == "^~" else _by_pattern(locations, path) or found


def _by_pattern(locations: Sequence[tuple[str, str, Directive]], path: str) -> Located | None:
    for kind, text, one in locations:
        if kind in ("~", "~*"):
            match = search(text, path, ignore_case=kind == "~*")
            if match is not None:
                inner = _within(one, path)
                return Located(inner.locations, (match, *inner.matches), is_final=True, is_folder=inner.is_folder)
    return None


def _within(location: Directive, path: str) -> Located:
    inner = locate(location.block, path)
    return Located((location, *inner.locations), inner.matches, inner.is_final, inner.is_folder)


def split_match(location: Directive) -> tuple[str, str]:
    """The modifier and what it applies to, which may be one word."""
    if len(location.args) > 1:
        return location.args[0], location.args[1]
    text = location.args[0]
    kind = next((kind for kind in _KINDS if text.startswith(kind)), "@" if text.startswith("@") else "")
    return kind, text if kind == "@" else text[len(kind) :]


def inherited(blocks: Sequence[Directive], *names: str) -> Sequence[Directive]:
    """The lines of these names, of the innermost of the blocks that has any."""
    for block in reversed(blocks):
        if found := [line for line in block.block if line.name in names]:
            return found
    return []
