"""Several collectors on one PostgreSQL: none assumes that it is alone, and none is needed for the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from certagent.collector.credentials import add_token, list_tokens
from certagent.collector.records import Caller, StoreFailed, TokenRole
from certagent.collector.sql.api_queries import list_agents, list_incidents
from certagent.collector.sql.deliveries import next_delivery, record_attempt
from certagent.collector.store import Store, open_store
from certagent.domain.policy import Alerting
from certagent.domain.reports import Report
from certagent.system.clock import SystemClock
from tests.collector.cast import Agent, now
from tests.collector.postgresql import Server
from tests.collector.process import eventually
from tests.evidence import shadow

pytestmark = pytest.mark.servers
AUTHORITY = Caller("lxc103", TokenRole.AUTHORITY)


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
    delivery = await stores[1].read(next_delivery, "hook")
    assert delivery is not None
    await stores[0].write(record_attempt, delivery.number, failure=None, retry_at=None)
    assert await stores[1].read(next_delivery, "hook") is None


async def test_a_duty_has_one_holder_and_falls_to_the_next_when_that_one_is_gone(url: str) -> None:
    """A channel's messages are sent by one collector at a time."""
    async with open_store(url, Alerting(), SystemClock()) as one, open_store(url, Alerting(), SystemClock()) as other:
        assert await one.holds_lease("channel hook")
        assert await one.holds_lease("channel hook")
        assert not await other.holds_lease("channel hook")
        assert await other.holds_lease("channel mail")
    async with open_store(url, Alerting(), SystemClock()) as third:
        assert await third.holds_lease("channel hook")


async def test_it_works_again_after_the_server_has_cut_every_connection(url: str, stores: tuple[Store, Store]) -> None:
    """A restart of PostgreSQL: what fails is said, nothing is half done, and no restart of the collector is needed."""
    store, agent = stores[0], Agent("lxc103")
    assert await store.holds_lease("channel hook")
    admin = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        connection.execute(text(f"{cut} AND pid <> pg_backend_pid()"))
    admin.dispose()
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
