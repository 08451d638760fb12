"""Watching files: events are hints, content decides. Knows nothing of what the files mean.

Folders are watched, never files, so links, renames and absence survive; of each folder only the names that count are
passed on. A link's target folder is watched as well, and one that was made anew is watched anew. Mounts come and go
without any event of files: the kernel's table of mounts tells of them. Where inotify is unavailable, the slow
comparison goes on alone, faster, and inotify is asked for again.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from certagent.domain.reports import Contents, FileChange, compare
from certagent.system.folder_events import FolderWatch
from certagent.system.mounts import watch_mounts
from certagent.system.regular_files import read_within

ChangeSet = tuple[FileChange, ...]
_Identity = tuple[int, int]  # device and inode

_LONGEST_LINK_CHAIN = 16
_LONGEST_BURST = 10  # quiet periods after which a burst that never ends is looked at all the same
_DEGRADED_SECONDS = 1.0


class WatchedPaths(NamedTuple):
    """What is to be watched: files, and folders where a new file may come to count. A folder among the files is as an
    empty file: that it comes or goes is a change."""

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
        self._folders: dict[Path, tuple[_Identity, FolderWatch]] = {}
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
        self._loop = loop
        self._ask_again_at = loop.time() + self._reconcile_seconds
        self.degraded = None
        self._follow_links()

    def hint(self) -> None:
        """Something may have changed."""
        self._hint.set()

    def stop(self) -> None:
        """Give the events up."""
        for _, watch in self._folders.values():
            watch.close()
        self._folders.clear()

    def _hint_from_thread(self) -> None:
        """Once for all that comes before the next look: what is read then is younger than any event before it."""
        if not self._hint.is_set():
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self.hint)

    def _follow_links(self) -> None:
        """Watch the folders that now decide on the content: a link's target may have moved, or a folder been made
        anew under the same name. Again when there were new ones: what is in them may have changed before."""
        for _ in range(_LONGEST_LINK_CHAIN):
            if self.degraded is not None or not self._follow_links_once():
                return

    def _follow_links_once(self) -> bool:
        """Whether a folder came to be watched."""
        wanted = _deciding_folders(self._watched)
        for folder, (identity, watch) in list(self._folders.items()):
            if folder not in wanted or wanted[folder].identity != identity:
                self._folders.pop(folder)[1].close()
            else:
                watch.names = wanted[folder].names
        added = wanted.keys() - self._folders.keys()
        try:
            for folder in added:
                watch = FolderWatch(self._hint_from_thread, wanted[folder].names)
                watch.open(folder)
                self._folders[folder] = (wanted[folder].identity, watch)
        except (FileNotFoundError, NotADirectoryError):
            self._hint.set()  # it went just now: look again
        except OSError as error:
            self._degrade(error)
        return bool(added)

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


def _with_those_gone(before: Contents, current: Contents) -> Contents:
    """The contents, and of the files that were watched until now those that are not there any more."""
    unwatched = tuple(Path(path) for path in before if path not in current)
    return {**current, **{path: None for path, content in read_contents(unwatched).items() if content is None}}


def _read(path: Path) -> bytes | None:
    try:
        if path.is_dir():
            return b""
        return read_within(Path("/"), str(path)).content
    except OSError:
        return None


class _Folder(NamedTuple):
    """One to be watched. The identity tells it from one made anew under the same name; `names` None: all count."""

    identity: _Identity
    names: frozenset[str] | None


def _deciding_folders(watched: WatchedPaths) -> dict[Path, _Folder]:
    """The folders in which a rename or a write changes what the paths hold, that of each link on the way among them;
    for one that is missing, the nearest above it."""
    nearest: dict[str, tuple[Path, _Identity, str | None]] = {}
    links: dict[str, str | None] = {}
    found: dict[Path, tuple[_Identity, set[str | None]]] = {}
    paths = [(str(file), file.name or None) for file in watched.files]
    for path, last in (*paths, *((f"{folder}/a-file", None) for folder in watched.folders)):
        with suppress(OSError):  # something went meanwhile: there will be an event of it
            for folder, name in _deciding_names(path, last, links):
                if folder not in nearest:
                    nearest[folder] = _nearest(folder)
                place, identity, missing = nearest[folder]
                found.setdefault(place, (identity, set()))[1].add(name if missing is None else missing)
    return {place: _Folder(identity, _names_that_count(names)) for place, (identity, names) in found.items()}


def _names_that_count(names: set[str | None]) -> frozenset[str] | None:
    if names & {None, "", ".", ".."}:
        return None
    return frozenset(name for name in names if name is not None)


def _deciding_names(path: str, last: str | None, links: dict[str, str | None]) -> Iterator[tuple[str, str | None]]:
    """Each folder on the way and the name in it that decides; `last`: that of the path itself, None for any."""
    for _ in range(_LONGEST_LINK_CHAIN):
        link = _first_link(path, links)
        yield os.path.dirname(path), last if link != path else os.path.basename(path)
        if link is None:
            return
        yield os.path.dirname(link), os.path.basename(link)
        path = os.path.join(os.path.dirname(link), links[link] or "") + path[len(link) :]
        last = last and os.path.basename(path)


def _first_link(path: str, links: dict[str, str | None]) -> str | None:
    """The first part of the path that is a link. `links`: where those lead that were looked at already."""
    end = path.find("/", 1)
    while True:
        part = path if end < 0 else path[:end]
        if part not in links:
            links[part] = os.readlink(part) if os.path.islink(part) else None
        if links[part] is not None:
            return part
        if end < 0:
            return None
        end = path.find("/", end + 1)


def _nearest(folder: str) -> tuple[Path, _Identity, str | None]:
    """The folder, or the nearest above it that there is; then also the name in that one that is missing."""
    missing = None
    while folder and not os.path.isdir(folder):
        folder, missing = os.path.dirname(folder), os.path.basename(folder)
    folder = folder or "/"  # of a path that does not say where it begins
    found = os.path.realpath(folder)
    status = os.stat(found)
    return Path(found), (status.st_dev, status.st_ino), missing
