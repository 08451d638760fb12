"""A PostgreSQL of two servers: one URL names both, and a collector works with the one that takes writes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest

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


def _has_caught_up(primary: Server, standby: Server) -> bool:
    places = []
    for server, function in ((primary, "pg_current_wal_lsn"), (standby, "pg_last_wal_replay_lsn")):
        engine = open_session(url_of(server, wanted="any"))
        with engine.connect() as connection:
            places.append(connection.exec_driver_sql(f"SELECT {function}()").scalar())
        engine.dispose()
    return places[0] == places[1]
