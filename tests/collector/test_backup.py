"""Backup beside a working store, and restore into an empty one: both kinds, both ways."""

import asyncio
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import create_engine, select

from certagent.collector.credentials import add_token, digest_of, find_caller
from certagent.collector.records import StoreFailed, TokenRole
from certagent.collector.sql.api_queries import list_reports
from certagent.collector.sql.backup import NotEmpty, back_up, restore
from certagent.collector.sql.database import writing
from certagent.collector.sql.schema import metadata
from certagent.collector.store import open_store
from certagent.commands import UnableError
from certagent.commands import store as command
from certagent.config import load_collector
from certagent.domain.policy import Alerting
from certagent.system.clock import SystemClock
from tests.collector.cast import Cast, now
from tests.collector.test_store import introduce, states, take
from tests.evidence import shadow

pytestmark = pytest.mark.slow

TOLD = Alerting(channels=("hook",))


def contents(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    with writing(url) as connection:
        tables = {table.name: connection.execute(select(table)).all() for table in metadata.sorted_tables}
    return {name: sorted(map(tuple, rows), key=str) for name, rows in tables.items()}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Another empty store, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/other.db"
    return str(request.getfixturevalue("postgresql").new_database())


def save(url: str, file: Path) -> int:
    """As `certagent store backup` does it."""
    with file.open("wb") as target:
        return back_up(url, target, file)


def put_back(file: Path, url: str) -> int:
    """As `certagent store restore` does it."""
    with file.open("rb") as source:
        return restore(source, file, url)


async def test_everything_comes_back_and_goes_on(url: str, other: str, tmp_path: Path) -> None:
    """All rows; then a new report is numbered on, the incident is resolved, the token works."""
    cast, file = Cast(), tmp_path / "backup.db"
    secret = add_token(url, "lxc102", TokenRole.AGENT, now())
    async with open_store(url, TOLD, SystemClock()) as store:
        await introduce(store, cast)
        await take(store, cast.authority, cast.authority.watch(shadow()))
        rows = await asyncio.to_thread(save, url, file)
    assert rows == put_back(file, other) == sum(map(len, contents(url).values()))
    restored = contents(other)
    (told,) = [row for row in restored["audit"] if row not in contents(url)["audit"]]
    assert told[2] == "store.restored"
    restored["audit"].remove(told)
    assert restored == contents(url)
    async with open_store(other, TOLD, SystemClock()) as store:
        await take(store, cast.authority, cast.authority.watch())
        assert await states(store) == ["resolved"]
        assert await store.read(find_caller, digest_of(secret), now()) is not None
        assert len((await store.read(list_reports, None, 99)).items) == 5


async def test_a_backup_is_of_one_moment_while_reports_pour_in(url: str, tmp_path: Path) -> None:
    """As many reports as the newest of them counts: none is missing in between; and the store was never held up."""
    cast, file = Cast(), tmp_path / "backup.db"
    async with open_store(url, TOLD, SystemClock()) as store:
        await introduce(store, cast)
        backing = asyncio.create_task(asyncio.to_thread(save, url, file), name="backup")
        while not backing.done():
            await take(store, cast.gateway, *(cast.gateway.preflight() for _ in range(20)))
        await backing
    kept = [msgspec.json.decode(row[6]) for row in contents(f"sqlite:///{file}")["reports"]]
    mine = sorted(report["sequence"] for report in kept if report["agent"] == "lxc101")
    assert mine == list(range(1, len(mine) + 1))


def test_it_is_one_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    """No log beside it, nothing half-written left; an older backup is replaced."""
    folder = tmp_path / "backups"
    folder.mkdir()
    file = tmp_path / "collector.toml"
    file.write_text(f'[server]\nlisten = "127.0.0.1:8843"\n[store]\nurl = "sqlite:///{tmp_path}/collector.db"\n')
    for _ in range(2):
        command.backup(load_collector(file), folder / "b.db")
    assert [path.name for path in folder.iterdir()] == ["b.db"]
    assert (folder / "b.db").stat().st_mode & 0o777 == 0o600


def test_a_backup_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """It names the person's file; nothing is left of it."""
    config, file = tmp_path / "collector.toml", tmp_path / ("b" * 300)
    config.write_text(f'[server]\nlisten = "127.0.0.1:8843"\n[store]\nurl = "sqlite:///{tmp_path}/collector.db"\n')
    with pytest.raises(UnableError, match=f"{re.escape(str(file))} cannot be written: File name too long"):
        command.backup(load_collector(config), file)
    with pytest.raises(UnableError, match=f"{re.escape(str(config))} is not a folder"):
        command.backup(load_collector(config), config / "b.db")


def test_nothing_is_mixed_and_nothing_half_restored(url: str, other: str, tmp_path: Path) -> None:
    """A store that is in use is refused; a file that is no backup changes nothing."""
    add_token(url, "lxc102", TokenRole.AGENT, now())
    save(url, tmp_path / "b.db")
    add_token(other, "lxc101", TokenRole.AGENT, now())
    before = contents(other)
    with pytest.raises(NotEmpty, match="tokens"):
        put_back(tmp_path / "b.db", other)
    assert contents(other) == before
    (tmp_path / "junk.db").write_bytes(b"this is no database, however long it may be" * 100)
    empty = f"sqlite:///{tmp_path}/empty.db"
    with pytest.raises(StoreFailed):
        put_back(tmp_path / "junk.db", empty)
    assert not any(contents(empty).values())


def test_a_backup_of_the_first_schema_restores(url: str, tmp_path: Path) -> None:
    """It is brought up to date in a copy; the file stays as it was."""
    old = Path(__file__).parent / "data" / "backup-0001.sql"
    file = tmp_path / "old.db"
    engine = create_engine(f"sqlite:///{file}")
    connection = engine.raw_connection()
    connection.executescript(old.read_text())
    connection.close()
    engine.dispose()
    before = file.read_bytes()
    assert put_back(file, url) > 0
    assert file.read_bytes() == before
    kept = contents(url)
    assert [row[0] for row in kept["agents"]] == ["lxc101", "lxc102", "lxc103"]
    assert all(row[4] is not None for row in kept["certificates"]), "issued_at is filled in"


def test_a_backup_into_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """In a sentence that says what to do; nothing is made, the folder least of all."""
    (tmp_path / "collector.toml").write_text(
        f'[server]\nlisten = "127.0.0.1:8843"\n[store]\nurl = "sqlite:///{tmp_path}/collector.db"\n'
    )
    settings = load_collector(tmp_path / "collector.toml")
    with pytest.raises(UnableError) as caught:
        command.backup(settings, tmp_path / "nowhere" / "backup.gz")
    assert str(caught.value) == (
        f"the folder {tmp_path}/nowhere does not exist: create it, or name another file; nothing was written"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["collector.toml"]
