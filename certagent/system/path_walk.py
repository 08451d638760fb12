"""The walk from / to a folder or a file. Which links it follows says `certagent.system.folders`.

A folder that nobody else can exchange is not walked to again for a fifth of a second: it is opened at once, and is the
same one if it has the same inode.
"""

import errno
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from certagent.system.file_content import FileContent, Owner, read_all
from certagent.system.folders import Folder, look_at
from certagent.system.regular_files import what_is_no_file
from certagent.system.unsafe_paths import ROOTS_ALONE, Danger, PathTrust, UnsafePathError, is_roots_alone

LARGEST_LINKED = 4 * 1024 * 1024

_MOST_LINKS = 40  # as the kernel's own bound


class _WalkedTo:
    """The folders that were walked to a moment ago, as far as nobody but root (and this process's user) can put another
    one in their place: what has their inode is still what was walked to."""

    SECONDS = 0.2
    MOST = 256

    def __init__(self) -> None:
        self._inodes: dict[str, tuple[int, int]] = {}
        self._since = 0.0

    def note(self, path: str, status: os.stat_result) -> None:
        """It was walked to just now; it and all those above it are root's alone."""
        if len(self._inodes) < self.MOST:
            self._inodes[path] = (status.st_dev, status.st_ino)

    def open(self, path: str) -> int | None:
        """A descriptor of that folder; None where it has to be walked to. Raises OSError."""
        now = time.monotonic()
        if now - self._since > self.SECONDS:
            self._since, self._inodes = now, {}
        known = self._inodes.get(path)
        if known is None:
            return None
        descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) == known and is_roots_alone(status):
            return descriptor
        os.close(descriptor)
        return None


_walked_to = _WalkedTo()


def open_folder(path: Path) -> Folder:
    """The folder at `path`, to be closed by the caller. Raises OSError, `UnsafePathError` for a link that others can
    have put there."""
    with _Walk() as walk:
        walk.follow(path)
        folder = walk.take()
    folder.path = path  # as people know it
    return folder


def make_folders(path: Path, mode: int) -> None:
    """A folder with all those above it that are missing, as `open_folder` comes to them; what is there stays as it
    is. Raises FileExistsError for what is no folder."""
    try:
        open_folder(path).close()
    except NotADirectoryError as error:
        if error.filename == str(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        raise
    except FileNotFoundError:
        make_folders(path.parent, mode)
        with open_folder(path.parent) as above:
            above.make(path.name, mode)


def read_linked(path: Path) -> FileContent:
    """The regular file at `path` or behind the links there, with its owner and mode; 4 MiB at most.

    A link that others can have put there is followed to what is theirs already: to a file of the very user who owns
    the folder, if nobody but that user can write it. Raises OSError as `Folder.open_file` does.
    """
    with _Walk(to_file=True) as walk:
        name = walk.follow(path)
        folder = walk.folder()
        problem = what_is_no_file(folder.status(name))
        if problem is not None:  # opening a device may already do something
            raise OSError(errno.EINVAL, problem, str(path))
        descriptor = folder.open_file(name)
        try:
            status = os.fstat(descriptor)
            walk.require_maker(status.st_uid)
            content = read_all(descriptor, LARGEST_LINKED + 1)
        finally:
            os.close(descriptor)
    if len(content) > LARGEST_LINKED:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST_LINKED // 1024} KiB", str(path))
    return FileContent(content=content, mode=status.st_mode & 0o777, owner=Owner(status.st_uid, status.st_gid))


class _Walk:
    """The folders from / to where it is, all of them open. `to_file`: what it comes to is no folder, and only read."""

    def __init__(self, *, to_file: bool = False) -> None:
        self._names: list[str] = []  # the first is where it began: "" for /, or the path of a folder that is known
        self._descriptors: list[int] = []
        self._trusts: list[PathTrust] = []
        self._to_file = to_file
        self._maker: int | None = None  # whose links were followed
        self._refusal: UnsafePathError | None = None  # in case that they lead to what is not theirs
        self._links = 0

    def __enter__(self) -> "_Walk":
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)

    def folder(self) -> Folder:
        """Where it is; closed with the walk."""
        return Folder(Path("/".join(self._names) or "/"), self._descriptors[-1], self._trusts[-1])

    def take(self) -> Folder:
        """Where it is, no longer to be closed with the walk."""
        folder = self.folder()
        self._descriptors.pop()
        return folder

    def follow(self, path: Path) -> str:
        """Go there; answers the name in the last folder that is to be read, "" without `to_file`."""
        rest = self._begin(str(path if path.is_absolute() else path.absolute()))
        while rest:
            name = rest.pop()
            if name == "..":
                rest += self._go_up()
                continue
            descriptor, status = self._look_at(name)
            if stat.S_ISDIR(status.st_mode):
                self._enter(name, descriptor, status)
                continue
            try:
                target = os.readlink("", dir_fd=descriptor) if stat.S_ISLNK(status.st_mode) else None
            finally:
                os.close(descriptor)
            if target is not None:
                self._check_link(name)
                if target.startswith("/"):
                    self._restart()
                rest += _parts(target)
            elif self._to_file and not rest:
                return name
            else:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._path_of(name))
        if self._to_file:
            raise OSError(errno.EINVAL, "it is a folder", str(path))
        return ""

    def require_maker(self, uid: int) -> None:
        """Raise `UnsafePathError` if another user's link has led to a file that is not that user's."""
        if self._refusal is not None and self._maker != uid:
            raise self._refusal

    def _begin(self, path: str) -> list[str]:
        """Be in the last folder on that way that was walked to a moment ago; answers the rest of the way."""
        begun = path
        while begun:
            with suppress(OSError):  # told by the walk
                descriptor = _walked_to.open(begun)
                if descriptor is not None:
                    self._push(begun, descriptor, ROOTS_ALONE)
                    break
            begun = begun.rpartition("/")[0]
        else:
            self._restart()
        return _parts(path[len(begun) :])

    def _restart(self) -> None:
        """Be in /: whoever can change that has all of it."""
        self._leave(to=0)
        self._push("", os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), ROOTS_ALONE)

    def _go_up(self) -> list[str]:
        """Be in the folder above; or, where it began here, in /, with the way from there to the one above."""
        if len(self._names) > 1:
            self._leave(to=len(self._names) - 1)
            return []
        begun = self._names[0]
        self._restart()
        return _parts(begun.rpartition("/")[0])

    def _push(self, name: str, descriptor: int, trust: PathTrust) -> None:
        self._names.append(name)
        self._descriptors.append(descriptor)
        self._trusts.append(trust)

    def _look_at(self, name: str) -> tuple[int, os.stat_result]:
        try:
            return look_at(self._descriptors[-1], name)
        except OSError as error:
            error.filename = self._path_of(name)
            raise

    def _path_of(self, name: str) -> str:
        return "/".join((*self._names, name))

    def _enter(self, name: str, descriptor: int, status: os.stat_result) -> None:
        trust, path = self._trusts[-1], self._path_of(name)
        if trust is not ROOTS_ALONE or not is_roots_alone(status):
            trust = trust.of_folder(Path(path), status)
        self._push(name, descriptor, trust)
        if trust is ROOTS_ALONE:
            _walked_to.note(path, status)

    def _leave(self, *, to: int) -> None:
        """Be so many folders deep."""
        while len(self._names) > to:
            self._names.pop()
            self._trusts.pop()
            os.close(self._descriptors.pop())

    def _check_link(self, name: str) -> None:
        """May it be followed? Raises OSError if not."""
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._path_of(name))
        changeable, folder = self._trusts[-1].changeable, self.folder()
        if changeable is None:
            return
        is_alone = changeable.is_owners_alone and folder.uid == changeable.uid and not folder.mode & 0o022
        self._refusal = self._refusal or folder.refusal_of(name, Danger.LINK)
        if not self._to_file or not is_alone or self._maker not in (None, changeable.uid):
            raise self._refusal
        self._maker = changeable.uid


def _parts(path: str) -> list[str]:
    """The last one first, without the root."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
