"""The boundary: whatever a reader raises ends in a value, and in a note that says where and why, without content."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from certagent.domain.observations import Unreadable
from certagent.vantage.foreign_files import MOST_NOTES, Notes, Reading, read_foreign, read_part

FILE = Path("/etc/somebody/elses.file")


def _raise(error: Exception) -> str:
    raise error


def _recurse() -> str:
    return _recurse()


@pytest.mark.parametrize(
    ("reader", "line", "reason"),
    [
        (lambda: _raise(PermissionError(13, "Permission denied", str(FILE))), None, "Permission denied"),
        (lambda: _raise(OSError("no number")), None, "it cannot be opened"),
        (_recurse, None, "it is nested too deeply"),
        (lambda: b"a\n\xff".decode(), 2, "it is not UTF-8 text"),
        (lambda: json.loads('{\n"key": "secret"\n"a"'), 3, "Expecting ',' delimiter"),
        (lambda: {"a": "b"}["secret"], None, "it does not have the expected format (KeyError)"),
    ],
)
def test_what_a_reader_raises_is_noted(reader: Callable[[], str], line: int | None, reason: str | None) -> None:
    """With its line where the error knows it."""
    begun = time.process_time()
    reading = read_foreign(FILE, lambda _notes: reader(), "otherwise")
    (noted,) = reading.unreadable
    assert (reading.value, noted.file) == ("otherwise", str(FILE))
    if reason is not None:
        assert (noted.line, noted.reason) == (line, reason)
        assert "secret" not in noted.reason
    assert time.process_time() - begun < 2


def test_a_file_that_is_not_there_is_not_noted() -> None:
    """Nor is one that went meanwhile."""
    assert read_foreign(FILE, lambda _notes: FILE.read_bytes(), b"") == Reading(b"")


def test_one_part_is_left_out_and_the_rest_is_read() -> None:
    """What a reader notes by itself comes along."""

    def read(notes: Notes) -> list[int]:
        notes.add(FILE, 7, "a list is no name")
        texts = ("1", "two", "3")
        return [number for text in texts if (number := read_part(FILE, partial(int, text), 0, notes))]

    reading: Reading[list[int]] = read_foreign(FILE, read, [])
    assert reading.value == [1, 3]
    assert reading.unreadable == (
        Unreadable(file=str(FILE), line=7, reason="a list is no name"),
        Unreadable(file=str(FILE), reason="it does not have the expected format (ValueError)"),
    )


def test_notes_are_bounded_and_each_is_there_once() -> None:
    """A hostile file has a million mistakes."""
    notes = Notes()
    for line in range(2 * MOST_NOTES):
        notes.add(FILE, line // 2, "a mistake")
    assert len(notes.all()) == MOST_NOTES
