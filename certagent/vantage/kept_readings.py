"""Readings of configurations that are kept until one of their files changes. Reads only."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from certagent.domain.observations import Unreadable
from certagent.vantage.foreign_files import Reading

Stamp = tuple[tuple[str, int, int], ...]
T = TypeVar("T")


class KeptReading(Generic[T]):
    """What `reader` made of a configuration, until one of the files changes that it is told of before they are read."""

    def __init__(self, reader: Callable[[Path, Callable[[Path], object]], Reading[T]]) -> None:
        self._reader = reader
        self._stamp: Stamp = ()
        self._reading: Reading[T] | None = None
        self._unreadable: tuple[Unreadable, ...] = ()

    def read(self, begin: Path) -> Reading[T]:
        """The configuration that begins at that file."""
        if self._reading is None or not self._is_current(begin):
            self._reading = self._read(begin)
        return self._reading

    def stamp(self, begin: Path) -> Stamp:
        """What changes when any file of the configuration does."""
        if self._reading is None or not self._is_current(begin):
            self.read(begin)
        return self._stamp

    def unreadable(self, begin: Path) -> tuple[Unreadable, ...]:
        """What of it cannot be read. Of the rest nothing is kept: a thousand servers are not needed for this."""
        if not self._is_current(begin):
            self._reading = None
            self._read(begin)
        return self._unreadable

    def changed_at(self) -> float:
        """When one of the files changed last, in seconds since the epoch; 0 before anything was read. By the kernel's
        time of the change: a file may be put back with its old one."""
        return max((_changed_at(Path(path)) for path, _, _ in self._stamp), default=0.0)

    def _is_current(self, begin: Path) -> bool:
        known = [Path(path) for path, _, _ in self._stamp]
        return known[:1] == [begin] and self._stamp == stamp_of(known)

    def _read(self, begin: Path) -> Reading[T]:
        seen = {begin: stamp_of([begin])}  # before it is read: what changes meanwhile is read again
        reading = self._reader(begin, lambda path: seen.setdefault(path, stamp_of([path])))
        self._stamp = tuple(one for stamps in seen.values() for one in stamps)
        self._unreadable = reading.unreadable
        return reading


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_ctime
    except (OSError, ValueError):
        return 0.0


def stamp_of(paths: Iterable[Path]) -> Stamp:
    """What changes when any of the files does, or when one comes or goes in any of the folders."""
    stamps = []
    for path in dict.fromkeys(paths):
        try:
            status = path.stat()
        except (OSError, ValueError):
            stamps.append((str(path), 0, 0))
        else:
            stamps.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(stamps)
