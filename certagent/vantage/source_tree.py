"""A checkout of provisioning code as texts by path: what git ignores left out, no link followed, everything bounded.
Only reads; git itself never runs.

Whoever wrote the tree may mean harm: links, pipes, files without an end and folders without a floor are left out.
"""

import hashlib
import os
import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import msgspec

from certagent.domain.sources.writes import CodePlace, Note, code_lines
from certagent.domain.sources.yaml_positions import LARGEST_YAML

MOST_FILES = 50_000
MOST_SECONDS = 60.0
"""For a whole tree."""
_LARGEST = LARGEST_YAML + 1
"""Of a file no more is read: one character beyond what any reader takes, so that it can say so."""
_DEEPEST = 40
_BINARY = 8192
_LARGEST_COMPARED = 64 * 1024 * 1024
"""A file of more is not compared with a commit's."""
_MOST_WATCHED = 200
_NEVER = frozenset({".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", ".terraform"})


class MissingLibraryError(Exception):
    """The optional part that knows what git ignores is not installed."""


_Version = tuple[int, ...] | None


class CommittedTree(msgspec.Struct, frozen=True):
    """What a commit holds. `files`: path -> the id that git gives the file's content; `skipped`: how many entries of
    which kind are no files; `is_whole`: no file is left out because there are too many."""

    files: Mapping[str, str]
    skipped: Mapping[str, int] = {}
    is_whole: bool = True


class CheckoutFiles(Mapping[str, str]):
    """Path (relative to the root) -> text, read when it is asked for. `notes`: what was left out, and why, one for each
    reason; `unread`: each file of these, and why; `is_whole`: every file is known by its path, read or not.

    With a commit's tree it has the files of that commit, and only as they are there: one that was edited is not read.
    """

    def __init__(self, root: Path, *, seconds: float = MOST_SECONDS, committed: CommittedTree | None = None) -> None:
        self._root = root
        self._ends_at = time.monotonic() + seconds
        self.notes: list[Note] = []
        self.unread: dict[str, str] = {}
        self.is_whole = True
        self._edited: dict[str, _Version] = {}
        self._binary: set[str] = set()
        self._others: Counter[str] = Counter(committed.skipped if committed is not None else {})
        self._folders: dict[str, bool] = {}
        self._paths: dict[str, str | None] = dict(committed.files) if committed is not None else {}
        if committed is None:
            self._paths = dict.fromkeys(sorted(self._walk()))
        elif not committed.is_whole:
            self._cut(".", f"the commit has more than {MOST_FILES} files")

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, path: object) -> bool:
        return path in self._paths

    def __getitem__(self, path: str) -> str:
        """Raises KeyError for what is not there, or is no text."""
        if path not in self._paths:
            raise KeyError(path)
        if time.monotonic() > self._ends_at:
            raise self._unread(path, "the time limit for this tree was reached")
        wanted = self._paths[path]
        version = _version(self._root / path)
        content = _read(self._root / path, wanted) if wanted is None or self._is_inside(path) else None
        if content is None and wanted is not None:
            self._edited.setdefault(path, version)
            raise self._unread(path, "it differs from the commit")
        if content is None:
            raise self._unread(path, "it cannot be read")
        if b"\0" in content[:_BINARY]:
            self._binary.add(path)
            if content.startswith(b"#!"):
                raise self._unread(path, "it is a script with NUL bytes in it")
            raise KeyError(path)
        return content.decode("utf-8", "replace")

    def skipped(self) -> dict[str, int]:
        """What is no text, by kind: binary files (those that were asked for), links, pipes and the like."""
        found = self._others + Counter({"binary files": len(self._binary)})
        return dict(sorted(found.items()))

    def has_changed(self) -> bool:
        """Whether one of the files that differed from the commit was touched since."""
        edited = list(self._edited.items())[:_MOST_WATCHED]
        return any(_version(self._root / path) != version for path, version in edited)

    def whole_text(self, path: str) -> str | None:
        """A file's text; None where not all of it can be read, empty where there is no such file."""
        if path not in self._paths:
            return "" if self.is_whole else None
        text = self.get(path)
        return text if text is not None and len(text.encode()) < _LARGEST else None

    def lines(self, places: Iterable[CodePlace]) -> dict[CodePlace, str]:
        """Lines of the code, each file read once; what cannot be read is left out."""
        found: dict[CodePlace, str] = {}
        for source, of_source in groupby(sorted(set(places)), key=lambda place: place.source):
            lines = code_lines(self.get(source) or "")
            found |= {place: lines[place.line - 1] for place in of_source if 0 < place.line <= len(lines)}
        return found

    def _is_inside(self, path: str) -> bool:
        """Whether no folder above it is a link."""
        folder = path.rpartition("/")[0]
        if folder not in self._folders:
            self._folders[folder] = (self._root / folder).resolve() == self._root.resolve() / folder
        return self._folders[folder]

    def _unread(self, path: str, reason: str) -> KeyError:
        self.unread[path] = reason
        self._note(path, reason)
        return KeyError(path)

    def _cut(self, path: str, reason: str) -> None:
        self.is_whole = False
        self._note(path, reason)

    def _note(self, path: str, reason: str) -> None:
        if not any(note.reason == reason for note in self.notes):
            self.notes.append(Note(CodePlace(path, 1), reason))

    def _walk(self) -> Iterator[str]:
        count = 0
        pending = [("", _Ignored(()))]
        while pending:
            folder, ignored = pending.pop()
            ignored = ignored.within(folder, _read(self._root / folder / ".gitignore"))
            for entry in self._entries(folder):
                path = f"{folder}/{entry.name}" if folder else entry.name
                count += 1
                if count > MOST_FILES:
                    self._cut(path, f"the tree has more than {MOST_FILES} files")
                    return
                if entry.is_dir(follow_symlinks=False):
                    if entry.name in _NEVER or ignored.has(f"{path}/"):
                        continue
                    if path.count("/") > _DEEPEST:
                        self._cut(path, f"folders more than {_DEEPEST} deep are not entered")
                    else:
                        pending.append((path, ignored))
                elif not ignored.has(path):
                    if entry.is_file(follow_symlinks=False):
                        yield path
                    else:
                        self._others["links" if entry.is_symlink() else "special files"] += 1

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._root / folder) as entries:
                found = list(entries)
            printable = [entry for entry in found if entry.name.isprintable()]
            self._others["unprintable names"] += len(found) - len(printable)
            return sorted(printable, key=lambda entry: entry.name)
        except OSError:
            self._cut(folder or ".", "the folder cannot be read")
            return []


class _Ignored:
    """What the `.gitignore` files of a folder and of those above it leave out; the nearest decides."""

    def __init__(self, specs: tuple[tuple[str, object], ...]) -> None:
        self._specs = specs

    def within(self, folder: str, content: bytes | None) -> "_Ignored":
        """With that of one folder more."""
        if not content:
            return self
        try:
            from pathspec import GitIgnoreSpec
        except ImportError as error:
            raise MissingLibraryError(
                "leaving out what git ignores needs pathspec: pip install 'certagent[sources]'"
            ) from error
        lines = content.decode("utf-8", "replace").splitlines()
        try:
            spec = GitIgnoreSpec.from_lines(lines)
        except ValueError:  # a pattern that is none
            return self
        return _Ignored(((f"{folder}/" if folder else "", spec), *self._specs))

    def has(self, path: str) -> bool:
        """Whether it is left out; a folder's path ends with a slash."""
        for prefix, spec in self._specs:
            found = spec.check_file(path.removeprefix(prefix)).include  # type: ignore[attr-defined]
            if found is not None:
                return bool(found)
        return False


def is_left_out(path: str) -> bool:
    """Whether a file of a commit is none that anybody looks at, by its path alone."""
    parts = path.split("/")
    is_odd = not path.isprintable() or any(part in ("", ".", "..") for part in parts)
    return is_odd or len(parts) > _DEEPEST + 1 or not _NEVER.isdisjoint(parts)


def _read(path: Path, wanted: str | None = None) -> bytes | None:
    """A regular file's beginning, never through a link and never waiting for a pipe; None for anything else, and for a
    text that is not the one that git calls `wanted`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            return None
        content = file.read(_LARGEST)
        if wanted is None or b"\0" in content[:_BINARY] or _git_id(file, content, state.st_size, wanted) == wanted:
            return content
    return None


def _git_id(file: BinaryIO, begun: bytes, size: int, like: str) -> str | None:
    """The id that git gives a file's content: a hash of as many digits as the other one has."""
    if size > _LARGEST_COMPARED:
        return None
    digest = hashlib.new("sha256" if len(like) == 64 else "sha1", b"blob %d\0" % size, usedforsecurity=False)
    digest.update(begun)
    rest = size - len(begun)
    while rest > 0 and (more := file.read(min(rest, _LARGEST))):
        digest.update(more)
        rest -= len(more)
    return digest.hexdigest()


def _version(path: Path) -> _Version:
    """Another one after each change of the file; None for one that is not there."""
    try:
        state = path.lstat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
