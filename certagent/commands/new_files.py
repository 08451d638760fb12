"""The files that `certagent init` and `certagent join` make: new ones only; whatever is there stays as it is."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from certagent.system.files import create_file, make_public_folder


class ExistsError(Exception):
    """The configuration that is to be written is there already; the message names it."""


class NewFile(msgspec.Struct, kw_only=True):
    """A file that would be made. `exists`: something is there. `done`: it was made."""

    file: str
    content: str
    exists: bool
    done: bool = False


def plan_file(file: Path, content: str) -> NewFile:
    """The file as it would be made, if nothing is there."""
    return NewFile(file=str(file), content=content, exists=os.path.lexists(file))


def write_files(files: Sequence[NewFile]) -> None:
    """The last one first: whoever finds the configuration, which is the first, finds what it names. Raises OSError."""
    make_public_folder(Path(files[0].file).parent)  # nothing is written where it cannot be
    for new in reversed(files):
        if not new.exists:
            create_file(Path(new.file), new.content)
            new.done = True


def say_files(files: Sequence[dict[str, object]]) -> list[str]:
    """For a person: what became of each, or what would."""
    return [
        f"# {new['file']}: "
        + ("exists, left unchanged" if new["exists"] else ("written" if new["done"] else "would be written"))
        for new in files
    ]
