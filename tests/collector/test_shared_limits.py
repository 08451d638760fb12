"""What protects the service is counted over all collectors on one PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import msgspec
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from certagent.collector import intake as intake_module
from certagent.collector.access import HttpProblem
from certagent.collector.credentials import add_user
from certagent.collector.records import Caller, TokenRole
from certagent.collector.shared_limiter import SharedLimiter
from certagent.collector.sql.ready_connection import ReadyConnection
from certagent.collector.store import Store, open_store
from certagent.domain.policy import Alerting
from certagent.domain.reports import Report
from certagent.system.clock import SystemClock
from tests.collector.cast import Agent, make_intake, now
from tests.collector.postgresql import Server
from tests.collector.process import Collector, running
from tests.collector.test_several_collectors import administrator

pytestmark = [pytest.mark.slow, pytest.mark.servers]

OURS = {"Sec-Fetch-Site": "same-origin"}
CALLER = Caller("lxc102", TokenRole.AGENT)
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%limits%'"
EVERY = timedelta(hours=1)


@pytest.fixture
def url(postgresql: Server) -> str:
    """An empty database."""
    return postgresql.new_database()


async def log_in(collector: Collector, password: str) -> int:
    """The status."""
    form = {"name": "ada", "password": password}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=collector.trust())) as session,
        session.post(
            f"https://127.0.0.1:{collector.port}/login", data=form, headers=OURS, allow_redirects=False
        ) as response,
    ):
        return response.status


async def test_guesses_at_a_password_count_at_every_collector(tmp_path: Path, url: str) -> None:
    """Five are had, wherever; the sixth is refused, wherever, and so is the right one."""
    async with AsyncExitStack() as stack:
        both = []
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            both.append(await stack.enter_async_context(running(tmp_path / name, store=url, is_warm=True)))
        add_user(url, "ada", TokenRole.OPERATOR, "correct horse battery", now())
        one, other = both
        tried = [await log_in(collector, "wrong horse battery") for collector in (one, other, one, one, other)]
        assert tried == [403] * 5
        assert [await log_in(collector, "correct horse battery") for collector in both] == [429, 429]


@asynccontextmanager
async def limiters(url: str, count: int) -> AsyncIterator[list[SharedLimiter]]:
    """Of so many collectors, three at once."""
    async with open_store(url, Alerting(), SystemClock()), AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(ReadyConnection(url)) for _ in range(count)]
        yield [SharedLimiter(line, SystemClock(), "x", burst=3, every=EVERY) for line in lines]


async def test_of_many_at_once_no_more_are_had_than_are_left(url: str) -> None:
    """Five collectors, four each; another key is another's. Who has to wait learns for how long."""
    async with limiters(url, 5) as several:
        waits = await asyncio.gather(*(one.take("ada") for one in several for _ in range(4)))
        assert sum(wait == 0 for wait in waits) == 3
        assert all(3_590 < wait <= 3_600 for wait in waits if wait)
        assert await several[0].take("vic") == 0


async def test_a_connection_that_is_cut_is_replaced_and_counts_on(url: str) -> None:
    """And nothing that was counted is forgotten."""
    async with limiters(url, 2) as (one, other):
        assert [await one.take("ada"), await one.take("ada")] == [0, 0]
        with administrator(url) as connection:
            connection.execute(text(CUT))
        assert [await one.take("ada"), await other.take("ada") > 0] == [0, True]


async def test_what_an_agent_has_stored_counts_at_every_collector(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector learns of it with the first post that it takes."""
    monkeypatch.setattr(intake_module, "_KIBIBYTES_AT_ONCE", 100)
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(open_store(url, Alerting(), SystemClock())) for _ in range(2)]
        one, other = (make_intake(store, CollectorRegistry(), SystemClock()) for store in stores)
        agent = Agent("lxc102")
        for kibibytes in (30, 30, 30, 1):
            await one._accept(CALLER, [agent.preflight()], kibibytes)
        with pytest.raises(HttpProblem, match="more data"):
            await one._accept(CALLER, [agent.preflight()], 30)
        await other._accept(CALLER, [agent.preflight()], 1)
        with pytest.raises(HttpProblem, match="more data"):
            await other._accept(CALLER, [agent.preflight()], 30)


async def test_no_charge_is_lost_between_two_collectors(url: str) -> None:
    """Two hundred at once, half of them at each."""
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(open_store(url, Alerting(), SystemClock())) for _ in range(2)]
        agent = Agent("lxc102")
        began_at = now()
        await stores[0].accept(CALLER, [agent.preflight()], 1_000_000)

        async def take(store: Store, report: Report) -> None:
            await store.accept(CALLER, [report], 1_000_000)

        await asyncio.gather(*(take(stores[number % 2], agent.preflight()) for number in range(199)))
        last = await stores[0].accept(CALLER, [agent.preflight()])
        assert last.kept_until is not None
        assert timedelta(seconds=200) <= last.kept_until - began_at < timedelta(seconds=205)
        assert msgspec.structs.replace(last, kept_until=None).accepted == 1
