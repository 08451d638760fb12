"""Backup beside a working store, and restore into an empty one: both kinds, both ways."""

import asyncio
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
from certagent.domain.policy import Alerting
from certagent.system.clock import SystemClock
from tests.collector.cast import Cast, now
from tests.collector.test_store import introduce, states, take
from tests.evidence import shadow

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


async def test_everything_comes_back_and_goes_on(url: str, other: str, tmp_path: Path) -> None:
    """All rows; then a new report is numbered on, the incident is resolved, the token works."""
    cast, file = Cast(), tmp_path / "backup.db"
    secret = add_token(url, "lxc102", TokenRole.AGENT, now())
    async with open_store(url, TOLD, SystemClock()) as store:
        await introduce(store, cast)
        await take(store, cast.authority, cast.authority.watch(shadow()))
        rows = await asyncio.to_thread(back_up, url, file)
    assert rows == restore(file, other) == sum(map(len, contents(url).values()))
    assert contents(other) == contents(url)
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
        backing = asyncio.create_task(asyncio.to_thread(back_up, url, file), name="backup")
        while not backing.done():
            await take(store, cast.gateway, *(cast.gateway.preflight() for _ in range(20)))
        await backing
    kept = [msgspec.json.decode(row[6]) for row in contents(f"sqlite:///{file}")["reports"]]
    mine = sorted(report["sequence"] for report in kept if report["agent"] == "lxc101")
    assert mine == list(range(1, len(mine) + 1))


def test_it_is_one_file_that_only_its_owner_reads(url: str, tmp_path: Path) -> None:
    """No log beside it, nothing half-written left; an older backup is replaced."""
    folder = tmp_path / "backups"
    folder.mkdir()
    for _ in range(2):
        back_up(url, folder / "b.db")
    assert [path.name for path in folder.iterdir()] == ["b.db"]
    assert (folder / "b.db").stat().st_mode & 0o777 == 0o600


def test_nothing_is_mixed_and_nothing_half_restored(url: str, other: str, tmp_path: Path) -> None:
    """A store that is in use is refused; a file that is no backup changes nothing."""
    add_token(url, "lxc102", TokenRole.AGENT, now())
    back_up(url, tmp_path / "b.db")
    add_token(other, "lxc101", TokenRole.AGENT, now())
    before = contents(other)
    with pytest.raises(NotEmpty, match="tokens"):
        restore(tmp_path / "b.db", other)
    assert contents(other) == before
    (tmp_path / "junk.db").write_bytes(b"this is no database, however long it may be" * 100)
    empty = f"sqlite:///{tmp_path}/empty.db"
    with pytest.raises(StoreFailed):
        restore(tmp_path / "junk.db", empty)
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
    assert restore(file, url) > 0
    assert file.read_bytes() == before
    kept = contents(url)
    assert [row[0] for row in kept["agents"]] == ["lxc101", "lxc102", "lxc103"]
    assert all(row[4] is not None for row in kept["certificates"]), "issued_at is filled in"
