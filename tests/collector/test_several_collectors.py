"""Several collectors on one PostgreSQL: none assumes that it is alone, and none is needed for the others."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from certagent.collector.credentials import add_token, list_tokens
from certagent.collector.housekeeping import look_at_fleet
from certagent.collector.records import Caller, StoreFailed, TokenRole
from certagent.collector.sql.api_queries import list_agents, list_incidents
from certagent.collector.sql.database import open_readers, open_session, open_writer
from certagent.collector.sql.deliveries import next_delivery, record_attempt
from certagent.collector.sql.leases import LASTS_FOR, DatabaseClock, Leases
from certagent.collector.sql.round_queries import note_policy
from certagent.collector.sql.upkeep import replace_findings
from certagent.collector.store import Store, open_store
from certagent.config.policy_files import load_policy
from certagent.domain.policy import Alerting
from certagent.domain.reports import Report
from certagent.system.clock import SystemClock
from tests.collector.cast import Agent, now
from tests.collector.postgresql import Server
from tests.collector.process import eventually
from tests.evidence import shadow
from tests.fakes.clock import ShiftedClock

pytestmark = pytest.mark.servers
AUTHORITY = Caller("lxc103", TokenRole.AUTHORITY)
MICROSECOND = timedelta(microseconds=1)
LEFT = "SELECT until - (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM leases"
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
READING = f"{OTHERS} AND state = 'active' AND query LIKE '%pg_sleep%'"
CUT = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
SESSION = {
    "synchronous_commit": "on",
    "lock_timeout": "10s",
    "statement_timeout": "1min",
    "idle_in_transaction_session_timeout": "10s",
}
CLIENT = {"tcp_user_timeout": "20000", "keepalives_idle": "5", "keepalives_interval": "5", "keepalives_count": "3"}
FREEZE_IN_A_WRITE = """
import os, signal, sys
from certagent.collector.sql.database import open_writer
with open_writer(sys.argv[1]).begin():
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@contextmanager
def administrator(url: str) -> Iterator[Connection]:
    """A session of somebody else's."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def is_stopped(pid: int) -> bool:
    """Whether the process is frozen."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.fixture
def url(postgresql: Server) -> str:
    """An empty database."""
    return postgresql.new_database()


@pytest.fixture
async def stores(url: str) -> AsyncIterator[tuple[Store, Store]]:
    """Two collectors' stores, opened at once on a database without a schema."""
    async with AsyncExitStack() as stack:
        opening = [
            stack.enter_async_context(open_store(url, Alerting(channels=("hook",)), SystemClock())) for _ in range(2)
        ]
        one, other = await asyncio.gather(*opening)
        yield one, other


async def test_a_report_that_reaches_two_collectors_at_once_counts_once(stores: tuple[Store, Store]) -> None:
    """Sixty reports, each posted to both: accepted sixty times, one incident, one message."""
    agent = Agent("lxc103")
    reports: list[Report] = [agent.watch(shadow()) for _ in range(60)]
    answers = await asyncio.gather(*(store.accept(AUTHORITY, [report]) for report in reports for store in stores))
    assert sum(answer.accepted for answer in answers) == sum(answer.duplicates for answer in answers) == 60
    assert len((await stores[0].read(list_incidents, None, 10)).items) == 1
    delivery = await stores[1].read(next_delivery, "hook", now())
    assert delivery is not None
    await stores[0].write(record_attempt, delivery.number, failure=None, retry_at=None)
    assert await stores[1].read(next_delivery, "hook", now()) is None


async def test_a_duty_has_one_holder_and_falls_to_the_next_when_that_one_is_gone(url: str) -> None:
    """A channel's messages are sent by one collector at a time."""
    async with open_store(url, Alerting(), SystemClock()) as one, open_store(url, Alerting(), SystemClock()) as other:
        assert await one.holds_lease("channel hook")
        assert await one.holds_lease("channel hook")
        assert not await other.holds_lease("channel hook")
        assert await other.holds_lease("channel mail")
    async with open_store(url, Alerting(), SystemClock()) as third:
        assert await third.holds_lease("channel hook")


async def test_a_lease_ends_by_the_databases_clock_and_is_not_taken_back(url: str, stores: tuple[Store, Store]) -> None:
    """Its holder is frozen: what it held is another's, and when it wakes it sees that."""
    one, other = stores
    assert await one.holds_lease("heartbeat")
    assert not await other.holds_lease("heartbeat")
    with administrator(url) as connection:
        connection.execute(text("UPDATE leases SET until = until - :lasted"), {"lasted": LASTS_FOR // MICROSECOND})
    assert await other.holds_lease("heartbeat")
    assert not await one.holds_lease("heartbeat")


async def test_a_lease_is_renewed_as_long_as_its_holder_lives(url: str) -> None:
    """However seldom it asks; what has ended is not renewed."""
    open_writer(url).dispose()
    one, other = Leases(url), Leases(url)
    assert one.hold("kept")
    with administrator(url) as connection:
        connection.execute(text("UPDATE leases SET until = until - 10000000"))
        one.renew()
        (left,) = connection.execute(text(LEFT)).scalars()
    assert left > 10_000_000
    assert not other.hold("kept")
    with administrator(url) as connection:
        connection.execute(text("UPDATE leases SET until = 0"))
    one.renew()
    assert other.hold("kept")
    for leases in (one, other):
        leases.close()


async def test_nothing_of_a_closed_store_stays_connected(url: str) -> None:
    """Neither what was read for somebody who has gone, nor a lease's session; a database that is refused neither."""
    async with open_store(url, Alerting(), SystemClock()) as store:
        reads = [asyncio.create_task(store.read(read_slowly)) for _ in range(4)]
        with administrator(url) as connection:

            async def all_read() -> bool:
                return connection.execute(text(READING)).scalar() == len(reads)

            await eventually(all_read)
        for read in reads:
            read.cancel()
        asking = asyncio.create_task(store.holds_lease("heartbeat"))
        await asyncio.sleep(0)
        asking.cancel()
    with administrator(url) as connection:

        async def is_alone() -> bool:  # the server takes a moment to end with who has gone
            return connection.execute(text(OTHERS)).scalar() == 0

        assert await eventually(is_alone, within=5)
        connection.execute(text("UPDATE alembic_version SET version_num = 'of nobody'"))
        with pytest.raises(StoreFailed):
            open_writer(url)
        assert await eventually(is_alone, within=5)


def read_slowly(connection: Connection) -> None:
    """A second and a half."""
    connection.execute(text("SELECT pg_sleep(1.5)"))


@pytest.mark.parametrize("open_engine", [open_writer, open_readers, open_session])
def test_every_connection_ends_when_either_side_is_gone(url: str, open_engine: Callable[[str], Engine]) -> None:
    """As the server says it of the session; a socket's own settings are read as 0 on a unix socket, so by libpq's."""
    engine = open_engine(url)
    with engine.connect() as connection:
        shown = {name: connection.execute(text(f"SHOW {name}")).scalar() for name in SESSION}
        assert connection.connection.driver_connection is not None
        client = connection.connection.driver_connection.info.get_parameters()
    engine.dispose()
    assert shown == SESSION
    assert {name: client[name] for name in CLIENT} == CLIENT
    for option in ("tcp_user_timeout=20s", "tcp_keepalives_idle=5", "tcp_keepalives_interval=5", "keepalives_count=3"):
        assert option in client["options"]


@pytest.mark.slow
async def test_one_that_is_frozen_in_a_write_stops_the_others_for_15_s_at_most(
    url: str, stores: tuple[Store, Store]
) -> None:
    """It holds the write lock, and its socket stays open. An agent posts again until its report is taken."""
    frozen = await asyncio.create_subprocess_exec(sys.executable, "-c", FREEZE_IN_A_WRITE, url)
    report = Agent("lxc103").watch(shadow())

    async def is_taken() -> bool:
        try:
            return (await stores[1].accept(AUTHORITY, [report])).accepted == 1
        except StoreFailed:
            return False

    try:
        await eventually(lambda: asyncio.to_thread(is_stopped, frozen.pid))
        assert await eventually(is_taken, within=15)
    finally:
        frozen.kill()
        await frozen.wait()


async def test_collectors_whose_clocks_differ_agree_on_the_time(url: str) -> None:
    """Six minutes ahead and six behind: both go by the database's, and neither calls an agent silent."""
    minutes = timedelta(minutes=6)
    policy, agent = load_policy(None), Agent("lxc103")
    async with AsyncExitStack() as stack:
        clocks = [DatabaseClock(ShiftedClock(by)) for by in (minutes, -minutes)]
        ahead, behind = [await stack.enter_async_context(open_store(url, Alerting(), clock)) for clock in clocks]
        for clock in clocks:
            assert abs(clock.now() - now()) < timedelta(seconds=2)
        await behind.accept(AUTHORITY, [agent.watch()])
        since = now() - timedelta(hours=1)
        found = await look_at_fleet(ahead, (), policy, since, clocks[0].now())
        await ahead.write(replace_findings, found)
        assert (await ahead.read(list_incidents, None, 9)).items == []


async def test_it_works_again_after_the_server_has_cut_every_connection(url: str, stores: tuple[Store, Store]) -> None:
    """A restart of PostgreSQL: what fails is said, nothing is half done, and no restart of the collector is needed."""
    store, agent = stores[0], Agent("lxc103")
    assert await store.holds_lease("channel hook")
    with administrator(url) as connection:
        connection.execute(text(f"{CUT} AND pid <> pg_backend_pid()"))
    report = agent.watch(shadow())

    async def is_taken() -> bool:
        try:
            return (await store.accept(AUTHORITY, [report])).accepted + len(
                (await store.read(list_agents, None, 9)).items
            ) > 0
        except StoreFailed:
            return False

    assert await eventually(is_taken)
    assert len((await store.read(list_incidents, None, 10)).items) == 1
    assert await eventually(lambda: store.holds_lease("channel hook"))


async def test_a_connection_that_was_cut_while_nobody_used_it_fails_nobody(
    url: str, stores: tuple[Store, Store]
) -> None:
    """However short a time ago it was used: what begins over it begins once more, over a new one."""
    store, agent = stores[0], Agent("lxc101")
    member = Caller(agent.name, TokenRole.AGENT)
    quiet: list[Callable[[], Awaitable[object]]] = [
        lambda: store.read(list_agents, None, 9),
        lambda: store.accept(member, [agent.preflight()]),
        lambda: store.write(note_policy, "one", "of its own"),
    ]
    for after_the_cut in (*quiet, *quiet):
        for use in quiet:
            await use()
        with administrator(url) as connection:
            connection.execute(text(f"{CUT} AND pid <> pg_backend_pid()"))
        await after_the_cut()


def test_a_database_that_is_not_there_is_one_sentence(postgresql: Server, tmp_path: Path) -> None:
    """And no password is in it."""
    nowhere = postgresql.url("postgres").replace(str(postgresql.folder), str(tmp_path))
    with pytest.raises(StoreFailed, match="cannot be opened") as caught:
        list_tokens(nowhere.replace("postgres@", "postgres:s3cr3t@"))
    assert "s3cr3t" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tokens_are_made_at_once_by_several(url: str) -> None:
    """The first of them makes the schema, too."""
    for name in ("lxc101", "lxc102"):
        add_token(url, name, TokenRole.AGENT, now())
    assert [token.name for token in list_tokens(url)] == ["lxc101", "lxc102"]
