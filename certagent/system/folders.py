"""Folders held open: files are reached from a descriptor, never by a path that somebody else can lead elsewhere.

A walk begins at / and opens one folder after the other. It follows a link only where nobody else can have put it: every
folder up to it belongs to root (or to this process's user), and nobody else can write it. In a folder that somebody
else can change, no link is followed, and what is there already keeps its mode.

Everything blocks. All methods raise OSError with the full path: `UnsafePathError` where a path is refused.
"""

import errno
import functools
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from certagent.system.file_content import PRIVATE_FILE, PRIVATE_FOLDER, FileContent, Owner, read_all, write_all
from certagent.system.folder_syncs import sync
from certagent.system.unsafe_paths import ChangeableFolder, Danger, PathTrust, UnsafePathError

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Files = Mapping[str, FileContent]
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def look_at(folder: int, name: str) -> tuple[int, os.stat_result]:
    """What has that name in an open folder, whatever it is, a link as a link: a descriptor of it, and its status."""
    descriptor = os.open(name, _LOOK, dir_fd=folder)
    return descriptor, os.fstat(descriptor)


def _with_full_path(
    method: Callable[Concatenate["Folder", _Given], _Result],
) -> Callable[Concatenate["Folder", _Given], _Result]:
    """What the kernel says of a name is said of its whole path."""

    @functools.wraps(method)
    def call(folder: "Folder", /, *arguments: _Given.args, **options: _Given.kwargs) -> _Result:
        try:
            return method(folder, *arguments, **options)
        except OSError as error:
            if isinstance(error.filename, str):
                error.filename = str(folder.path / error.filename)
            raise

    return call


class Folder:
    """A folder by its descriptor, wherever its path leads by now; as a context manager it is closed in the end."""

    def __init__(self, path: Path, descriptor: int, trust: PathTrust) -> None:
        self.path = path
        self.trust = trust
        self.descriptor = descriptor

    def __enter__(self) -> "Folder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)

    @property
    def uid(self) -> int:
        """Whose it is."""
        return os.fstat(self.descriptor).st_uid

    @property
    def mode(self) -> int:
        """As chmod has it."""
        return stat.S_IMODE(os.fstat(self.descriptor).st_mode)

    def change_mode(self, mode: int) -> None:
        """Whatever leads to it: see `set_mode`."""
        with self._listed() as descriptor:
            os.fchmod(descriptor, mode)

    def refusal_of(self, name: str, danger: Danger) -> UnsafePathError:
        """Why what is there is not touched."""
        return UnsafePathError(
            self.path / name, danger, self.trust.changeable or ChangeableFolder(self.path, self.uid, self.mode)
        )

    @_with_full_path
    def names(self) -> list[str]:
        """What is in it."""
        with self._listed() as descriptor:
            return os.listdir(descriptor)

    @_with_full_path
    def status(self, name: str) -> os.stat_result:
        """Of what is there, a link as a link."""
        return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)

    @_with_full_path
    def enter(self, name: str) -> "Folder":
        """A folder in it. Raises NotADirectoryError for anything else, and `UnsafePathError` for somebody's link."""
        descriptor, status = look_at(self.descriptor, name)
        if stat.S_ISDIR(status.st_mode):
            path = self.path / name
            return Folder(path, descriptor, self.trust.of_folder(path, status))
        os.close(descriptor)
        if stat.S_ISLNK(status.st_mode) and self.trust.changeable is not None:
            raise self.refusal_of(name, Danger.LINK)
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)

    @_with_full_path
    def open_file(self, name: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of a regular file, for the caller to close. Waits for no pipe. Raises OSError for a link (ELOOP)
        and whatever else is no regular file; where others can change the folder, also for a file of somebody else's
        with a second name, which may be anywhere."""
        descriptor = os.open(name, _OPEN | flags, PRIVATE_FILE, dir_fd=self.descriptor)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file", name)
            if self.trust.changeable is not None and status.st_nlink > 1 and status.st_uid != self.uid:
                raise self.refusal_of(name, Danger.SECOND_NAME)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def read(self, name: str) -> bytes | None:
        """A regular file's content, or None when there is none; see `open_file`."""
        try:
            descriptor = self.open_file(name)
        except FileNotFoundError:
            return None
        try:
            return read_all(descriptor)
        finally:
            os.close(descriptor)

    @_with_full_path
    def read_link(self, name: str) -> str | None:
        """Where a link points; None when there is none or it is no link."""
        try:
            return os.readlink(name, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINVAL):
                return None
            raise

    @_with_full_path
    def create(self, name: str, file: FileContent, *, is_durable: bool = True) -> None:
        """A new file, with owner and mode from its first byte, on the disk if it is to be durable. None is left when it
        cannot be whole. Raises FileExistsError for whatever is there."""
        descriptor = os.open(name, _CREATE, PRIVATE_FILE, dir_fd=self.descriptor)
        try:
            if file.owner is not None:
                os.fchown(descriptor, file.owner.uid, file.owner.gid)
            os.fchmod(descriptor, file.mode)
            write_all(descriptor, file.content)
            if is_durable:
                os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                self._unlink(name)  # half of it only fills a full disk
            raise
        finally:
            os.close(descriptor)

    @_with_full_path
    def write(self, name: str, file: FileContent, staging: "Folder | None" = None, *, is_durable: bool = True) -> None:
        """Replace a file by one rename, out of `staging` (default: this folder), on the same file system. Not
        `is_durable`: a power cut may lose it, or its content, and a killed process loses nothing."""
        (staging or self)._replace(name, file, self, is_durable=is_durable)

    @_with_full_path
    def rewrite(self, name: str, content: bytes) -> None:
        """Replace a file's content; owner, mode and extended attributes stay. By one rename; where that cannot be (it
        is a mount point) or must not be (it has other names), in place: see `_overwrite`."""
        descriptor = self.open_file(name)
        try:
            status = os.fstat(descriptor)
            if status.st_nlink > 1:
                self._overwrite(name, content)
                return
            owner, mode = Owner(status.st_uid, status.st_gid), stat.S_IMODE(status.st_mode)
            try:
                self._replace(name, FileContent(content=content, mode=mode, owner=owner), self, descriptor)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                self._overwrite(name, content)
        finally:
            os.close(descriptor)

    @_with_full_path
    def swap_link(self, name: str, target: str, *, is_durable: bool = True) -> None:
        """Make the link point to `target` by one rename, whatever it was before. Does nothing if it points there."""
        if self.read_link(name) == target:
            return
        temporary = f".{name}.new"
        self._unlink(temporary)
        os.symlink(target, temporary, dir_fd=self.descriptor)
        os.rename(temporary, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        if is_durable:
            self.sync()

    @_with_full_path
    def make(self, name: str, mode: int = PRIVATE_FOLDER) -> bool:
        """A new folder with that mode; False when something is there already, which is left as it is."""
        try:
            os.mkdir(name, PRIVATE_FOLDER, dir_fd=self.descriptor)
        except FileExistsError:
            return False
        if not self.set_mode(name, mode):
            raise self.refusal_of(name, Danger.EXCHANGED)
        return True

    @_with_full_path
    def set_mode(self, name: str, mode: int) -> bool:
        """Of a folder in it. Where others can exchange that folder, only of one that is ours and still empty; False:
        it is as it was."""
        with self.enter(name) as folder:
            if folder.mode == mode:
                return True
            is_unused = folder.uid == os.geteuid() and not folder.names()
            if not is_unused and not self.trust.keeps(folder.uid):
                return False
            folder.change_mode(mode)
        return True

    @_with_full_path
    def add(self, name: str, files: Files, mode: int = PRIVATE_FOLDER, *, is_durable: bool = True) -> None:
        """A new folder with these files, complete as soon as it exists; what is in them is on the disk before. Raises
        FileExistsError if it does already. Not `is_durable`: a later `sync` of this folder makes it so."""
        if name in self.names():
            raise FileExistsError(errno.EEXIST, "it exists", name)
        temporary = f".{name}.new"
        with suppress(FileNotFoundError):  # a killed run's
            self.remove_tree(temporary)
        self.make(temporary, mode)
        with self.enter(temporary) as folder:
            for file_name, file in files.items():
                folder.create(file_name, file)
        os.rename(temporary, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        if is_durable:
            self.sync()

    @_with_full_path
    def remove(self, name: str, *, is_durable: bool = True) -> None:
        """Remove a file or a link. Raises FileNotFoundError."""
        os.unlink(name, dir_fd=self.descriptor)
        if is_durable:
            self.sync()

    @_with_full_path
    def remove_tree(self, name: str) -> None:
        """Remove what is there, a folder with all that it holds; what links lead to stays. Raises FileNotFoundError."""
        if stat.S_ISDIR(self.status(name).st_mode):
            shutil.rmtree(name, dir_fd=self.descriptor)
        else:
            self._unlink(name)

    @_with_full_path
    def remove_if_only(self, name: str, files: Sequence[str]) -> None:
        """Remove a folder that belongs to this process's user, or to whom this one belongs, and that holds none but
        these files, in their order; leave any other as it is."""
        with self.enter(name) as folder:
            names = folder.names()
            is_known = folder.uid in (os.geteuid(), self.uid) and set(names) <= set(files)
            if not is_known or any(stat.S_ISDIR(folder.status(file).st_mode) for file in names):
                return
            for file in sorted(names, key=files.index):
                os.unlink(file, dir_fd=folder.descriptor)
        os.rmdir(name, dir_fd=self.descriptor)

    @_with_full_path
    def require_writable(self) -> None:
        """Raise OSError, as a write would, if no file can be renamed into it. Leaves nothing there, not even an event
        for who watches it."""
        read_only = os.statvfs(self.descriptor).f_flag & os.ST_RDONLY
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=self.descriptor):
            number = errno.EROFS if read_only else errno.EACCES
            raise OSError(number, os.strerror(number), "")

    def sync(self) -> None:
        """Wait until its own entries are on the disk; within `synced_once`, at its end."""
        with self._listed() as descriptor:
            sync(descriptor)

    def _replace(
        self, name: str, file: FileContent, where: "Folder", attributes_of: int | None = None, is_durable: bool = True
    ) -> None:
        """Out of this folder into another one. `attributes_of`: whose extended attributes it gets."""
        temporary = f".{name}.new"
        self._unlink(temporary)  # a killed run's
        self.create(temporary, file, is_durable=is_durable)
        try:
            if attributes_of is not None:
                self._copy_attributes(attributes_of, temporary)
            os.rename(temporary, name, src_dir_fd=self.descriptor, dst_dir_fd=where.descriptor)
        except OSError:
            with suppress(OSError):
                self._unlink(temporary)
            raise
        if is_durable:
            where.sync()

    def _copy_attributes(self, source: int, name: str) -> None:
        target = self.open_file(name)
        try:
            for attribute in os.listxattr(source):
                if not attribute.startswith("security."):  # the kernel's own, and not ours to set in a container
                    os.setxattr(target, attribute, os.getxattr(source, attribute))
        finally:
            os.close(target)

    def _overwrite(self, name: str, content: bytes) -> None:
        """In place, by one write that covers the old content (with line feeds at its end), then the new end. Killed
        between the two, a resolver file means the new content already. One write of a page is not cut in two."""
        if self.trust.changeable is not None:
            raise self.refusal_of(name, Danger.SECOND_NAME)
        descriptor = self.open_file(name, os.O_WRONLY)
        try:
            covering = content.ljust(os.fstat(descriptor).st_size, b"\n")
            if os.pwrite(descriptor, covering, 0) != len(covering):
                raise OSError(errno.EIO, "it was only partly written", name)
            os.ftruncate(descriptor, len(content))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _unlink(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    @contextmanager
    def _listed(self) -> Iterator[int]:
        """Its descriptor for what a path's descriptor cannot do."""
        descriptor = os.open(".", _LIST, dir_fd=self.descriptor)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
