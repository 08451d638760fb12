"""Files as they are changed here: whole or not at all, with mode and owner from the first byte, by a walk that follows
no link of somebody else's (see `certagent.system.folders`).

Everything blocks (and waits for the disk): call it from a thread where that matters. All functions raise OSError.
"""

import errno
import fcntl
import grp
import os
import pwd
import select
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from certagent.system.file_content import PRIVATE_FOLDER, read_all
from certagent.system.file_content import FileContent as FileContent
from certagent.system.file_content import Owner as Owner
from certagent.system.folders import Folder
from certagent.system.path_walk import make_folders, open_folder
from certagent.system.unsafe_paths import Danger

LARGEST_GIVEN = 4 * 1024 * 1024
GIVEN_SECONDS = 5.0
_LONGEST_HOLDER = 200
_GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS, linux/fs.h
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20


@dataclass(frozen=True)
class Given:
    """A file that a person pointed at, or its beginning."""

    file: Path
    content: bytes
    is_whole: bool = True


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


def write_file(path: Path, file: FileContent, *, staging: Path | None = None, is_durable: bool = True) -> None:
    """Replace `path` by one rename. The new content is first written in `staging` (default: beside `path`), which
    must be on the same file system; nobody who watches the folder of `path` then sees anything but the rename."""
    with ExitStack() as opened:
        folder = opened.enter_context(open_folder(path.parent))
        source = opened.enter_context(open_folder(staging)) if staging is not None else None
        folder.write(path.name, file, source, is_durable=is_durable)


def create_file(path: Path, content: str) -> None:
    """A new file for everybody to read, as far as the umask has it, with the folders above it. Raises FileExistsError
    for whatever is there."""
    make_public_folder(path.parent)
    with open_folder(path.parent) as folder:
        folder.create(path.name, FileContent(content=content.encode(), mode=0o666 & ~_umask()))


def create_private_file(path: Path, content: str) -> None:
    """A new file for this process's user alone. Raises FileExistsError for whatever is there."""
    make_public_folder(path.parent)
    with open_folder(path.parent) as folder:
        folder.create(path.name, FileContent(content=content.encode()))


def make_public_folder(path: Path) -> None:
    """A folder for everybody to read, as far as the umask has it, made with those above it if need be."""
    make_folders(path, 0o777 & ~_umask())


def rewrite_file(path: Path, content: bytes) -> None:
    """Replace a file's content; owner, mode and extended attributes stay: see `Folder.rewrite`."""
    with open_folder(path.parent) as folder:
        folder.rewrite(path.name, content)


def is_file_as(folder: Folder, name: str, file: FileContent) -> bool:
    """Whether a regular file is in the folder with that content, mode and owner."""
    try:
        descriptor = folder.open_file(name)
    except FileNotFoundError:
        return False
    try:
        found = os.fstat(descriptor)
        is_owned = file.owner is None or Owner(found.st_uid, found.st_gid) == file.owner
        return is_owned and stat.S_IMODE(found.st_mode) == file.mode and read_all(descriptor) == file.content
    finally:
        os.close(descriptor)


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
    with open_folder(path.parent) as folder:
        folder.add(path.name, files, mode)


@contextmanager
def lock_file(path: Path, holder: str) -> Iterator[None]:
    """Be the only process that holds this file, until the end or until this process ends, however it does. Raises
    `LockedError`, and OSError. `holder` is what others are told."""
    # Held for reading: a file system that has to become read-only must not find it busy.
    with open_folder(path.parent) as folder:
        descriptor = folder.open_file(path.name, os.O_RDONLY | os.O_CREAT)
    try:
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
    """Raise OSError, as a write would, if no file can be renamed into the folder: see `Folder.require_writable`."""
    with open_folder(folder) as opened:
        opened.require_writable()


def make_folder(path: Path, mode: int = PRIVATE_FOLDER) -> None:
    """A folder with that mode, made if need be (its parent exists). One that is there keeps its mode where others can
    exchange it. Raises NotADirectoryError for anything else, links included."""
    with suppress(OSError):
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == mode:
            return  # nothing is to be done; who opens it walks
    with open_folder(path.parent) as folder:
        if not folder.make(path.name, mode):
            folder.set_mode(path.name, mode)


def make_own_folder(path: Path) -> None:
    """A folder for this process's user alone, made if need be. Raises `UnsafePathError` where it is another user's, one
    that others can exchange, or one that is shared on purpose: its sticky bit says so."""
    with open_folder(path.parent) as parent:
        parent.make(path.name)
        with parent.enter(path.name) as folder:
            is_ours = folder.uid in (0, os.geteuid()) and parent.trust.keeps(folder.uid)
            if not is_ours or folder.mode & stat.S_ISVTX:
                raise folder.refusal_of("", Danger.NOT_PRIVATE)
        parent.set_mode(path.name, PRIVATE_FOLDER)


def swap_link(link: Path, target: str, *, is_durable: bool = True) -> None:
    """Make `link` point to `target` by one rename, whatever it was before. Does nothing if it points there."""
    with open_folder(link.parent) as folder:
        folder.swap_link(link.name, target, is_durable=is_durable)


def read_link(link: Path) -> str | None:
    """Where a link points; None when there is none or it is no link."""
    if not link.is_symlink():
        return None
    try:
        with open_folder(link.parent) as folder:
            return folder.read_link(link.name)
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_file(path: Path) -> bytes | None:
    """A regular file's content, or None when there is none. Raises OSError for a link (ELOOP), and for whatever else is
    no regular file; waits for no pipe."""
    try:
        path.lstat()  # most that is asked for is not there: that is cheap to see
        with open_folder(path.parent) as folder:
            return folder.read(path.name)
    except FileNotFoundError:
        return None


def read_files(folder: Path, *names: str) -> list[bytes | None]:
    """The same of several in one folder, by one walk to it."""
    try:
        with open_folder(folder) as opened:
            return [opened.read(name) for name in names]
    except FileNotFoundError:
        return [None] * len(names)


def read_beginning(path: Path, *, most: int = LARGEST_GIVEN) -> Given:
    """What a person pointed at: a file, a link to one, or a pipe (`<(...)` in a shell). At most `most` bytes; raises
    TimeoutError when a pipe's writer keeps silent."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    content = b""
    with open(descriptor, "rb", buffering=0) as file:
        while len(content) <= most:
            if not select.select([file], [], [], GIVEN_SECONDS)[0]:
                raise TimeoutError(f"no answer within {GIVEN_SECONDS:g} s")
            piece = file.read(most + 1 - len(content))
            if not piece:
                break
            content += piece
    return Given(path, content[:most], is_whole=len(content) <= most)


def read_given(path: Path) -> bytes:
    """The whole of it. Raises OSError also for what is longer than `LARGEST_GIVEN`."""
    given = read_beginning(path)
    if not given.is_whole:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST_GIVEN // 2**20} MiB", str(path))
    return given.content


def remove_file(path: Path, *, is_durable: bool = True) -> None:
    """Remove a file or a link, if it is there."""
    with suppress(FileNotFoundError):
        path.lstat()  # most that is removed is not there: that is cheap to see
        with open_folder(path.parent) as folder:
            folder.remove(path.name, is_durable=is_durable)


def remove_folder(path: Path) -> None:
    """Remove a folder with all it holds, or a file, if it is there; what links lead to stays."""
    with suppress(FileNotFoundError), open_folder(path.parent) as folder:
        folder.remove_tree(path.name)


def _umask() -> int:
    """This process's own; for commands, which have no other threads."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _number(name: str, kind: str) -> int:
    try:
        if name == "root":  # by far the most usual
            return 0
        if name.isdigit():
            return int(name)
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise UnknownOwnerError(f"there is no {kind} {name!r} on this machine") from error
