"""Which version a commit is: its tag's, or a development version that comes before the next release."""

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from deploy.release import debian_package, revision
from deploy.release.revision import VERSION_FILE, Failed

NEXT = '"""certagent."""\n\n__version__ = "0.2.0.dev0"\n'


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with one commit, of a known second, without a tag."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    file = tmp_path / "clone" / VERSION_FILE
    file.parent.mkdir(parents=True)
    file.write_text(NEXT)
    _git(tmp_path / "clone", "init", "-q")
    _commit(tmp_path / "clone")
    return tmp_path / "clone"


def _git(clone: Path, *words: str) -> None:
    identity = ("-c", "user.name=A Maintainer", "-c", "user.email=maintainer@example.org")
    subprocess.run(["git", "-C", clone, *identity, *words], check=True, capture_output=True)


def _commit(clone: Path) -> None:
    _git(clone, "add", "-A")
    _git(clone, "commit", "-q", "--allow-empty", "-m", "A change", "--date", "2026-11-01T00:00:00Z")


def test_a_tag_is_the_version(clone: Path) -> None:
    """Without its v; other tags do not count, and the commit's own name leads to it as well."""
    _git(clone, "tag", "nightly")
    _git(clone, "tag", "v0.2.0")
    for name in ("v0.2.0", "HEAD"):
        found = revision.find(clone, name)
        assert (found.version, found.tag) == ("0.2.0", "v0.2.0")


def test_the_date_is_the_commits(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or what SOURCE_DATE_EPOCH says."""
    shown = subprocess.run(
        ["git", "-C", clone, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=True
    )
    assert revision.find(clone, "HEAD").epoch == int(shown.stdout)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    assert revision.find(clone, "HEAD").epoch == 1790000000


def test_without_a_tag_it_is_a_development_version(clone: Path) -> None:
    """With the number of commits and the commit, so that two builds are told apart."""
    found = revision.find(clone, "HEAD")
    assert found.commit is not None
    assert found.version == f"0.2.0.dev1+g{found.commit[:10]}"
    assert found.tag is None


def test_without_a_clone_the_tree_is_taken_as_it_is(clone: Path, tmp_path: Path) -> None:
    """From an archive of the source, say."""
    (clone / ".git").rename(tmp_path / "away")
    found = revision.find(clone, "HEAD")
    assert (found.version, found.commit, found.tag) == ("0.2.0.dev0", None, None)
    revision.export(clone, found, tmp_path / "out")
    assert (tmp_path / "out" / VERSION_FILE).read_text() == NEXT


def test_a_tag_that_is_not_there_is_said(clone: Path) -> None:
    """In git's own words."""
    with pytest.raises(Failed, match=r"v9\.9\.9"):
        revision.find(clone, "v9.9.9")


def test_what_is_exported_knows_its_version(clone: Path, tmp_path: Path) -> None:
    """And holds nothing that is not committed."""
    _git(clone, "tag", "v0.2.0")
    (clone / "uncommitted").touch()
    assert revision.has_changes(clone)
    revision.export(clone, revision.find(clone, "v0.2.0"), tmp_path / "out")
    assert (tmp_path / "out" / VERSION_FILE).read_text() == NEXT.replace("0.2.0.dev0", "0.2.0")
    assert not (tmp_path / "out" / "uncommitted").exists()


def test_dpkg_orders_the_versions_as_they_follow_each_other() -> None:
    """A release after its candidates, the package for Debian 13 after that for 12."""
    versions = [
        debian_package.debian_version("0.1.0", 13),
        debian_package.debian_version("0.2.0.dev7+g0123456789", 12),
        debian_package.debian_version("0.2.0.dev8+g0123456789", 12),
        debian_package.debian_version("0.2.0rc1", 12),
        debian_package.debian_version("0.2.0", 12),
        debian_package.debian_version("0.2.0", 13),
        debian_package.debian_version("0.2.1", 12),
    ]
    assert versions[4:6] == ["0.2.0-1~deb12u1", "0.2.0-1~deb13u1"]
    for earlier, later in pairwise(versions):
        subprocess.run(["dpkg", "--compare-versions", earlier, "lt", later], check=True)
