"""The ways to watched paths: the folders, and the names in them, that decide on what a path holds. Reads no content.

A link's target folder decides as well, and where a folder is missing, the nearest above it.
"""

import os
import threading
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

Identity = tuple[int, int]  # device and inode
Hinted = frozenset[tuple[Path, str | None]] | None
"""The folder and the name in it of which events have told, None for any; None: anything may have changed anywhere."""

LONGEST_LINK_CHAIN = 16
_MOST_HINTS = 1_000  # of one look; more is as if anything had changed


class WatchedFolder(NamedTuple):
    """One to be watched. The identity tells it from one made anew under the same name; `names` None: all count."""

    identity: Identity
    names: frozenset[str] | None


class Decider(NamedTuple):
    """A folder in which a rename or a write of that name changes what a path holds; of any name, where that is None."""

    place: Path
    identity: Identity
    name: str | None


class Hints:
    """What events have told since the last look. Any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: set[tuple[Path, str | None]] | None = None  # the first look is at everything

    def add(self, folder: Path | None = None, name: str | None = None) -> None:
        """That name in that folder may have changed; None: any there; without a folder, anything anywhere."""
        with self._lock:
            if folder is None or self._told is None or len(self._told) >= _MOST_HINTS:
                self._told = None
            else:
                self._told.add((folder, name))

    def take(self) -> Hinted:
        """All of it, once."""
        with self._lock:
            told, self._told = self._told, set()
        return None if told is None else frozenset(told)


class Ways:
    """What decides on each watched path, that of each link on the way among it; for a folder that is missing, the
    nearest above it. Looked at again only where something was hinted at."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str | None], frozenset[Decider]] = {}
        self._broken: set[tuple[str, str | None]] = set()
        self._folders: dict[Path, WatchedFolder] | None = None

    def look(
        self, files: Iterable[Path], folders: Iterable[Path], hinted: Hinted, wanted: Collection[str] = ()
    ) -> set[str]:
        """The paths that were looked at now: those that are new, that are wanted, or that something hinted at decides
        on. `folders`: where a new file may come to count; with anything wanted, they are, too. Blocks."""
        before, broken, self._known, self._broken = self._known, self._broken, {}, set()
        nearest: dict[str, tuple[Path, Identity, str | None]] = {}
        links: dict[str, str | None] = {}
        paths = [((str(file), file.name or None), str(file) in wanted) for file in files]
        looked_at = set()
        for path, is_wanted in (*paths, *(((f"{folder}/a-file", None), bool(wanted)) for folder in folders)):
            known = before.get(path)
            if known is None or path in broken or is_wanted or _is_hinted_at(known, hinted):
                looked_at.add(path[0])
                known = frozenset(self._find(path, links, nearest))
            self._known[path] = known
        if self._known != before:
            self._folders = None
        return looked_at

    def folders(self) -> dict[Path, WatchedFolder]:
        """Those to be watched, with the names that count there; the same one until that is another."""
        if self._folders is None:
            found: dict[Path, tuple[Identity, set[str | None]]] = {}
            for way in self._known.values():
                for place, identity, name in way:
                    found.setdefault(place, (identity, set()))[1].add(name)
            named = {place: (identity, _names_that_count(names)) for place, (identity, names) in found.items()}
            self._folders = {place: WatchedFolder(*one) for place, one in named.items()}
        return self._folders

    def _find(
        self,
        path: tuple[str, str | None],
        links: dict[str, str | None],
        nearest: dict[str, tuple[Path, Identity, str | None]],
    ) -> Iterator[Decider]:
        try:
            for folder, name in _deciding_names(*path, links):
                if folder not in nearest:
                    nearest[folder] = _nearest(folder)
                place, identity, missing = nearest[folder]
                decides = name if missing is None else missing
                yield Decider(place, identity, None if decides in ("", ".", "..") else decides)
        except OSError:  # something went meanwhile
            self._broken.add(path)


def _is_hinted_at(way: frozenset[Decider], hinted: Hinted) -> bool:
    if not hinted:
        return hinted is None
    return any(
        (one.place, one.name) in hinted
        or (one.place, None) in hinted
        or (one.name is None and any(place == one.place for place, _ in hinted))
        for one in way
    )


def _names_that_count(names: set[str | None]) -> frozenset[str] | None:
    if None in names:
        return None
    return frozenset(name for name in names if name is not None)


def _deciding_names(path: str, last: str | None, links: dict[str, str | None]) -> Iterator[tuple[str, str | None]]:
    """Each folder on the way and the name in it that decides; `last`: that of the path itself, None for any."""
    for _ in range(LONGEST_LINK_CHAIN):
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


def _nearest(folder: str) -> tuple[Path, Identity, str | None]:
    """The folder, or the nearest above it that there is; then also the name in that one that is missing."""
    missing = None
    while folder and not os.path.isdir(folder):
        folder, missing = os.path.dirname(folder), os.path.basename(folder)
    folder = folder or "/"  # of a path that does not say where it begins
    found = os.path.realpath(folder)
    status = os.stat(found)
    return Path(found), (status.st_dev, status.st_ino), missing
