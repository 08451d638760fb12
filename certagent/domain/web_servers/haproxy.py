"""HAProxy's configuration: which files its listeners load certificates from. Pure.

Only what is needed to find certificates: the sections' `bind` lines, and `crt-base` of `global`.
"""

import posixpath
import re
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from certagent.domain.observations import Place

_SECTIONS = {
    "backend", "cache", "crt-store", "defaults", "fcgi-app", "frontend", "global", "http-errors", "listen",
    "log-forward", "mailers", "peers", "program", "resolvers", "ring", "userlist",
}  # fmt: skip
_LISTENING = {"frontend", "listen"}
_WORD = re.compile(r"""(?:[^\s\\"'#]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+""")
_ESCAPED = re.compile(r"\\(.)")
_PART = re.compile(r"""\\(.)|"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\\"']+)""")


class HaproxyBind(msgspec.Struct, frozen=True, kw_only=True):
    """A `bind` line with certificates. `addresses`: as written (`*:443`, `:443`, `[::1]:443`); `crt`: files and
    folders, absolute where that can be known; `lists`: its `crt-list` files; `is_proxied`: it expects the PROXY
    protocol."""

    place: Place
    addresses: tuple[str, ...]
    crt: tuple[str, ...]
    lists: tuple[str, ...] = ()
    is_proxied: bool = False


def find_binds(files: Sequence[tuple[str, str]]) -> tuple[HaproxyBind, ...]:
    """Of all files (name, text), in the order in which HAProxy reads them. What is no configuration has none."""
    section, base, found = "", "", []
    for name, text in files:
        for number, line in enumerate(text.splitlines(), start=1):
            words = split_line(line)
            if words and words[0] in _SECTIONS:
                section = words[0]
            elif section == "global" and words[:1] == ["crt-base"] and len(words) > 1:
                base = words[1]
            elif section in _LISTENING and words[:1] == ["bind"] and len(words) > 1:
                found.append(_bind(Place(file=name, line=number, text=line.strip()), words, base))
    return tuple(bind for bind in found if bind.crt or bind.lists)


def split_line(line: str) -> list[str]:
    """The words of a line, without quotes and comments, as HAProxy splits them; variables stay as they are."""
    words = []
    position = 0
    while position < len(line):
        if line[position].isspace():
            position += 1
            continue
        match = _WORD.match(line, position)
        if match is None:  # a comment, or a quote that never ends
            break
        words.append("".join(map(_unquoted, _PART.finditer(match[0]))))
        position = match.end()
    return words


def _unquoted(part: re.Match[str]) -> str:
    escaped, quoted, literal, plain = part.groups(default="")
    return escaped + _ESCAPED.sub(r"\1", quoted) + literal + plain


def loads(binds: Sequence[HaproxyBind], file: str) -> bool:
    """Whether one of them loads that file: by its name, or by its folder's; or may do so by a list."""
    folder = posixpath.dirname(file)
    return any(bind.lists or file in bind.crt or folder in {one.rstrip("/") for one in bind.crt} for bind in binds)


def _bind(place: Place, words: Sequence[str], base: str) -> HaproxyBind:
    options = words[2:]
    named = [(word, following) for word, following in pairwise(options)]
    return HaproxyBind(
        place=place,
        addresses=tuple(one for one in words[1].split(",") if one),
        crt=tuple(posixpath.join(base, value) for word, value in named if word == "crt"),
        lists=tuple(value for word, value in named if word == "crt-list"),
        is_proxied="accept-proxy" in options,
    )
