"""Watching files: events are hints, content decides. Knows nothing of what the files mean.

Folders are watched, never files, so links, renames and absence survive; of each folder only the names that count are
passed on. A link's target folder is watched as well, and one that was made anew is watched anew. Mounts come and go
without any event of files: the kernel's table of mounts tells of them. Where inotify is unavailable, the slow
comparison goes on alone, faster, and inotify is asked for again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

from certagent.domain.reports import Contents, FileChange, compare
from certagent.system.folder_events import FolderWatch
from certagent.system.mounts import watch_mounts
from certagent.system.regular_files import read_within
from certagent.system.watched_ways import LONGEST_LINK_CHAIN, Hinted, Hints, Identity, WatchedFolder, Ways

ChangeSet = tuple[FileChange, ...]

_LONGEST_BURST = 10  # quiet periods after which a burst that never ends is looked at all the same
_DEGRADED_SECONDS = 1.0
_MOST_COMPARED = 500  # files in one look that nothing has told to take


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
        self._hints = Hints()
        self._ways = Ways()
        self._folders: dict[Path, tuple[Identity, FolderWatch]] = {}
        self._complete: dict[Path, WatchedFolder] | None = None
        self._ask_again_at = 0.0
        self._compared_to = 0
        self._in_turn: set[str] = set()

    async def changes(self, known: Contents) -> AsyncIterator[ChangeSet]:
        """Change sets, without end, against `known` and then against the last one yielded."""
        self.contents = known
        self._hints.add()
        degraded = self.degraded
        while True:
            self._hint.clear()
            hinted, in_turn = self._hints.take(), self._in_turn
            self._in_turn = set()
            if self._find is not None:
                self._watched = await asyncio.to_thread(self._find)
            current = await asyncio.to_thread(self._read, self._follow_links(hinted, in_turn))
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
        self._hints.add()
        self._follow_links(None, ())

    def hint(self, folder: Path | None = None, name: str | None = None) -> None:
        """That name in that folder may have changed; None: any there; without a folder, anything anywhere."""
        self._hints.add(folder, name)
        self._hint.set()

    def stop(self) -> None:
        """Give the events up."""
        for _, watch in self._folders.values():
            watch.close()
        self._folders.clear()
        self._complete = None

    def _hint_from_thread(self, folder: Path, name: str | None) -> None:
        """Waking the loop once for all that comes before the next look: what is read then is younger than any event
        before it."""
        self._hints.add(folder, name)
        if not self._hint.is_set():
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self.hint, folder, name)

    def _read(self, looked_at: set[str]) -> Contents:
        """What the watched files hold: those that were looked at now, the others as they were. Blocks."""
        read = read_contents(tuple(file for file in self._watched.files if str(file) in looked_at))
        return {path: read[path] if path in read else self.contents.get(path) for path in map(str, self._watched.files)}

    def _follow_links(self, hinted: Hinted, in_turn: Collection[str]) -> set[str]:
        """Watch the folders that now decide on the content: a link's target may have moved, or a folder been made
        anew under the same name. Again when there were new ones: what is in them may have changed before. The paths
        that were looked at: what they hold may be another."""
        looked_at = self._ways.look(*self._watched, hinted, in_turn)
        for _ in range(LONGEST_LINK_CHAIN):
            if self.degraded is not None or not (added := self._watch_deciding_folders()):
                break
            looked_at |= self._ways.look(*self._watched, frozenset((folder, None) for folder in added))
        return looked_at

    def _watch_deciding_folders(self) -> set[Path]:
        """Those that came to be watched, or in which more has come to count."""
        wanted, more = self._ways.folders(), set[Path]()
        if wanted is self._complete:
            return more
        for folder, (identity, watch) in list(self._folders.items()):
            if folder not in wanted or wanted[folder].identity != identity:
                self._folders.pop(folder)[1].close()
            elif watch.names != (names := wanted[folder].names):
                more |= {folder} if names is None or not names <= (watch.names or names) else set()
                watch.names = names
        added = wanted.keys() - self._folders.keys()
        try:
            for folder in added:
                watch = FolderWatch(partial(self._hint_from_thread, folder), wanted[folder].names)
                watch.open(folder)
                self._folders[folder] = (wanted[folder].identity, watch)
            self._complete = wanted
        except (FileNotFoundError, NotADirectoryError):
            self.hint()  # it went just now: look again
        except OSError as error:
            self._degrade(error)
        return added | more

    def _degrade(self, error: OSError) -> None:
        self.degraded = f"inotify is unavailable: {error.strerror}"
        self.stop()

    async def _wait(self) -> None:
        """Until something may have changed, and a quiet period is over."""
        is_told = await self._is_woken_within(self._reconcile_seconds if self.degraded is None else _DEGRADED_SECONDS)
        if not is_told:
            self._compare_in_turn()
        if self.degraded is not None and asyncio.get_running_loop().time() >= self._ask_again_at:
            self.start()
        ends_at = asyncio.get_running_loop().time() + _LONGEST_BURST * self._quiet_seconds
        while is_told and asyncio.get_running_loop().time() < ends_at:
            self._hint.clear()
            is_told = await self._is_woken_within(self._quiet_seconds)

    def _compare_in_turn(self) -> None:
        """The next look is at all although no event told of it; at very many files in turn, a part each time."""
        files, begin = self._watched.files, self._compared_to
        if len(files) <= _MOST_COMPARED:
            self._hints.add()
            return
        self._in_turn = {str(file) for file in files[begin : begin + _MOST_COMPARED]}
        self._compared_to = begin + _MOST_COMPARED if begin + _MOST_COMPARED < len(files) else 0

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
