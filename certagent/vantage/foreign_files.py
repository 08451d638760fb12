"""The one boundary between certagent and files that others write: whatever they contain, reading ends in a value.

A reader notes what it cannot use and goes on with the rest; what it raises all the same is caught here, once for all.
Readers open files by `certagent.system.regular_files` alone: nothing waits, and a named pipe or a device in the place
of a file is noted like any other mistake.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from certagent.domain.observations import Unreadable
from certagent.system.regular_files import LARGEST_FILE

T = TypeVar("T")

_LONGEST_REASON = 200
_WITHIN = re.compile(r"^/proc/\d+/root/")  # how we come to a file that another process knows by the rest

MOST_NOTES = 200
"""Of one reading: nobody mends more at once, and a hostile file must not cost us dearly."""


def beginning_of(file: str, most: int = LARGEST_FILE) -> Unreadable:
    """Say that only the first `most` bytes of a file were read."""
    reason = f"it is larger than {most // 2**20} MiB, and only that part of it was read"
    return Unreadable(file=file, reason=reason, is_long=True)


class Reading(msgspec.Struct, Generic[T], frozen=True):
    """What a reader made of a file and of those that it leads to, and what of them could not be read."""

    value: T
    unreadable: tuple[Unreadable, ...] = ()


class Notes:
    """What a reader could not use so far, each once, in the order in which it was met."""

    def __init__(self) -> None:
        self._noted: dict[Unreadable, None] = {}

    def add(self, file: Path | str, line: int | None, reason: str) -> None:
        """`line` counts from 1; `reason` ends the sentence "FILE cannot be read: ", without anything of the file."""
        self.extend((Unreadable(file=str(file), line=line, reason=reason),))

    def extend(self, unreadable: Iterable[Unreadable]) -> None:
        """Everything that another reading noted."""
        for one in unreadable:
            if len(self._noted) < MOST_NOTES:
                self._noted[one] = None

    def add_error(self, file: Path | str, error: Exception) -> None:
        """What a reader of `file` raised; nothing for a file that is not there."""
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return
        if isinstance(error, OSError):
            named = str(error.filename if isinstance(error.filename, str | Path) else file)
            self.add(_WITHIN.sub("/", named), None, error.strerror or "it cannot be opened")
        else:
            self.add(file, _line_of(error), _reason_of(error))

    def all(self) -> tuple[Unreadable, ...]:
        """Everything noted."""
        return tuple(self._noted)


def read_foreign(file: Path, reader: Callable[[Notes], T], otherwise: T) -> Reading[T]:
    """What `reader` makes of `file`; `otherwise` where even that fails. Never raises."""
    notes = Notes()
    value = read_part(file, lambda: reader(notes), otherwise, notes)
    return Reading(value, notes.all())


def read_part(file: Path, reader: Callable[[], T], otherwise: T, notes: Notes) -> T:
    """What `reader` makes of a part of `file`, or of one file of several; `otherwise`, noted, where it fails: the rest
    goes on. Never raises."""
    try:
        return reader()
    except Exception as error:  # the boundary: nothing that others write may end the agent
        notes.add_error(file, error)
        return otherwise


def _reason_of(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeError):
        return "it is not UTF-8 text"
    said = getattr(error, "problem", None) or getattr(error, "msg", None)
    if isinstance(said, str) and said:
        return said.partition(" with value ")[0][:_LONGEST_REASON]  # a key that is there twice, without its value
    return f"it does not have the expected format ({type(error).__name__})"


def _line_of(error: Exception) -> int | None:
    """As the error says it: a JSON document's, a YAML document's (counted from 0), that of bytes which are no text."""
    if isinstance(error, UnicodeDecodeError):
        return error.object[: error.start].count(b"\n") + 1
    line = getattr(getattr(error, "problem_mark", None), "line", None)
    if isinstance(line, int):
        return line + 1
    line = getattr(error, "lineno", None)
    return line if isinstance(line, int) and line > 0 else None
