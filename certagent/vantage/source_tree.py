"""A checkout of provisioning code as texts by path: what git ignores left out, no link followed, everything bounded.
Only reads; git itself never runs.

Whoever wrote the tree may mean harm: links, pipes, files without an end and folders without a floor are left out.
"""

import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from certagent.domain.sources.writes import CodePlace, Note, code_lines
from certagent.domain.sources.yaml_positions import LARGEST_YAML

MOST_FILES = 50_000
MOST_SECONDS = 60.0
"""For a whole tree."""
_LARGEST = LARGEST_YAML + 1
"""Of a file no more is read: one character beyond what any reader takes, so that it can say so."""
_DEEPEST = 40
_BINARY = 8192
_NEVER = frozenset({".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", ".terraform"})


class MissingLibraryError(Exception):
    """The optional part that knows what git ignores is not installed."""


class CheckoutFiles(Mapping[str, str]):
    """Path (relative to the root) -> text, read when it is asked for. `notes`: what was left out, and why, one for each
    reason; `unread`: each file of these; `is_whole`: every file is known by its path, read or not."""

    def __init__(self, root: Path, *, seconds: float = MOST_SECONDS) -> None:
        self._root = root
        self._ends_at = time.monotonic() + seconds
        self.notes: list[Note] = []
        self.unread: set[str] = set()
        self.is_whole = True
        self._paths = dict.fromkeys(sorted(self._walk()))

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
        content = _read(self._root / path)
        if content is None:
            raise self._unread(path, "it cannot be read")
        if b"\0" in content[:_BINARY]:
            raise KeyError(path)
        return content.decode("utf-8", "replace")

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

    def _unread(self, path: str, reason: str) -> KeyError:
        self.unread.add(path)
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
                    is_left_out = entry.name in _NEVER or path.count("/") > _DEEPEST
                    if not is_left_out and not ignored.has(f"{path}/"):
                        pending.append((path, ignored))
                elif entry.is_file(follow_symlinks=False) and not ignored.has(path):
                    yield path

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._root / folder) as entries:
                return sorted((entry for entry in entries if entry.name.isprintable()), key=lambda entry: entry.name)
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


def _read(path: Path) -> bytes | None:
    """A regular file's beginning, never through a link and never waiting for a pipe; None for anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        return file.read(_LARGEST) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
