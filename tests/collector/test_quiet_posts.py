"""Posts that leave nothing to conclude are stored beside those that other collectors store; all else is done alone."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from certagent.collector.records import Acceptance, Caller, TokenRole
from certagent.collector.sql.api_queries import list_incidents, list_reports
from certagent.collector.sql.statements import Transaction
from certagent.collector.store import Store, open_store
from certagent.domain.findings import Finding, Severity
from certagent.domain.incidents import Incident
from certagent.domain.policy import Alerting
from certagent.domain.reports import Report
from certagent.system.clock import SystemClock
from tests.collector.cast import Agent, certificate
from tests.collector.postgresql import Server
from tests.collector.test_several_collectors import administrator
from tests.evidence import refused, shadow

pytestmark = pytest.mark.servers

ELSEWHERE = "BEGIN; SELECT pg_advisory_xact_lock_shared(7233179412046)"  # as a collector that stores quiet posts
AGENT = "SELECT name FROM agents WHERE name = 'n0' FOR NO KEY UPDATE"
AUTHORITY = Agent("lxc103")
PATIENCE = 5.0


@pytest.fixture
def url(postgresql: Server) -> str:
    """An empty database."""
    return postgresql.new_database()


@pytest.fixture
async def stores(url: str) -> AsyncIterator[tuple[Store, Store]]:
    """Two collectors' stores."""
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(open_store(url, Alerting(channels=("hook",)), SystemClock()))
            for _ in range(2)
        ]
        yield one, other


async def take(store: Store, *reports: Report) -> Acceptance:
    """One agent's."""
    return await store.accept(Caller(reports[0].agent, TokenRole.AGENT), reports)


async def introduced(store: Store, count: int) -> list[Agent]:
    """So many agents that are known, with one certificate each."""
    agents = [Agent(f"n{number}") for number in range(count)]
    for number, agent in enumerate(agents):
        await take(store, agent.inventory(f"10.9.0.{number}", "web", certificate("site", f"{agent.name}.x")))
    return agents


async def incidents_of(store: Store, *states: str) -> list[Incident]:
    """All of them, the latest first."""
    return list((await store.read(list_incidents, None, 1_000, states=states)).items)


def told(incidents: list[Incident]) -> list[tuple[str, list[str]]]:
    """What, and to whom."""
    return sorted((one.code, sorted(victim.identifier for victim in one.victims)) for one in incidents)


@contextmanager
def another_stores(url: str, *more: str) -> Iterator[None]:
    """Within the block another collector's transaction is under way."""
    with administrator(url) as connection:
        for statement in (ELSEWHERE, *more):
            connection.execute(text(statement))
        yield


def note(_: Transaction) -> str:
    """A change like any other."""
    return "noted"


def warning(identifier: str) -> Finding:
    """What is no incident."""
    return msgspec.structs.replace(refused(identifier=identifier), severity=Severity.WARN)


async def test_a_quiet_post_waits_for_nobody_and_a_change_does(stores: tuple[Store, Store], url: str) -> None:
    """While another collector stores posts; what opens an incident is a change."""
    store, _ = stores
    _, agent = await introduced(store, 2)
    with another_stores(url, AGENT):
        async with asyncio.timeout(PATIENCE):
            assert await take(store, agent.preflight(warning("n1.x"), identifier="n1.x")) == Acceptance(1, 0)
        loud = asyncio.create_task(take(store, agent.preflight(refused(identifier="n1.x"), identifier="n1.x")))
        changing = asyncio.create_task(stores[1].write(note))
        assert await asyncio.wait([loud, changing], timeout=0.5) == (set(), {loud, changing})
    async with asyncio.timeout(PATIENCE):
        assert (await loud).accepted == 1
        assert await changing == "noted"
    assert len(await incidents_of(store)) == 1


async def test_one_agents_posts_follow_one_another(stores: tuple[Store, Store], url: str) -> None:
    """Another collector has one of its posts under way."""
    store, _ = stores
    agent, _ = await introduced(store, 2)
    with another_stores(url, AGENT):
        taking = asyncio.create_task(take(store, agent.preflight(identifier="n0.x")))
        assert await asyncio.wait([taking], timeout=0.5) == (set(), {taking})
    async with asyncio.timeout(PATIENCE):
        assert (await taking).accepted == 1


@pytest.mark.parametrize("what", ["clear", "moved", "unknown", "gone", "authority"])
async def test_what_looks_quiet_and_is_not_is_concluded(stores: tuple[Store, Store], what: str) -> None:
    """It ends an incident, has another address, is nobody known, speaks of files no more, or beside the CA."""
    store, _ = stores
    agents = await introduced(store, 2)
    harmless = msgspec.structs.replace(shadow(reporter="n1"), severity=Severity.WARN)
    await take(store, agents[1].watch(harmless))
    await take(store, agents[0].preflight(refused("10.9.0.1", "n1", "n0.x"), identifier="n0.x"))
    assert len(await incidents_of(store, "open")) == 1
    reports = {
        "clear": lambda: agents[0].preflight(identifier="n0.x"),
        "moved": lambda: agents[1].inventory("10.9.0.77", "web", certificate("site", "n1.x")),
        "unknown": lambda: Agent("n7").preflight(identifier="n7.x"),
        "gone": lambda: msgspec.structs.replace(agents[1].watch(scope="file:/a"), other_files=()),
        "authority": lambda: AUTHORITY.watch(shadow("n1.x")),
    }
    report = reports[what]()
    role = TokenRole.AUTHORITY if what == "authority" else TokenRole.AGENT
    assert (await store.accept(Caller(report.agent, role), [report, report])) in (Acceptance(1, 1, n) for n in range(9))
    found = await incidents_of(store, "open")
    assert len(found) == {"clear": 0, "authority": 2}.get(what, 1)
    if what == "moved":
        assert found[0].owners.keys().isdisjoint({"10.9.0.1"})


async def test_what_two_conclude_at_once_is_what_one_concludes(stores: tuple[Store, Store], tmp_path: Path) -> None:
    """Forty agents say forty times what is wrong or right again, now to one collector, now to the other, and the same
    report to both: each is stored once, and the incidents that stay are those of a collector that heard only the
    last."""
    draw = random.Random(7)  # noqa: S311 - what is drawn is a load
    agents = await introduced(stores[0], 40)

    async def report(agent: Agent, number: int) -> Report:
        culprit = refused("10.9.0.1", "n1", f"{agent.name}.x")  # all are victims of one node
        for _ in range(40):
            found = draw.choice([(), (), (culprit,), (warning(f"{agent.name}.x"),)])
            last = agent.preflight(*found, identifier=f"{agent.name}.x")
            one, other = draw.sample(stores, 2)
            taken = [take(one, last), take(other, last)] if draw.random() < 0.3 else [take(one, last)]
            assert sum(answer.accepted for answer in await asyncio.gather(*taken)) == 1, number
        return last

    last = await asyncio.gather(*(report(agent, number) for number, agent in enumerate(agents)))
    assert len((await stores[0].read(list_reports, None, 5_000)).items) == 40 * 41
    async with open_store(f"sqlite:///{tmp_path}/x.db", Alerting(channels=("hook",)), SystemClock()) as alone:
        await introduced(alone, 40)
        for one in last:
            await take(alone, one)
        expected = told(await incidents_of(alone, "open"))
    found = [*await incidents_of(stores[1], "open"), *await incidents_of(stores[1], "acknowledged")]
    assert told(found) == expected
