"""What `sed -i` makes of a file whose lines nobody knows: the lines that it adds, changes and takes out. Pure."""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from certagent.domain.sources.writes import UNKNOWN

_ADDRESS = re.compile(
    r"\s*(?:(?:\d+|\$)(?:,(?:\d+|\$))?|/(?P<pattern>(?:\\.|[^/\\])*)/I?(?:,\S+)?)?\s*!?\s*", re.DOTALL
)
_LONGEST = 64 * 1024


class Effect(StrEnum):
    """What becomes of a line."""

    ADD = "add"
    CHANGE = "change"
    DELETE = "delete"


class SedCommand(NamedTuple):
    """One command: for `ADD` and `CHANGE` the new text, for `DELETE` the pattern (None: not told)."""

    effect: Effect
    text: str | None


def read_sed(script: str) -> Iterator[SedCommand]:
    """The commands of a script that change what is in the file."""
    position, script = 0, script[:_LONGEST]
    while position < len(script):
        address = _ADDRESS.match(script, position)
        position = address.end() if address is not None else position
        letter = script[position : position + 1]
        pattern = address["pattern"] if address is not None else None
        if letter in ("a", "i", "c"):
            text, position = _text(script, position + 1)
            yield SedCommand(Effect.CHANGE if letter == "c" else Effect.ADD, text)
        elif letter == "s":
            parts, position = _parts(script, position + 1)
            if len(parts) == 2:
                yield SedCommand(Effect.CHANGE, _result(*parts))
        elif letter == "d":
            yield SedCommand(Effect.DELETE, pattern)
            position += 1
        else:
            position += 1


def _text(script: str, start: int) -> tuple[str, int]:
    """The text of `a`, `i` and `c`: to the end of the line that does not go on."""
    found = re.compile(r"(?:[ \t]*\\\n|[ \t]*\\?)(?P<text>(?:\\\n|\\.|[^\n])*)", re.DOTALL).match(script, start)
    if found is None:
        return "", start + 1
    text = found["text"].replace("\\\n", "\n").replace("\\t", "\t").replace("\\n", "\n")
    return re.sub(r"\\(.)", r"\1", text).lstrip(" \t"), found.end()


def _parts(script: str, start: int) -> tuple[list[str], int]:
    separator = script[start : start + 1]
    parts, part, position = list[str](), "", start + 1
    while separator and position < len(script) and len(parts) < 2:
        if script[position] == "\\" and position + 1 < len(script):
            part += script[position : position + 2]
            position += 1
        elif script[position] == separator:
            parts.append(part)
            part = ""
        else:
            part += script[position]
        position += 1
    while position < len(script) and script[position] not in ";\n}":
        position += 1
    return parts, position


def _result(pattern: str, replacement: str) -> str:
    """The line afterwards: what the pattern leaves of it is unknown."""
    text = replacement.replace("\\n", "\n").replace("\\t", "\t")
    text = re.sub(r"\\\d|(?<!\\)&", UNKNOWN, text)
    text = re.sub(r"\\(.)", r"\1", text)
    before = "" if pattern.startswith("^") else UNKNOWN
    after = "" if re.search(r"(?:\.\*\$?|(?<!\\)\$)$", pattern) else UNKNOWN
    return f"{before}{text}{after}"
