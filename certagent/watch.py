"""Watching files: watchdog's events are hints, content decides. Knows nothing of what the files mean.

The event filter leaves out opens and reads: a node that resolves names all day must not wake the agent. Folders are
watched, never files, so links, renames and absence survive; a link's target folder is watched as well, and one that
was made anew is watched anew. Mounts come and go without any event of files: the kernel's table of mounts tells of
them. Where inotify is unavailable, the slow comparison goes on alone, faster, and inotify is asked for again.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirModifiedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from certagent.domain.reports import Contents, FileChange, compare
from certagent.system.mounts import watch_mounts
from certagent.system.regular_files import read_within

ChangeSet = tuple[FileChange, ...]
_Identity = tuple[int, int]  # device and inode

_LONGEST_LINK_CHAIN = 8
_LONGEST_BURST = 10  # quiet periods after which a burst that never ends is looked at all the same
_DEGRADED_SECONDS = 1.0
_EVENTS: list[type[FileSystemEvent]] = [
    FileModifiedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirModifiedEvent,
    DirMovedEvent,
]

# watchdog holds a rename away back for half a second, and all that follows it, in case its other end comes. We pair
# nothing: an event is a hint.
InotifyMoveEventGrouper.delay = 0.0


class WatchedPaths(NamedTuple):
    """What is to be watched: files, and folders where a new file may come to count."""

    files: tuple[Path, ...]
    folders: tuple[Path, ...] = ()


def read_contents(paths: tuple[Path, ...]) -> Contents:
    """What the files hold now, 4 MiB of each at most; None where there is none to be read. Blocks for no pipe."""
    return {str(path): _read(path) for path in paths}


class Watch:
    """Files under watch. `degraded` is why inotify is not in use, or None; `contents` is what was last yielded.

    `async for changes in watch.changes(known)` yields one set per quiet period, the last state never lost; the first
    set is what differs from `known` at once. An empty set means that `degraded` has changed.

    `find`, where there is one, is asked before each look which paths are to be watched by then.
    """

    def __init__(
        self,
        paths: tuple[Path, ...],
        quiet_for: timedelta,
        reconcile_every: timedelta,
        find: Callable[[], WatchedPaths] | None = None,
    ) -> None:
        self.degraded: str | None = None
        self.contents: Contents = {}
        self._watched = WatchedPaths(paths)
        self._find = find
        self._quiet_seconds = quiet_for.total_seconds()
        self._reconcile_seconds = reconcile_every.total_seconds()
        self._hint = asyncio.Event()
        self._observer: BaseObserver | None = None
        self._folders: dict[Path, tuple[_Identity, ObservedWatch]] = {}
        self._ask_again_at = 0.0

    async def changes(self, known: Contents) -> AsyncIterator[ChangeSet]:
        """Change sets, without end, against `known` and then against the last one yielded."""
        self.contents = known
        degraded = self.degraded
        while True:
            self._hint.clear()
            if self._find is not None:
                self._watched = await asyncio.to_thread(self._find)
            self._follow_links()
            current = await asyncio.to_thread(read_contents, self._watched.files)
            differences = compare(self.contents, _with_those_gone(self.contents, current))
            self.contents = current
            if differences or degraded != self.degraded:
                degraded = self.degraded
                yield differences
            await self._wait()

    def start(self) -> None:
        """Ask for events; on failure go on without and remember why."""
        loop = asyncio.get_running_loop()
        self._handler = _Hint(lambda: loop.call_soon_threadsafe(self.hint))
        self._ask_again_at = loop.time() + self._reconcile_seconds
        self.degraded = None
        try:
            self._observer = Observer()  # asks for the instance already
            self._observer.start()
        except OSError as error:
            self._degrade(error)
        self._follow_links()

    def hint(self) -> None:
        """Something may have changed."""
        self._hint.set()

    def stop(self) -> None:
        """Give the events up; returns when the observer's threads have ended."""
        self._folders.clear()
        if self._observer is not None:
            self._observer.stop()
            if self._observer.is_alive():
                self._observer.join()
            self._observer = None

    def _follow_links(self) -> None:
        """Watch the folders that now decide on the content: a link's target may have moved, or a folder been made
        anew under the same name."""
        if self._observer is None:
            return
        wanted = _deciding_folders([*self._watched.files, *(folder / "a-file" for folder in self._watched.folders)])
        for folder in [one for one, (identity, _) in self._folders.items() if wanted.get(one) != identity]:
            self._observer.unschedule(self._folders.pop(folder)[1])
        try:
            for folder in wanted.keys() - self._folders.keys():
                watched = self._observer.schedule(self._handler, str(folder), recursive=False, event_filter=_EVENTS)
                self._folders[folder] = (wanted[folder], watched)
        except FileNotFoundError:
            self._hint.set()  # it went just now: look again
        except OSError as error:
            self._degrade(error)

    def _degrade(self, error: OSError) -> None:
        self.degraded = f"inotify is unavailable: {error.strerror}"
        self.stop()

    async def _wait(self) -> None:
        """Until something may have changed, and a quiet period is over."""
        if self.degraded is None:
            is_told = await self._is_woken_within(self._reconcile_seconds)
        else:
            is_told = await self._is_woken_within(_DEGRADED_SECONDS)
            if asyncio.get_running_loop().time() >= self._ask_again_at:
                self.start()
        ends_at = asyncio.get_running_loop().time() + _LONGEST_BURST * self._quiet_seconds
        while is_told and asyncio.get_running_loop().time() < ends_at:
            self._hint.clear()
            is_told = await self._is_woken_within(self._quiet_seconds)

    async def _is_woken_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._hint.wait()
        except TimeoutError:
            return False


@asynccontextmanager
async def open_watch(
    paths: tuple[Path, ...],
    quiet_for: timedelta,
    reconcile_every: timedelta,
    find: Callable[[], WatchedPaths] | None = None,
) -> AsyncIterator[Watch]:
    """A started `Watch`, stopped at the end."""
    watch = Watch(paths, quiet_for, reconcile_every, find)
    async with AsyncExitStack() as stack:
        with suppress(OSError):  # without /proc mounts are found by comparing
            stack.enter_context(watch_mounts(watch.hint))
        watch.start()
        stack.push_async_callback(asyncio.to_thread, watch.stop)
        yield watch


class _Hint(FileSystemEventHandler):
    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._wake()


def _with_those_gone(before: Contents, current: Contents) -> Contents:
    """The contents, and of the files that were watched until now those that are not there any more."""
    unwatched = tuple(Path(path) for path in before if path not in current)
    return {**current, **{path: None for path, content in read_contents(unwatched).items() if content is None}}


def _read(path: Path) -> bytes | None:
    try:
        return read_within(Path("/"), str(path)).content
    except OSError:
        return None


def _deciding_folders(paths: Sequence[Path]) -> dict[Path, _Identity]:
    """The folders in which a rename or a write changes what the paths hold; for one that is missing, the nearest above
    it. Each with the identity that tells it from one made anew under the same name."""
    nearest: dict[str, tuple[Path, _Identity]] = {}
    for path in map(str, paths):
        with suppress(OSError):  # something went meanwhile: there will be an event of it
            for _ in range(_LONGEST_LINK_CHAIN):
                folder = os.path.dirname(path)
                if folder not in nearest:
                    nearest[folder] = _nearest(folder)
                if not os.path.islink(path):
                    break
                path = os.path.join(folder, os.readlink(path))
    return dict(nearest.values())


def _nearest(folder: str) -> tuple[Path, _Identity]:
    while folder and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    folder = folder or "/"  # of a path that does not say where it begins
    found = os.path.realpath(folder)
    status = os.stat(found)
    return Path(found), (status.st_dev, status.st_ino)
