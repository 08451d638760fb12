"""Files that others write, read as far as they are files: regular ones alone, within a bound, and without waiting.

A named pipe, a device or a folder in the place of a file holds nobody up.
"""

import errno
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

LARGEST_FILE = 4 * 1024 * 1024

_PIECE = 64 * 1024
_MOST_LINKS = 40  # as the kernel's own bound
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_NULL = os.makedev(1, 3)


class FileState(msgspec.Struct, frozen=True, kw_only=True):
    """A file as one look found it. `content` is None when it is absent or no file; `target` where a link leads to.

    `problem`: why something that is there is none that can be read ("it is a folder"); None for what is absent.
    `is_whole`: the file ends within `LARGEST_FILE` bytes; no more of it is read.
    `changed_at` is the latest ctime on the way (the file's, and that of every link): unlike mtime nobody can set it.
    """

    content: bytes | None = None
    problem: str | None = None
    is_whole: bool = True
    target: str | None = None
    modified_at: datetime | None = None
    changed_at: datetime | None = None
    owner: int | None = None
    group: int | None = None
    mode: int | None = None


def read_texts(path: Path, ending: str) -> list[tuple[str, str]]:
    """(name, text) of a file, or of those in a folder whose names end so, in their order. Raises OSError."""
    files = sorted(one for one in path.iterdir() if one.name.endswith(ending)) if path.is_dir() else [path]
    return [(str(file), read_bytes(file).decode("utf-8", "replace")) for file in files]


def read_bytes(file: Path, most: int = LARGEST_FILE) -> bytes:
    """The content of a regular file, or of one that a link leads to. Waits for nothing. Raises OSError: also for what
    is no regular file, and for one of more than `most` bytes."""
    try:
        _require_regular(os.stat(file), file, most)  # opening a device may already do something
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, "its name is not a valid file name", str(file)) from error
    with open(descriptor, "rb", buffering=0) as opened:
        _require_regular(os.fstat(descriptor), file, most)
        content = b""
        while len(content) <= most and (piece := opened.read(most + 1 - len(content))):
            content += piece
    if len(content) > most:
        raise _too_large(file, most)
    return content


def read_text(file: Path, most: int = LARGEST_FILE) -> str:
    """The same as text; what is not UTF-8 is replaced."""
    return read_bytes(file, most).decode("utf-8", "replace")


def is_there(file: Path) -> bool:
    """Whether anything is in the file's place, of whatever kind, readable or not; a link counts as what it leads to."""
    try:
        os.stat(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        return error.errno not in (errno.ELOOP, errno.ENAMETOOLONG)
    return True


def _require_regular(status: os.stat_result, file: Path, most: int) -> None:
    what = what_is_no_file(status)
    if what is not None:
        raise OSError(errno.EINVAL, what, str(file))
    if status.st_size > most:
        raise _too_large(file, most)


def _too_large(file: Path, most: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {most // 1024} KiB", str(file))


def read_within(root: Path, path: str) -> FileState:
    """A file as a process sees it whose root is `root`: links lead to where they lead *there*, not here."""
    top = str(root).rstrip("/")  # in strings: of thousands of files, path objects would be most of the work
    rest, walked, changed = path.strip("/").split("/"), top, []
    first_link: str | None = None
    links = 0
    try:
        while rest:
            part = rest.pop(0)
            if part in ("", "."):
                continue
            walked = f"{walked}/{part}" if part != ".." else _above(walked, top)
            status = os.lstat(walked or "/")
            if not stat.S_ISLNK(status.st_mode):
                continue
            links += 1
            if links > _MOST_LINKS:
                return FileState(target=first_link, problem="it is a link that points to itself")
            target = os.readlink(walked)
            changed.append(status.st_ctime)
            first_link = first_link or target
            rest = [*target.strip("/").split("/"), *rest]
            walked = top if target.startswith("/") else _above(walked, top)
        return _read_file(walked or "/", first_link, changed)
    except (FileNotFoundError, NotADirectoryError):
        return FileState(target=first_link, changed_at=_instant(max(changed, default=None)))
    except PermissionError:  # perhaps of the whole root: whoever asks knows whose world it is
        raise
    except OSError as error:
        return FileState(target=first_link, problem=error.strerror or "it cannot be opened")
    except ValueError:  # a NUL in the name
        return FileState(problem="its name is not a valid file name")


def _above(walked: str, top: str) -> str:
    """The folder that it is in, and never above the root."""
    return walked.rpartition("/")[0] if walked != top else top


def _read_bounded(file: BinaryIO) -> bytes:
    """A little more than `LARGEST_FILE` at most, in small pieces: a look every half minute shall not ask the kernel for
    4 MiB to read 200 bytes."""
    pieces, size = [], 0
    while size <= LARGEST_FILE and (piece := file.read(_PIECE)):  # None: a pipe with nothing in it
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def what_is_no_file(status: os.stat_result) -> str | None:
    """What something is that is no regular file: "it is a named pipe". None for a regular one, and for /dev/null: with
    links to that, files are emptied on purpose."""
    is_empty = stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL
    if is_empty or stat.S_ISREG(status.st_mode):
        return None
    return f"it is {_KINDS.get(stat.S_IFMT(status.st_mode), 'not a regular file')}"


def _read_file(path: str, target: str | None, changed: list[float]) -> FileState:
    problem = what_is_no_file(os.stat(path))  # before it is opened: a device may already do something then
    if problem is not None:
        return FileState(target=target, problem=problem, changed_at=_instant(max(changed, default=None)))
    with open(path, "rb", opener=_open_without_waiting) as file:
        status = os.fstat(file.fileno())
        content = _read_bounded(file)
    return FileState(
        content=content[:LARGEST_FILE],
        is_whole=len(content) <= LARGEST_FILE,
        target=target,
        modified_at=_instant(status.st_mtime),
        changed_at=_instant(max(status.st_ctime, *changed) if changed else status.st_ctime),
        owner=status.st_uid,
        group=status.st_gid,
        mode=stat.S_IMODE(status.st_mode),
    )


def _open_without_waiting(path: str, flags: int) -> int:
    """A named pipe in the place of a file must not hold us up, nor a link come to where just now there was none."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
