"""What a place of provisioning code writes, and the values that it is made of. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE
from certagent.domain.resolution.files import NSSWITCH_FILE

UNKNOWN = "\ufffc"
"""Stands in a text for what the code does not tell."""
SHOWN_UNKNOWN = "<?>"
MOST_TEXT = 256 * 1024
_LONGEST_LINE = 200
DNSMASQ_FILE = "/etc/dnsmasq.conf"

_DNSMASQ_FOLDER = re.compile(r"/etc/dnsmasq\.d/[^/]+")
_MANY_UNKNOWN = re.compile(f"{UNKNOWN}+")


class Sureness(StrEnum):
    """How a text is known."""

    LITERAL = "literal"
    RESOLVED = "resolved variable"
    UNKNOWN_PART = "unknown part"


class Mode(StrEnum):
    """What becomes of the rest of the file."""

    APPEND = "append"
    REPLACE = "replace"
    EDIT = "edit"


class CodePlace(NamedTuple):
    """A line of the tree; `source` is relative to its root."""

    source: str
    line: int


class Value(NamedTuple):
    """A text that may have unknown parts. `resolved`: not all of it stands where it is used. `row`: where its first
    line is in the script at hand, if each of its line feeds is one there; `origin`: the same line of the tree, once it
    came through a variable or an argument."""

    text: str
    resolved: bool = False
    row: int | None = None
    origin: CodePlace | None = None

    def joined(self, other: "Value") -> "Value":
        """Both, one after the other; too much of it is not told."""
        row = self.row if other.row is not None or "\n" not in other.text else None
        text = self.text + other.text
        origin = None if other.text else self.origin
        return Value(text if len(text) <= MOST_TEXT else UNKNOWN, self.resolved or other.resolved, row, origin)

    @property
    def is_known(self) -> bool:
        """Whether no part is unknown."""
        return UNKNOWN not in self.text


NOBODY_KNOWS = Value(UNKNOWN, True)


class TextLine(NamedTuple):
    """A line, or a part of one, on its way into a file. `is_rest`: stands for what was in a file before; `caller`: the
    call that gave the command its words."""

    text: str
    place: CodePlace
    resolved: bool = False
    is_rest: bool = False
    caller: CodePlace | None = None


Text = tuple[TextLine, ...]
"""Parts in their order; a line ends where a text has its line feed."""


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One line that ends up in a resolver file. `node`: null where the code does not tell. `guarded`: a further run
    adds nothing; null unless `mode` is `append`. `manager`: who writes the file because of it, at every start.
    `command`: where the first line stands that is written together with it; `caller`: the call of a function or of a
    script that gave the words."""

    file: str
    text: str
    place: CodePlace
    sureness: Sureness
    mode: Mode
    node: str | None = None
    guarded: bool | None = None
    manager: str | None = None
    command: CodePlace | None = None
    caller: CodePlace | None = None


def sureness_of(text: str, resolved: bool) -> Sureness:
    """By what the text is made of."""
    if UNKNOWN in text:
        return Sureness.UNKNOWN_PART
    return Sureness.RESOLVED if resolved else Sureness.LITERAL


def shown(text: str) -> str:
    """The text with what is unknown as `<?>`."""
    return _MANY_UNKNOWN.sub(SHOWN_UNKNOWN, text)


def is_resolver_file(path: str) -> bool:
    """Whether what is written there decides how names are resolved."""
    known = (HOSTS_FILE, RESOLV_CONF_FILE, NSSWITCH_FILE, DNSMASQ_FILE)
    return path in known or _DNSMASQ_FOLDER.fullmatch(path) is not None


def whole_lines(text: Text) -> Iterator[TextLine]:
    """Its lines, without line feeds; each with the place of its first part that has a character."""
    parts: list[TextLine] = []
    for part in text:
        if part.is_rest:
            yield part
            continue
        *ended, rest = part.text.split("\n")
        for number, piece in enumerate(ended):
            parts.append(part._replace(text=piece, place=part.place))
            yield _one_line(parts)
            parts = []
            del number
        if rest:
            parts.append(part._replace(text=rest))
    if parts:
        yield _one_line(parts)


def _one_line(parts: list[TextLine]) -> TextLine:
    if len(parts) == 1:
        return parts[0]
    first = next((part for part in parts if part.text), parts[0])
    resolved = any(part.resolved for part in parts if part.text)
    return TextLine("".join(part.text for part in parts), first.place, resolved, caller=first.caller)


def lines_at(text: str, source: str, first: int = 1, *, resolved: bool = False) -> Text:
    """A text that stands in the tree line for line."""
    return tuple(
        TextLine(line + "\n", CodePlace(source, number), resolved)
        for number, line in enumerate(text.removesuffix("\n").split("\n"), first)
    )


def code_lines(text: str) -> list[str]:
    """The lines of a file of the code as they are quoted."""
    return [line.strip()[:_LONGEST_LINE] for line in text.split("\n")]


class Note(NamedTuple):
    """Something that could not be read, and why."""

    place: CodePlace
    reason: str


class SourceTree:
    """The files of a tree by their paths, relative to its root. What is not text is not there."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def read(self, path: str) -> str | None:
        """A file's text."""
        normal = normalized(path)
        return self._files.get(normal) if normal is not None else None

    def under(self, folder: str) -> Iterator[str]:
        """The paths below a folder, sorted; "" is the root."""
        prefix = f"{folder}/" if folder else ""
        return (path for path in sorted(self._files) if path.startswith(prefix))

    def first(self, paths: Iterable[str]) -> str | None:
        """The first of these paths that is there, in its normal form."""
        for path in paths:
            normal = normalized(path)
            if normal is not None and self._files.get(normal) is not None:
                return normal
        return None


def normalized(path: str) -> str | None:
    """Without `.`, `..` and doubled slashes; None for one that leads out of the tree."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def folder_of(path: str) -> str:
    """The folder that a path of the tree is in; "" is the root."""
    return path.rpartition("/")[0]
