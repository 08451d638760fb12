"""What root's commands on the collector's node do in a folder that is the service's own."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent.commands import UnableError, store, token
from certagent.config import CollectorSettings, load_collector
from tests.security.elsewhere import OWNER, Elsewhere, owned_folder


@pytest.fixture
def scene() -> Iterator[tuple[Path, Elsewhere]]:
    """The service's own folder, and what lies outside; whatever was done, root is root afterwards."""
    with owned_folder() as scene:
        yield scene
    assert (os.geteuid(), os.getegid()) == (0, 0)


def settings_for(folder: Path) -> CollectorSettings:
    """Its database lies there, with a token in it. (Made while the folder is root's: the service may not be able to
    read the program from where these tests run it.)"""
    file = folder.parent / "collector.toml"
    file.write_text(f'[server]\nlisten = "127.0.0.1:8843"\n[store]\nurl = "sqlite:///{folder}/collector.db"\n')
    settings, owner = load_collector(file), folder.stat()
    os.chown(folder, 0, 0)
    token.add(settings, "lxc100")
    for path in (folder, *folder.iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid)
    return settings


def test_whatever_root_writes_there_is_the_services_own(scene: tuple[Path, Elsewhere]) -> None:
    """The database, and what SQLite makes beside it, while it is open as well."""
    owned, _ = scene
    settings = settings_for(owned)
    with contextlib.closing(sqlite3.connect(owned / "collector.db")) as reader:
        reader.execute("SELECT * FROM tokens").fetchall()
        token.add(settings, "lxc101")
        assert {path.owner() for path in owned.iterdir()} == {owned.owner()}
    assert [one["name"] for one in token.list_(settings)["tokens"]] == ["lxc100", "lxc101"]


@pytest.mark.parametrize("is_roots", [False, True])
def test_a_database_that_leads_elsewhere_is_not_opened(scene: tuple[Path, Elsewhere], is_roots: bool) -> None:
    """Neither one of root's, read or written, nor a new one made there; whichever command it is. The folder may be
    root's, and the service's group may write it, as the installer makes it."""
    owned, elsewhere = scene
    settings = settings_for(owned)
    if is_roots:
        os.chown(owned, 0, OWNER)
        owned.chmod(0o1770)
    _lead(owned / "collector.db", elsewhere.secret)
    with pytest.raises(UnableError):
        token.list_(settings)
    with pytest.raises(UnableError):
        token.add(settings, "lxc101")
    _lead(owned / "collector.db", elsewhere.folder / "made.db")
    with pytest.raises(UnableError):
        store.backup(settings, owned.parent / "roots.db")
    assert not (owned.parent / "roots.db").exists()
    elsewhere.assert_untouched()


def test_a_log_that_leads_elsewhere_is_not_written(scene: tuple[Path, Elsewhere]) -> None:
    """SQLite's own files beside the database."""
    owned, elsewhere = scene
    settings = settings_for(owned)
    for end in ("-wal", "-shm"):
        _lead(owned / f"collector.db{end}", elsewhere.secret)
    with pytest.raises(UnableError):
        token.add(settings, "lxc102")
    elsewhere.assert_untouched()


def _lead(link: Path, target: Path) -> None:
    """As the service would do it."""
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    os.chown(link, OWNER, OWNER, follow_symlinks=False)
