"""Files are changed whole or not at all."""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from certagent.system import files
from certagent.system.files import FileContent, Owner, UnknownOwnerError


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_file_is_private_from_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask; owner and mode are set before the content."""
    seen: list[tuple[int, int]] = []
    real = os.fchmod

    def spy(descriptor: int, mode: int) -> None:
        seen.append((os.fstat(descriptor).st_size, stat.S_IMODE(os.fstat(descriptor).st_mode)))
        real(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", spy)
    before = os.umask(0)
    try:
        files.write_file(tmp_path / "key", FileContent(content=b"secret", mode=0o640, owner=Owner(0, 0)))
    finally:
        os.umask(before)
    assert seen == [(0, 0o600)]
    assert _mode(tmp_path / "key") == 0o640


def test_a_reader_sees_the_old_or_the_new(tmp_path: Path) -> None:
    """One rename, also over a link: what the link points to stays as it is."""
    (tmp_path / "target").write_bytes(b"elsewhere")
    (tmp_path / "file").symlink_to("target")
    with (tmp_path / "file").open("rb") as opened:
        files.write_file(tmp_path / "file", FileContent(content=b"new"))
        assert opened.read() == b"elsewhere"
    assert files.read_file(tmp_path / "file") == b"new"
    assert (tmp_path / "target").read_bytes() == b"elsewhere"


def test_what_a_killed_run_left_does_not_matter(tmp_path: Path) -> None:
    """Nor does a trap of that name."""
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / ".file.new").symlink_to("precious")
    files.write_file(tmp_path / "file", FileContent(content=b"new"))
    (tmp_path / ".folder.new").mkdir()
    (tmp_path / ".folder.new" / "half").write_bytes(b"")
    files.write_folder(tmp_path / "folder", {"one": FileContent(content=b"1")})
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "precious"]
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["one"]
    assert _mode(tmp_path / "folder") == 0o700


def test_what_cannot_be_whole_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a file takes the room that a full disk does not have."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    for write in (
        partial(files.write_file, tmp_path / "file", FileContent(content=b"new")),
        partial(files.rewrite_file, tmp_path / "file", b"new"),
    ):
        with pytest.raises(OSError, match="No space left"):
            write()
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


def test_a_pipe_in_the_place_of_a_file_is_an_error_at_once(tmp_path: Path) -> None:
    """Nobody writes into it, and nobody waits for that."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is not a regular file"):
        files.read_file(tmp_path / "pipe")


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Reading a link is an error, a link is no folder."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to("secret")
    with pytest.raises(OSError, match="symbolic links") as raised:
        files.read_file(tmp_path / "link")
    assert raised.value.errno == errno.ELOOP
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder-link").symlink_to("folder")
    with pytest.raises(NotADirectoryError):
        files.make_folder(tmp_path / "folder-link")


def test_a_lock_is_a_regular_file(tmp_path: Path) -> None:
    """Neither a link's target, nor a pipe, whose other end nobody may ever open."""
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("precious")
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("link", "symbolic links"), ("pipe", "not a regular file")):
        with pytest.raises(OSError, match=said), files.lock_file(tmp_path / name, "us"):
            pass
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_locks_holder_is_written_into_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although somebody puts a link in its place just then; and nothing holds the file for writing."""
    lock, real = tmp_path / "lock", fcntl.flock
    (tmp_path / "precious").write_bytes(b"precious")

    def swap(descriptor: int, operation: int) -> None:
        real(descriptor, operation)
        lock.rename(tmp_path / "moved")
        lock.symlink_to("precious")

    monkeypatch.setattr(fcntl, "flock", swap)
    with files.lock_file(lock, "us"):
        assert (tmp_path / "precious").read_bytes() == b"precious"
        assert (tmp_path / "moved").read_bytes() == b"us"
        held = [Path("/proc/self/fdinfo", fd.name) for fd in Path("/proc/self/fd").iterdir() if _leads_to(fd, "moved")]
        assert [int(info.read_text().split()[3], 8) & os.O_ACCMODE for info in held] == [os.O_RDONLY]


def _leads_to(descriptor: Path, name: str) -> bool:
    with suppress(FileNotFoundError):
        return descriptor.readlink().name == name
    return False


def test_a_link_is_swapped_in_one_rename(tmp_path: Path) -> None:
    """From nothing, from a file, from another link; and not at all when it is right."""
    link = tmp_path / "current"
    for before in (None, "file", "link"):
        link.unlink(missing_ok=True)
        if before == "file":
            link.write_bytes(b"")
        if before == "link":
            link.symlink_to("1")
        files.swap_link(link, "2")
        assert files.read_link(link) == "2"
    inode = link.lstat().st_ino
    files.swap_link(link, "2")
    assert link.lstat().st_ino == inode


def test_a_staged_write_is_one_event_for_who_watches(tmp_path: Path) -> None:
    """Nothing but the file itself appears in its folder."""
    (tmp_path / "watched").mkdir()
    (tmp_path / "staging").mkdir()
    (tmp_path / "watched" / "file").write_bytes(b"")
    with os.scandir(tmp_path / "watched"):
        files.write_file(tmp_path / "watched" / "file", FileContent(content=b"1"), staging=tmp_path / "staging")
    assert [path.name for path in (tmp_path / "watched").iterdir()] == ["file"]


def test_owners_are_names_or_numbers_that_exist() -> None:
    """A name that this machine does not have is said so."""
    assert files.find_owner("root", "root") == Owner(0, 0)
    assert files.find_owner("33", "0") == Owner(33, 0)
    with pytest.raises(UnknownOwnerError, match="there is no group 'nobody-has-this' on this machine"):
        files.find_owner("root", "nobody-has-this")
