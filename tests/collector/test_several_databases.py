"""A PostgreSQL of two servers: one URL names both, and a collector works with the one that takes writes."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import Connection

from certagent.collector.records import StoreFailed
from certagent.collector.sql.database import open_readers, open_session, open_writer
from certagent.collector.sql.notices import LISTENING, hear_notices
from tests.collector.postgresql import Server, primary_and_standby
from tests.collector.process import Collector, eventually, running
from tests.evidence import shadow

pytestmark = pytest.mark.servers
PORT = "SELECT inet_server_port()"


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    """The primary and its standby."""
    with primary_and_standby() as both:
        yield both


def url_of(*servers: Server, wanted: str = "read-write") -> str:
    """As libpq writes it."""
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return f"postgresql://postgres@{hosts}/postgres?target_session_attrs={wanted}"


@asynccontextmanager
async def on_both(folder: Path, servers: tuple[Server, Server]) -> AsyncIterator[Collector]:
    """A collector whose URL names the standby first."""
    async with running(folder, store=url_of(*reversed(servers)), is_warm=True) as collector:
        yield collector


def ports_of(url: str) -> set[object]:
    """Of the servers that the writer, the readers and a session are connected to."""
    found: set[object] = set()
    for open_engine in (open_writer, open_readers, open_session):
        engine = open_engine(url)
        with engine.connect() as connection:
            found.add(connection.exec_driver_sql(PORT).scalar())
        engine.dispose()
    return found


async def test_every_connection_is_to_the_one_that_takes_writes(servers: tuple[Server, Server]) -> None:
    """In whatever order they are named, and also when one of them is down."""
    primary, standby = servers
    for url in (url_of(primary, standby), url_of(standby, primary)):
        assert await asyncio.to_thread(ports_of, url) == {primary.port}
    standby.stop()
    assert await asyncio.to_thread(ports_of, url_of(standby, primary)) == {primary.port}
    async with aclosing(hear_notices(url_of(standby, primary))) as notices:
        assert await anext(notices) == LISTENING


async def test_no_server_that_takes_writes_is_one_sentence(servers: tuple[Server, Server]) -> None:
    """The primary is down: the standby alone will not do."""
    primary, standby = servers
    primary.stop()
    url = url_of(standby, primary)
    with pytest.raises(StoreFailed, match="the database cannot be opened: ") as caught:
        await asyncio.to_thread(open_writer, url)
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreFailed):
        await anext(hear_notices(url))


@pytest.mark.slow
async def test_a_collector_goes_on_with_the_standby_that_was_promoted(
    servers: tuple[Server, Server], tmp_path: Path
) -> None:
    """It takes reports, hears the others again and is ready, without a restart."""
    primary, standby = servers
    async with on_both(tmp_path, servers) as collector:
        await collector.report(collector.cast.authority.watch(shadow()))
        await eventually(lambda: asyncio.to_thread(_has_caught_up, primary, standby))
        primary.stop()
        standby.promote()
        report = collector.cast.authority.watch(shadow())

        async def is_taken() -> bool:
            with suppress(TimeoutError):
                status, _ = await collector.post("/v1/reports", [report], report.agent)
                return status == 200
            return False

        async def is_ready() -> bool:
            async with collector.session(None) as session, session.get("/readyz") as response:
                return response.status == 200

        assert await eventually(is_taken, within=40)
        assert await eventually(is_ready, within=40)
        assert len(await collector.incidents()) == 1


@pytest.mark.slow
async def test_with_a_synchronous_standby_a_failover_loses_no_acknowledged_report(
    servers: tuple[Server, Server], tmp_path: Path
) -> None:
    """While the standby hears nothing, nothing is acknowledged; what was acknowledged before, the standby has."""
    primary, standby = servers
    await asyncio.to_thread(_wait_for_standby_before_commit, primary)
    async with on_both(tmp_path, servers) as collector:
        poster = Poster(collector)
        posting = asyncio.create_task(poster.go_on(), name="posts")
        await eventually(lambda: poster.has_acknowledged(50))
        with _frozen_processes(standby):
            await asyncio.sleep(0.5)  # what was on its way
            before = len(poster.acknowledged)
            await asyncio.sleep(2)
            assert len(poster.acknowledged) == before
            primary.stop(signal.SIGQUIT)
        standby.promote()
        await eventually(lambda: poster.has_acknowledged(before + 20), within=60)
        posting.cancel()
        kept = await asyncio.to_thread(_report_ids, standby)
    assert poster.acknowledged <= kept


class Poster:
    """An agent that posts one report after the other. `acknowledged`: the ids of those that were taken."""

    def __init__(self, collector: Collector) -> None:
        self.acknowledged: set[str] = set()
        self._collector = collector

    async def go_on(self) -> None:
        """Until cancelled. What is not acknowledged is not posted again."""
        while True:
            report = self._collector.cast.gateway.preflight()
            with suppress(TimeoutError, aiohttp.ClientError):
                async with asyncio.timeout(1):
                    status, _ = await self._collector.post("/v1/reports", [report], report.agent)
                if status == 200:
                    self.acknowledged.add(report.id)

    async def has_acknowledged(self, count: int) -> bool:
        """So many."""
        return len(self.acknowledged) >= count


def _wait_for_standby_before_commit(primary: Server) -> None:
    with _administrator(primary) as connection:
        connection.exec_driver_sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
        for _ in range(100):
            state = "SELECT sync_state FROM pg_stat_replication"
            if connection.exec_driver_sql(state).scalars().all() == ["sync"]:
                return
            time.sleep(0.1)
    pytest.fail("the standby did not become synchronous")


def _report_ids(server: Server) -> set[str]:
    with _administrator(server) as connection:
        return set(connection.exec_driver_sql("SELECT id FROM reports").scalars())


@contextmanager
def _administrator(server: Server) -> Iterator[Connection]:
    engine = open_session(url_of(server, wanted="any"))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@contextmanager
def _frozen_processes(server: Server) -> Iterator[None]:
    """All of the server's processes, by SIGSTOP within the block."""
    children = Path(f"/proc/{server.process_id}/task/{server.process_id}/children").read_text().split()
    processes = [server.process_id, *map(int, children)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def _has_caught_up(primary: Server, standby: Server) -> bool:
    places = []
    for server, function in ((primary, "pg_current_wal_lsn"), (standby, "pg_last_wal_replay_lsn")):
        engine = open_session(url_of(server, wanted="any"))
        with engine.connect() as connection:
            places.append(connection.exec_driver_sql(f"SELECT {function}()").scalar())
        engine.dispose()
    return places[0] == places[1]
