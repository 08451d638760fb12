"""The commit that a git checkout stands at, read by a library: git itself is never run on it, because a repository's
configuration is code. The library is optional (`certagent[sources]`), and imported when a checkout is looked at."""

import os
import stat
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from certagent.vantage.source_tree import MOST_FILES, CommittedTree, MissingLibraryError, is_left_out

if TYPE_CHECKING:
    from dulwich.objects import Commit as CommitObject
    from dulwich.repo import Repo

Result = TypeVar("Result")
_MOST_SECONDS = 20.0


class Commit(msgspec.Struct, frozen=True):
    """`id` in hexadecimal digits."""

    id: str
    committed_at: datetime


class NotGitError(Exception):
    """There is no commit to be read; the message is a sentence."""


def read_head(root: Path) -> Commit:
    """The commit that HEAD points to. Raises `NotGitError` and `MissingLibraryError`."""
    return _of_commit(root, _name_of)


def read_tree(root: Path, commit: Commit) -> CommittedTree:
    """The files of a commit, by name only: their contents are never unpacked, which would have no bound. Raises
    `NotGitError` and `MissingLibraryError`."""
    return _of_commit(root, _tree_of, commit.id.encode("ascii"))


def _of_commit(root: Path, read: Callable[["Repo", "CommitObject"], Result], commit: bytes | None = None) -> Result:
    try:
        from dulwich.objects import Commit as CommitObject
        from dulwich.repo import Repo
    except ImportError as error:
        raise MissingLibraryError("reading a checkout needs dulwich: pip install 'certagent[sources]'") from error
    try:
        with Repo(str(root)) as repository:
            found = repository[commit or repository.head()]
            if not isinstance(found, CommitObject):
                raise NotGitError(f"{root}: HEAD is not a commit")
            return read(repository, found)
    except NotGitError:
        raise
    except Exception as error:  # whatever a broken or hostile repository makes the library raise, at its one door
        raise NotGitError(f"{root} cannot be read as a git checkout: {error or type(error).__name__}") from error


def _name_of(_: "Repo", commit: "CommitObject") -> Commit:
    return Commit(commit.id.decode("ascii"), datetime.fromtimestamp(commit.commit_time, UTC))


def _tree_of(repository: "Repo", commit: "CommitObject") -> CommittedTree:
    from dulwich.object_store import iter_tree_contents

    files: dict[str, str] = {}
    skipped: Counter[str] = Counter()
    ends_at = time.monotonic() + _MOST_SECONDS
    entries = iter_tree_contents(repository.object_store, commit.tree, include_trees=True)
    for count, entry in enumerate(entries):
        if count > MOST_FILES or time.monotonic() > ends_at:
            return CommittedTree(files, skipped, is_whole=False)
        path, mode = os.fsdecode(entry.path or b""), entry.mode or 0
        if stat.S_ISLNK(mode):
            skipped["links"] += 1
        elif stat.S_ISREG(mode) and entry.sha is not None and not is_left_out(path):
            files[path] = entry.sha.decode("ascii")
        elif not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            skipped["submodules"] += 1
    return CommittedTree(files, skipped)
