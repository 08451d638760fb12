"""The commit that a git checkout stands at, read by a library: git itself is never run on it, because a repository's
configuration is code. The library is optional (`certagent[sources]`), and imported when a checkout is looked at."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from certagent.vantage.source_tree import MissingLibraryError


class Commit(msgspec.Struct, frozen=True):
    """`id` in hexadecimal digits."""

    id: str
    committed_at: datetime


class NotGitError(Exception):
    """There is no commit to be read; the message is a sentence."""


def read_head(root: Path) -> Commit:
    """The commit that HEAD points to. Raises `NotGitError` and `MissingLibraryError`."""
    try:
        from dulwich.objects import Commit as CommitObject
        from dulwich.repo import Repo
    except ImportError as error:
        raise MissingLibraryError("reading a checkout needs dulwich: pip install 'certagent[sources]'") from error
    try:
        with Repo(str(root)) as repository:
            head = repository.head()
            found = repository[head]
            if not isinstance(found, CommitObject):
                raise NotGitError(f"{root}: HEAD is not a commit")
            return Commit(head.decode("ascii"), datetime.fromtimestamp(found.commit_time, UTC))
    except NotGitError:
        raise
    except Exception as error:  # whatever a broken or hostile repository makes the library raise, at its one door
        raise NotGitError(f"{root} cannot be read as a git checkout: {error or type(error).__name__}") from error
