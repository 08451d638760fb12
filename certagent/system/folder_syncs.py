"""Folders whose changes are to be on the disk: each at once, or those of many changes together.

A file's content is on the disk before its name is, in any case; and a file system with a journal never has a change of
names without the ones before it (ext4, XFS, btrfs, ZFS). So a power cut leaves the old or the new, whenever the folders
are synced; when that has been done, it is the new.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


class _Later(threading.local):
    """The folders of this thread that are yet to be synced: a descriptor of each, by what it is. None: each at once."""

    folders: dict[tuple[int, int], int] | None = None


_later = _Later()


def sync(folder: int) -> None:
    """Wait until the folder's entries are on the disk; within `synced_once`, at its end. Raises OSError."""
    waiting = _later.folders
    if waiting is None:
        os.fsync(folder)
        return
    status = os.fstat(folder)
    if (status.st_dev, status.st_ino) not in waiting:
        waiting[status.st_dev, status.st_ino] = os.dup(folder)


@contextmanager
def synced_once() -> Iterator[None]:
    """The folders that this thread changes meanwhile are synced at the end, each once. Raises OSError then."""
    if _later.folders is not None:
        yield
        return
    waiting: dict[tuple[int, int], int] = {}
    _later.folders = waiting
    with ExitStack() as closing:
        try:
            yield
        finally:
            _later.folders = None
            for folder in waiting.values():
                closing.callback(os.close, folder)
        for folder in waiting.values():
            os.fsync(folder)
