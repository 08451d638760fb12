"""/readyz: the collector is ready as long as what is due gets written."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from certagent.collector.records import StoreFailed
from certagent.collector.sql import database
from certagent.collector.store import open_store
from certagent.domain.policy import Alerting
from tests.collector.cast import Agent
from tests.collector.postgresql import Server
from tests.collector.process import Collector, eventually, running
from tests.collector.test_store import take
from tests.fakes.clock import FakeClock

ABOUT_TEN_SECONDS = 14.0
BUSY_SECONDS = 10.0  # a write that waits for the lock notices at the latest then


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another process's write lock on the SQLite file."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


async def readiness(collector: Collector) -> tuple[int, Any]:
    """Status and document, without a token; the answer waits for no database."""
    async with asyncio.timeout(BUSY_SECONDS / 2), collector.session(None) as session:
        async with session.get("/healthz") as response:
            assert (response.status, await response.text()) == (200, "ok\n")
        async with session.get("/readyz") as response:
            is_problem = response.content_type == "application/problem+json"
            return response.status, await response.json() if is_problem else await response.text()


async def becomes(collector: Collector, status: int, *, within: float) -> Any:
    """The document, once the status is that one."""

    async def has_become() -> Any:
        seen, document = await readiness(collector)
        return document if seen == status else None

    return await eventually(has_become, within=within)


@pytest.mark.slow
async def test_it_is_not_ready_while_the_database_is_locked(collector: Collector) -> None:
    """A report is posted and cannot be stored; once the lock is gone it is ready again, and the report is taken."""
    assert await readiness(collector) == (200, "ok\n")
    report = collector.cast.traefik.preflight()
    with locked(collector.folder / "state/collector.db"):
        posting = asyncio.create_task(collector.post("/v1/reports", [report], "lxc102"), name="post")
        problem = await becomes(collector, 503, within=ABOUT_TEN_SECONDS)
        assert (problem["status"], problem["title"]) == (503, "Service Unavailable")
        assert set(problem) == {"type", "title", "status", "detail"}
        assert (await posting)[0] == 503
        assert (await readiness(collector))[0] == 503
    await becomes(collector, 200, within=BUSY_SECONDS)
    assert await collector.post("/v1/reports", [report], "lxc102") == (200, {"accepted": 1, "duplicates": 0})


@pytest.mark.slow
@pytest.mark.servers
async def test_it_is_not_ready_while_the_database_is_read_only(tmp_path: Path, postgresql: Server) -> None:
    """As a PostgreSQL that became a standby, or whose administrator said so."""
    url = postgresql.new_database()
    async with running(tmp_path, store=url, is_warm=True) as collector:
        with psycopg.connect(url, autocommit=True) as administrator:
            administrator.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            administrator.execute("SELECT pg_reload_conf()")
            try:
                await collector.post("/v1/reports", [collector.cast.traefik.preflight()], "lxc102")
                problem = await becomes(collector, 503, within=ABOUT_TEN_SECONDS)
                assert "postgres" not in msgspec.json.encode(problem).decode()
            finally:
                administrator.execute("SET default_transaction_read_only = off")
                administrator.execute("ALTER SYSTEM RESET default_transaction_read_only")
                administrator.execute("SELECT pg_reload_conf()")
        await becomes(collector, 200, within=BUSY_SECONDS)


@pytest.mark.slow
async def test_a_store_that_fails_is_stalled_until_it_can_write_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted from when the write was due; it tries by itself, whether anybody writes or not."""
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.1)
    clock, agent = FakeClock(), Agent("lxc102")
    async with open_store(f"sqlite:///{tmp_path}/c.db", Alerting(), clock) as store:
        clock.move(timedelta(hours=1))
        assert store.stalled_for() == 0.0
        with locked(tmp_path / "c.db"):
            with pytest.raises(StoreFailed):
                await take(store, agent, agent.preflight())
            clock.move(timedelta(seconds=10))
            assert store.stalled_for() == 10.0

        async def can_write() -> bool:
            return store.stalled_for() == 0.0

        await eventually(can_write)


async def test_a_report_that_cannot_be_written_does_not_make_the_store_stalled(tmp_path: Path) -> None:
    """It is the report's fault."""
    clock, agent = FakeClock(), Agent("lxc102")
    broken = msgspec.structs.replace(agent.preflight(), sequence=2**70)
    async with open_store(f"sqlite:///{tmp_path}/c.db", Alerting(), clock) as store:
        with pytest.raises((OverflowError, StoreFailed)):
            await take(store, agent, broken)
        clock.move(timedelta(seconds=20))
        assert store.stalled_for() == 0.0
