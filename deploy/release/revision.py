"""Which state of the source is released: its version from the tag, its date from the commit, its files.

A commit without a tag is a development version: what `certagent/__init__.py` says, with the number of commits and the
commit's own. A tree that is no clone is taken as it is.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

VERSION_FILE = Path("certagent/__init__.py")
_VERSION_LINE = re.compile(r'^__version__ = "(.*)"$', re.MULTILINE)
_TAGS = "v[0-9]*"
_NO_DATE = 1577836800
"""2020-01-01, for a tree that is no clone and no SOURCE_DATE_EPOCH."""
_NOT_SOURCE = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "dist", "build", "*.egg-info")


class Failed(Exception):
    """The release cannot be built; the message says why in one sentence."""


@dataclass(frozen=True)
class Revision:
    """What is released."""

    version: str
    epoch: int
    """Seconds since 1970: the date of everything that is built."""
    commit: str | None
    tag: str | None


def find(tree: Path, name: str) -> Revision:
    """The revision of that name in a clone. Raises `Failed` when there is no such."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if not (tree / ".git").exists():
        return Revision(_version_of((tree / VERSION_FILE).read_text()), int(given or _NO_DATE), None, None)
    commit = git(tree, "rev-parse", "--verify", f"{name}^{{commit}}").strip()
    epoch = int(given or git(tree, "log", "-1", "--format=%ct", commit))
    tags = git(tree, "tag", "--points-at", commit, "--list", _TAGS, "--sort=-version:refname").split()
    tag = name if name in tags else (tags[0] if tags else None)
    if tag is not None:
        return Revision(tag.removeprefix("v"), epoch, commit, tag)
    said = _version_of(git(tree, "show", f"{commit}:{VERSION_FILE}"))
    count = git(tree, "rev-list", "--count", commit).strip()
    return Revision(f"{said.partition('.dev')[0]}.dev{count}+g{commit[:10]}", epoch, commit, None)


def export(tree: Path, revision: Revision, folder: Path) -> None:
    """Write its files into a folder, with its version in them."""
    if revision.commit is None:
        shutil.copytree(tree, folder, symlinks=True, ignore=_NOT_SOURCE, dirs_exist_ok=True)
    else:
        packed = subprocess.run(["git", "-C", tree, "archive", revision.commit], capture_output=True, check=True)
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "-x", "-C", folder], input=packed.stdout, check=True)
    file = folder / VERSION_FILE
    file.write_text(_VERSION_LINE.sub(f'__version__ = "{revision.version}"', file.read_text(), count=1))


def has_changes(tree: Path) -> bool:
    """Whether the clone holds changes that no commit has."""
    return (tree / ".git").exists() and bool(git(tree, "status", "--porcelain").strip())


def git(tree: Path, *words: str) -> str:
    """What git says. Raises `Failed` with its complaint."""
    done = subprocess.run(["git", "-C", tree, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _version_of(text: str) -> str:
    found = _VERSION_LINE.search(text)
    if found is None:
        raise Failed(f'{VERSION_FILE} has no line `__version__ = "..."`')
    return found[1]
