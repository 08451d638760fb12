"""Files as they are changed here: whole or not at all, with mode and owner from the first byte, no link followed.

Everything blocks (and waits for the disk): call it from a thread where that matters. All functions raise OSError.
"""

import errno
import fcntl
import grp
import os
import pwd
import select
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
LARGEST_GIVEN = 4 * 1024 * 1024
GIVEN_SECONDS = 5.0
_LONGEST_HOLDER = 200
_GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS, linux/fs.h
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20


class Owner(msgspec.Struct, frozen=True):
    """Whom a file is to belong to, by number."""

    uid: int
    gid: int


class FileContent(msgspec.Struct, frozen=True, kw_only=True):
    """What a file is to be. `owner` None: whoever this process is."""

    content: bytes
    mode: int = PRIVATE_FILE
    owner: Owner | None = None


class LockedError(Exception):
    """Another process holds the lock; the message says who, as far as it said so itself."""


class UnknownOwnerError(Exception):
    """A user or group that this machine does not have."""


def find_owner(user: str, group: str) -> Owner:
    """The numbers of a user and a group, given by name or as a number. Raises `UnknownOwnerError`."""
    return Owner(_number(user, "user"), _number(group, "group"))


def find_user(user: str) -> Owner:
    """The numbers of a user and of its own group, by name or as a number. Raises `UnknownOwnerError`."""
    uid = _number(user, "user")
    try:
        return Owner(uid, pwd.getpwuid(uid).pw_gid)
    except KeyError:
        return Owner(uid, uid)


def write_file(path: Path, file: FileContent, *, staging: Path | None = None) -> None:
    """Replace `path` by one rename. The new content is first written in `staging` (default: beside `path`), which
    must be on the same file system; nobody who watches the folder of `path` then sees anything but the rename."""
    temporary = (staging or path.parent) / f".{path.name}.new"
    _create(temporary, file)
    temporary.rename(path)
    sync_folder(path.parent)


def rewrite_file(path: Path, content: bytes) -> None:
    """Replace a file's content; owner, mode and extended attributes stay. By one rename; where that cannot be (the
    path is a mount point) or must not be (the file has other names), in place: see `_overwrite`."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    if status.st_nlink > 1:
        _overwrite(path, content)
        return
    temporary = path.with_name(f".{path.name}.new")
    owner, mode = Owner(status.st_uid, status.st_gid), stat.S_IMODE(status.st_mode)
    _create(temporary, FileContent(content=content, mode=mode, owner=owner))
    for name in os.listxattr(path, follow_symlinks=False):
        if not name.startswith("security."):  # the kernel's own to give, and not ours to set in a container
            os.setxattr(temporary, name, os.getxattr(path, name, follow_symlinks=False), follow_symlinks=False)
    try:
        temporary.rename(path)
    except OSError as error:
        temporary.unlink()
        if error.errno != errno.EBUSY:
            raise
        _overwrite(path, content)
    sync_folder(path.parent)


def is_file_as(path: Path, file: FileContent) -> bool:
    """Whether a regular file is there with that content, mode and owner."""
    if read_file(path) != file.content:
        return False
    found = path.lstat()
    is_owned = file.owner is None or Owner(found.st_uid, found.st_gid) == file.owner
    return is_owned and stat.S_IMODE(found.st_mode) == file.mode


def is_immutable(path: Path) -> bool:
    """Whether the kernel lets nobody change that file (`chattr +i`, `+a`); False where it cannot be told."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    flags = bytearray(8)
    try:
        fcntl.ioctl(descriptor, _GET_FLAGS, flags)
    except OSError:  # a file system without such flags
        return False
    finally:
        os.close(descriptor)
    return bool(int.from_bytes(flags[:4], sys.byteorder) & (_IMMUTABLE | _APPEND_ONLY))


def write_folder(path: Path, files: Mapping[str, FileContent], *, mode: int = PRIVATE_FOLDER) -> None:
    """A new folder with these files, complete as soon as it exists. Raises FileExistsError if it does already."""
    if os.path.lexists(path):
        raise FileExistsError(f"{path} exists")
    temporary = path.with_name(f".{path.name}.new")
    remove_folder(temporary)
    make_folder(temporary, mode)
    for name, file in files.items():
        _create(temporary / name, file)
    sync_folder(temporary)
    temporary.rename(path)
    sync_folder(path.parent)


@contextmanager
def lock_file(path: Path, holder: str) -> Iterator[None]:
    """Be the only process that holds this file, until the end or until this process ends, however it does. Raises
    `LockedError`, and OSError. `holder` is what others are told."""
    # Held for reading: a file system that has to become read-only must not find it busy.
    flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, PRIVATE_FILE)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            said = os.pread(descriptor, _LONGEST_HOLDER, 0).decode("utf-8", "replace").strip()
            raise LockedError(said or "another process") from error
        with suppress(OSError):
            # this very file, whatever the path leads to by now
            Path(f"/proc/self/fd/{descriptor}").write_text(holder[:_LONGEST_HOLDER], encoding="utf-8")
        yield
    finally:
        os.close(descriptor)


def require_writable(folder: Path) -> None:
    """Raise OSError, as a write would, if no file can be renamed into the folder. Leaves nothing there, not even an
    event for who watches it."""
    read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
    if not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EROFS if read_only else errno.EACCES
        raise OSError(number, os.strerror(number), str(folder))


def make_folder(path: Path, mode: int = PRIVATE_FOLDER) -> None:
    """A folder with that mode, made if need be (its parent exists). Raises NotADirectoryError for anything else,
    links included."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        with suppress(FileExistsError):  # somebody else was faster
            path.mkdir(mode)
            sync_folder(path.parent)
        found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{path} is not a folder")
    if stat.S_IMODE(found.st_mode) != mode:
        path.chmod(mode)


def swap_link(link: Path, target: str) -> None:
    """Make `link` point to `target` by one rename, whatever it was before. Does nothing if it points there."""
    if read_link(link) == target:
        return
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.rename(link)
    sync_folder(link.parent)


def read_link(link: Path) -> str | None:
    """Where a link points; None when there is none or it is no link."""
    return os.readlink(link) if link.is_symlink() else None


def read_file(path: Path) -> bytes | None:
    """A regular file's content, or None when there is none. Raises OSError for a link (ELOOP), and for whatever else is
    no regular file; waits for no pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return file.read()


def read_given(path: Path, *, most: int = LARGEST_GIVEN) -> bytes:
    """What a person pointed at: a file, a link to one, or a pipe (`<(...)` in a shell). At most `most` bytes; raises
    TimeoutError when a pipe's writer keeps silent."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    content = b""
    with open(descriptor, "rb", buffering=0) as file:
        while len(content) < most:
            if not select.select([file], [], [], GIVEN_SECONDS)[0]:
                raise TimeoutError(f"nothing came in {GIVEN_SECONDS:g} s")
            piece = file.read(most - len(content))
            if not piece:
                break
            content += piece
    return content


def remove_file(path: Path) -> None:
    """Remove a file or a link, if it is there."""
    with suppress(FileNotFoundError):
        path.unlink()
        sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder with all it holds, if it is there; what links inside point to stays."""
    if os.path.lexists(path):
        shutil.rmtree(path)


def sync_folder(path: Path) -> None:
    """Wait until the folder's own entries are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _overwrite(path: Path, content: bytes) -> None:
    """In place, by one write that covers the old content (with line feeds at its end), then the new end. Killed
    between the two, a resolver file means the new content already. One write of a page is not cut in two."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        covering = content.ljust(os.fstat(descriptor).st_size, b"\n")
        if os.pwrite(descriptor, covering, 0) != len(covering):
            raise OSError(errno.EIO, "it was written in part", str(path))
        os.ftruncate(descriptor, len(content))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(path: Path, file: FileContent) -> None:
    """A new file, in place of whatever a killed run left under that name. None is left when it cannot be whole."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, PRIVATE_FILE)
    try:
        with open(descriptor, "wb") as opened:
            if file.owner is not None:
                os.fchown(opened.fileno(), file.owner.uid, file.owner.gid)
            os.fchmod(opened.fileno(), file.mode)
            opened.write(file.content)
            opened.flush()
            os.fsync(opened.fileno())
    except OSError:
        with suppress(OSError):
            path.unlink()  # half of it only fills a full disk
        raise


def _number(name: str, kind: str) -> int:
    try:
        if name.isdigit():
            return int(name)
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise UnknownOwnerError(f"there is no {kind} {name!r} on this machine") from error
