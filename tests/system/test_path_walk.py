"""A walk begins at a folder that was walked to a moment ago, and ends where a whole walk would."""

import os
from pathlib import Path

import pytest

from certagent.system.path_walk import open_folder, read_linked
from certagent.system.unsafe_paths import Danger, UnsafePathError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One of this user's alone, that was just walked to; however slow the machine is."""
    monkeypatch.setattr("certagent.system.path_walk._WalkedTo.SECONDS", 60.0)
    made = tmp_path / "a" / "b"
    made.mkdir(parents=True, mode=0o755)
    open_folder(made).close()
    return made


def _inode(path: Path) -> int:
    with open_folder(path) as opened:
        return os.fstat(opened.descriptor).st_ino


def _opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is opened meanwhile, on the way to the folder."""
    seen, real = list[str](), os.open

    def spy(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        seen.append(str(path))
        return real(path, flags, mode, dir_fd=dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", spy)
        open_folder(folder).close()
    return seen


def test_it_is_not_walked_to_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is opened at once, and what is below it from there."""
    (folder / "c").mkdir()
    assert _opened(folder, monkeypatch) == [str(folder)]
    assert _opened(folder / "c", monkeypatch) == [str(folder), "c"]


def test_another_folder_in_its_place_is_walked_to(folder: Path) -> None:
    """One that others can change is known as such."""
    known = folder.stat().st_ino
    folder.rename(folder.with_name("before"))
    folder.mkdir()
    folder.chmod(0o777)
    with open_folder(folder) as opened:
        assert os.fstat(opened.descriptor).st_ino == folder.stat().st_ino != known
        assert opened.trust.changeable is not None


def test_the_same_folder_that_others_may_write_by_now_is_known_as_that(folder: Path) -> None:
    """No link in it is followed."""
    folder.chmod(0o777)
    (folder / "link").symlink_to("/etc")
    with pytest.raises(UnsafePathError) as refused:
        open_folder(folder / "link")
    assert refused.value.danger is Danger.LINK


def test_a_link_in_its_place_is_followed_as_ever(folder: Path) -> None:
    """Where nobody else can have put it."""
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    folder.symlink_to("elsewhere")
    assert _inode(folder) == elsewhere.stat().st_ino


def test_the_way_up_from_it_is_that_of_its_path(folder: Path) -> None:
    """By a path with "..", by a link up, and by one that begins at /."""
    (folder / "up").symlink_to("../..")
    (folder / "root").symlink_to("/")
    above = folder.parent.parent
    assert _inode(folder / ".." / "..") == _inode(folder / "up") == above.stat().st_ino
    assert _inode(folder / "root") == Path("/").stat().st_ino
    assert _inode(Path("/..")) == Path("/").stat().st_ino


def test_a_file_is_read_from_there(folder: Path) -> None:
    """Also by a link; a folder is no file, known or not."""
    (folder / "file").write_bytes(b"content")
    (folder.parent / "link").symlink_to("b/file")
    assert read_linked(folder / "file").content == read_linked(folder.parent / "link").content == b"content"
    with pytest.raises(OSError, match="it is a folder"):
        read_linked(folder)
