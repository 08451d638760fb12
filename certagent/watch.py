"""Watching files: watchdog's events are hints, content decides. Knows nothing of what the files mean.

The event filter leaves out opens and reads: a node that resolves names all day must not wake the agent (FACTS,
"watchdog, inotify"). Folders are watched, never files, so links, renames and absence survive; a link's target folder
is watched as well. Where inotify is not to be had, the slow comparison goes on alone, faster.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

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
from watchdog.observers.api import BaseObserver

from certagent.domain.changes import Contents, compare
from certagent.domain.reports import FileChange

ChangeSet = tuple[FileChange, ...]

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


def read_contents(paths: tuple[Path, ...]) -> Contents:
    """What the files hold now; None where there is none to be read."""
    return {str(path): _read(path) for path in paths}


class Watch:
    """Files under watch. `degraded` is why inotify is not in use, or None.

    `async for changes in watch.changes(known)` yields one set per quiet period, the last state never lost; the first
    set is what differs from `known` at once.
    """

    def __init__(self, paths: tuple[Path, ...], quiet_for: timedelta, reconcile_every: timedelta) -> None:
        self.degraded: str | None = None
        self._paths = paths
        self._quiet_seconds = quiet_for.total_seconds()
        self._reconcile_seconds = reconcile_every.total_seconds()
        self._hint = asyncio.Event()
        self._observer: BaseObserver | None = None
        self._folders: set[Path] = set()

    async def changes(self, known: Contents) -> AsyncIterator[ChangeSet]:
        """Change sets, without end, against `known` and then against the last one yielded."""
        while True:
            self._hint.clear()
            self._follow_links()
            current = await asyncio.to_thread(read_contents, self._paths)
            differences = compare(known, current)
            if differences:
                known = current
                yield differences
            await self._wait_for_hint()

    def start(self) -> None:
        """Ask for events; on failure go on without and remember why."""
        loop = asyncio.get_running_loop()
        self._handler = _Hint(lambda: loop.call_soon_threadsafe(self._hint.set))
        try:
            self._observer = Observer()  # asks for the instance already
            self._observer.start()
        except OSError as error:
            self._degrade(error)
        self._follow_links()

    def stop(self) -> None:
        """Give the events up; returns when the observer's threads have ended."""
        if self._observer is not None:
            self._observer.stop()
            if self._observer.is_alive():
                self._observer.join()
            self._observer = None

    def _follow_links(self) -> None:
        """Watch the folders that now decide on the content: a link's target may have moved."""
        if self._observer is None:
            return
        wanted = {folder for path in self._paths for folder in _deciding_folders(path)}
        try:
            for folder in wanted - self._folders:
                self._observer.schedule(self._handler, str(folder), recursive=False, event_filter=_EVENTS)
                self._folders.add(folder)
        except OSError as error:
            self._degrade(error)

    def _degrade(self, error: OSError) -> None:
        self.degraded = f"inotify is not to be had: {error.strerror}"
        self.stop()

    async def _wait_for_hint(self) -> None:
        bound = self._reconcile_seconds if self.degraded is None else _DEGRADED_SECONDS
        try:
            async with asyncio.timeout(bound):
                await self._hint.wait()
        except TimeoutError:
            return
        for _ in range(_LONGEST_BURST):
            self._hint.clear()
            try:
                async with asyncio.timeout(self._quiet_seconds):
                    await self._hint.wait()
            except TimeoutError:
                return


@asynccontextmanager
async def watching(paths: tuple[Path, ...], quiet_for: timedelta, reconcile_every: timedelta) -> AsyncIterator[Watch]:
    """A started `Watch`, stopped at the end."""
    watch = Watch(paths, quiet_for, reconcile_every)
    watch.start()
    try:
        yield watch
    finally:
        await asyncio.to_thread(watch.stop)


class _Hint(FileSystemEventHandler):
    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._wake()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _deciding_folders(path: Path) -> set[Path]:
    """The existing folders in which a rename or a write changes what `path` holds."""
    folders = set()
    for _ in range(_LONGEST_LINK_CHAIN):
        if path.parent.is_dir():
            folders.add(path.parent.resolve())
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return folders
