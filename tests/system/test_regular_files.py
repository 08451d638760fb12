"""Whatever stands in the place of a file, reading it ends at once: in its content, or in an error that says why."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from certagent.system.regular_files import LARGEST_FILE, is_there, read_bytes, read_text, read_within


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _folder(path: Path) -> None:
    path.mkdir()


def _zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


IN_ITS_PLACE = [(_pipe, "a named pipe"), (_socket, "a socket"), (_folder, "a folder"), (_zeros, "a device")]


@pytest.mark.parametrize(("make", "what"), IN_ITS_PLACE)
def test_what_is_no_file_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], what: str
) -> None:
    """It is there, nobody waits for it, and what it is is said."""
    monkeypatch.chdir(tmp_path)  # a socket's name has to be short
    path = Path("f")
    make(path)
    assert is_there(path)
    with pytest.raises(OSError, match=f"it is {what}"):
        read_bytes(path)
    if what != "a device":  # which is not below this root
        found = read_within(tmp_path, "/f")
        assert (found.content, found.problem) == (None, f"it is {what}")


def test_what_is_not_there_is_not_there(tmp_path: Path) -> None:
    """A link that leads nowhere, or to itself, or a name that is none."""
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("none", "gone", "loop", "none/below", "a\0b", "n" * 5000):
        assert not is_there(tmp_path / name), name
    assert read_within(tmp_path, "/a\0b").problem == "its name is not a valid file name"
    with pytest.raises(OSError, match="its name is not a valid file name"):
        read_bytes(tmp_path / "a\0b")
    assert read_within(tmp_path, "/none").problem is None


def test_a_file_that_was_emptied_by_a_link_is_empty(tmp_path: Path) -> None:
    """As systemd's drop-ins are masked."""
    (tmp_path / "f").symlink_to("/dev/null")
    assert read_bytes(tmp_path / "f") == b""


def test_a_file_is_read_within_its_bound(tmp_path: Path) -> None:
    """What is no UTF-8 is replaced; more than the bound is not read at all."""
    (tmp_path / "f").write_bytes(b"a\xff\0b")
    assert read_text(tmp_path / "f") == "a\ufffd\0b"
    os.truncate(tmp_path / "f", LARGEST_FILE + 1)
    with pytest.raises(OSError, match="it is larger than 4096 KiB"):
        read_bytes(tmp_path / "f")
