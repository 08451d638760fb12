"""One agent gives the collector as much to conclude as a post can hold, again and again: the others have their turn in
between, and each of its findings costs alike."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from certagent.collector.records import Caller, TokenRole
from certagent.collector.sql.api_queries import list_incidents
from certagent.collector.sql.deliveries import next_delivery
from certagent.collector.store import Store, open_store
from certagent.domain.findings import Culprit, Finding
from certagent.domain.policy import Alerting
from certagent.domain.reports import Inventory, Report, RunKind
from certagent.system.clock import SystemClock
from tests.collector.cast import Agent
from tests.collector.process import Collector
from tests.evidence import refused

pytestmark = pytest.mark.slow

HOSTILE = "lxc102"


def flood(agent: Agent, number: int, count: int = 1_000) -> Report:
    """Other identifiers fail than in the report before, whose own are over: that many incidents open, and end."""
    findings = tuple(_of(agent.name, f"x{number}-{name}.x") for name in range(count))
    scopes = tuple(f"identifier:x{number - 1}-{name}.x" for name in range(count))
    return agent.report(RunKind.PREFLIGHT, findings=findings, scopes=scopes)


def _of(node: str, identifier: str) -> Finding:
    return msgspec.structs.replace(refused(node=node), identifier=identifier, culprit=Culprit(node=node))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """With a channel whose messages wait."""
    async with open_store(f"sqlite:///{tmp_path}/c.db", Alerting(channels=("hook",)), SystemClock()) as store:
        yield store


async def test_ten_thousand_waiting_messages_hold_up_neither_reports_nor_the_next_message(store: Store) -> None:
    """What a report costs does not grow with what was reported before; what is sent next is found at once."""
    agent, caller = Agent(HOSTILE), Caller(HOSTILE, TokenRole.AGENT)
    took = []
    for number in range(6):
        began_at = time.process_time()
        answer = await store.accept(caller, [flood(agent, number)])
        took.append(time.process_time() - began_at)
        assert answer.work == (1_000 if number == 0 else 2_000)
    assert took[-1] < 2 * took[1], took
    began_at = time.monotonic()
    assert await store.read(next_delivery, "hook", datetime.now(UTC)) is not None
    assert time.monotonic() - began_at < 2


async def test_a_node_that_moves_costs_what_speaks_of_it(store: Store) -> None:
    """Not a look at the whole fleet; and what says whose the address is says it anew."""
    agent, other = Agent(HOSTILE), Agent("lxc101")
    await store.accept(Caller(other.name, TokenRole.AGENT), [flood(other, 0)])
    at_nobodys = msgspec.structs.replace(refused("10.0.0.66", None), identifier="y.x")
    await store.accept(Caller(other.name, TokenRole.AGENT), [other.preflight(at_nobodys, identifier="y.x")])
    inventory = Inventory(node=HOSTILE, addresses=("10.0.0.66",), role="new", version="0")
    answer = await store.accept(
        Caller(HOSTILE, TokenRole.AGENT), [agent.report(RunKind.INVENTORY, inventory=inventory)]
    )
    assert answer.work == 1
    told = (await store.read(list_incidents, None, 2_000)).items
    assert [one.owners["10.0.0.66"].node for one in told if "10.0.0.66" in one.owners] == [HOSTILE]


async def test_a_large_post_is_stored_by_pieces_and_others_come_in_between(collector: Collector) -> None:
    """Two thousand findings in one post; somebody else's report is answered meanwhile."""
    cast = collector.cast
    await collector.introduce()
    reports = [flood(cast.traefik, number, 400) for number in range(5)]
    posting = asyncio.create_task(collector.report(*reports), name="the flood")
    stored = []
    while not posting.done():
        await collector.report(cast.gateway.preflight())
        _, page = await collector.get("/v1/reports", params={"agent": HOSTILE})
        stored.append(sum(report["kind"] == RunKind.PREFLIGHT for report in page["items"]))
    await posting
    assert any(0 < count < len(reports) for count in stored), stored
