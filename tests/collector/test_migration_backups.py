"""Before its schema is changed an SQLite database is copied beside itself; and the way back to that copy."""

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from alembic import command
from alembic.config import Config
from click.testing import CliRunner

from certagent.cli import commands
from certagent.collector import migrations
from certagent.collector.credentials import add_token, list_tokens
from certagent.collector.records import StoreFailed, TokenRole
from certagent.collector.sql.audit_queries import list_audit
from certagent.collector.sql.database import REVISION, open_writer, read_version, writing
from certagent.collector.sql.migration_backups import MOST_KEPT, back_up_before_migration, put_back
from tests.collector.cast import now

FIRST = Path(__file__).parent / "data" / "backup-0001.sql"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database of the first schema, with a write-ahead log."""
    file = tmp_path / "collector.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(FIRST.read_text())
        connection.execute("PRAGMA journal_mode = WAL")
    return file


def _backups(folder: Path) -> list[Path]:
    return sorted(folder.glob("collector.db.schema-*.backup"))


def _agents(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM agents ORDER BY name")]


def test_a_migration_is_preceded_by_a_backup_that_is_named(old: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the log and in the audit; its owner's alone; the next opening makes none."""
    with caplog.at_level(logging.INFO):
        open_writer(f"sqlite:///{old}").dispose()
    (backup,) = _backups(old.parent)
    assert backup.name.startswith("collector.db.schema-0001.")
    assert f"the database was backed up before its migration from schema 0001 to {REVISION}: {backup}" in caplog.text
    assert backup.stat().st_mode & 0o777 == 0o600
    assert read_version(f"sqlite:///{backup}").revision == "0001"
    assert _agents(backup) == _agents(old) == ["lxc101", "lxc102", "lxc103"]
    with writing(f"sqlite:///{old}") as connection:
        (entry,) = list_audit(connection, None, 9).items
    assert (entry.action, entry.subject) == ("store.migrated", REVISION)
    assert entry.detail == {"from": "0001", "backup": str(backup)}
    assert _backups(old.parent) == [backup]
    assert not [path for path in old.parent.iterdir() if path.name.startswith(".")]


def test_a_new_database_needs_none(tmp_path: Path) -> None:
    """There is nothing in it."""
    add_token(f"sqlite:///{tmp_path}/collector.db", "lxc101", TokenRole.AGENT, now())
    assert _backups(tmp_path) == []


def test_without_a_backup_nothing_is_migrated(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: a sentence, the schema as it was, nothing left of the attempt."""

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(
        StoreFailed, match=r"was not migrated, because it could not be backed up .*No space left on device"
    ):
        open_writer(f"sqlite:///{old}")
    assert read_version(f"sqlite:///{old}").revision == "0001"
    assert [path.name for path in old.parent.iterdir() if "collector.db." in path.name and "-" not in path.name] == []


def test_a_few_are_kept(old: Path) -> None:
    """The newest; and nothing else that lies there is touched."""
    foreign = old.with_name("collector.db.schema-0001.mine.backup")
    foreign.touch()
    made = [back_up_before_migration(f"sqlite:///{old}", f"000{number}", REVISION) for number in range(1, 6)]
    assert _backups(old.parent) == sorted([foreign, *[path for path in made[-MOST_KEPT:] if path is not None]])


def test_the_way_back_puts_it_in_the_place_of_the_newer_one(old: Path) -> None:
    """Which lies beside it, whole, with what was recorded since; then the newer program migrates again."""
    url = f"sqlite:///{old}"
    add_token(url, "since", TokenRole.AGENT, now())
    options = ["--config", str(old.parent / "collector.toml"), "--json"]
    (old.parent / "collector.toml").write_text(f'[server]\nlisten = "127.0.0.1:1"\n[store]\nurl = "{url}"\n')
    nothing = CliRunner().invoke(commands, ["store", "go-back", REVISION, *options])
    assert msgspec.json.decode(nothing.stdout) == {"done": "go-back", "schema": REVISION, "file": None, "aside": None}
    back = CliRunner().invoke(commands, ["store", "go-back", "0001", *options])
    assert back.exit_code == 0, back.output
    document = msgspec.json.decode(back.stdout)
    (backup,) = _backups(old.parent)
    assert document["file"] == str(backup)
    assert read_version(url).revision == "0001"
    assert "since" in [token.name for token in list_tokens(f"sqlite:///{document['aside']}")]
    assert not old.with_name("collector.db-wal").exists()
    assert "since" not in [token.name for token in list_tokens(url)]
    assert read_version(url).revision == REVISION
    assert len(_backups(old.parent)) == 2


def test_without_a_backup_there_is_no_way_back(old: Path) -> None:
    """Nothing is changed."""
    open_writer(f"sqlite:///{old}").dispose()
    with pytest.raises(StoreFailed, match="no backup of schema 0003"):
        put_back(f"sqlite:///{old}", "0003")
    assert read_version(f"sqlite:///{old}").revision == REVISION


@pytest.mark.lab
def test_it_belongs_to_whom_the_database_does(old: Path) -> None:
    """A command that root runs migrates, too."""
    os.chown(old, 12, 34)
    open_writer(f"sqlite:///{old}").dispose()
    status = _backups(old.parent)[0].stat()
    assert (status.st_uid, status.st_gid) == (12, 34)


@pytest.mark.servers
def test_of_postgresql_none_is_made_and_that_is_said(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """The way back is the administrator's own."""
    url = request.getfixturevalue("postgresql").new_database()
    open_writer(url).dispose()
    with writing(url) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        command.downgrade(config, "-1")
    before = read_version(url).revision
    assert before != REVISION
    with caplog.at_level(logging.INFO):
        open_writer(url).dispose()
    assert f"from schema {before} to {REVISION}; certagent does not back up PostgreSQL" in caplog.text
    with pytest.raises(StoreFailed, match="restore your own"):
        put_back(url, "0005")
