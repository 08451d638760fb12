"""The one boundary between certagent and files that others write: whatever they contain, reading ends in a value.

A reader notes what it cannot use and goes on with the rest; what it raises all the same is caught here, once for all.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from certagent.domain.observations import Unreadable

T = TypeVar("T")


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
        self._noted[Unreadable(file=str(file), line=line, reason=reason)] = None

    def all(self) -> tuple[Unreadable, ...]:
        """Everything noted."""
        return tuple(self._noted)


def read_foreign(file: Path, reader: Callable[[Notes], T], otherwise: T) -> Reading[T]:
    """What `reader` makes of `file`; `otherwise` where even that fails. Never raises."""
    notes = Notes()
    try:
        return Reading(reader(notes), notes.all())
    except OSError as error:
        notes.add(error.filename or file, None, error.strerror or "it cannot be opened")
    except RecursionError:
        notes.add(file, None, "it is nested too deeply")
    except Exception as error:  # the boundary: nothing that others write may end the agent
        notes.add(file, None, f"it is not what a reader of such files expects ({type(error).__name__})")
    return Reading(otherwise, notes.all())
