"""The outbox: nodes take turns, the worst first; what is too much about one node becomes one sum."""

from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import select

from certagent.collector.incident_text import compose_sum
from certagent.collector.records import Delivery
from certagent.collector.sql.deliveries import SUM_EVERY, find_excess, next_delivery, record_attempt, sum_up
from certagent.collector.sql.schema import outbox
from certagent.collector.store import Store, open_store
from certagent.domain.findings import Culprit, Finding, Severity
from certagent.domain.policy import Alerting
from certagent.domain.reports import RunKind
from tests.collector.cast import Agent, Cast, now
from tests.collector.test_store import take
from tests.evidence import shadow
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.slow

MOST = 20
HOUR = timedelta(hours=1)


class Outbox:
    """A store whose clock is told, its messages, and the agents that make them."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store, self.clock, self.agents = store, clock, Cast()

    async def report(self, agent: Agent, *findings: Finding, scope: str = "flood") -> None:
        """Of its own node, now."""
        await take(self.store, agent, agent.watch(*findings, scope=scope, at=self.clock.now()))

    async def next(self) -> Delivery | None:
        """As the sender finds it, if it is due."""
        if await self.store.read(find_excess, "hook", self.clock.now(), MOST):
            await self.store.write(sum_up, "hook", MOST)
        delivery = await self.store.read(next_delivery, "hook", self.clock.now())
        return delivery if delivery is not None and delivery.due_at <= self.clock.now() else None

    async def send(self, count: int = 10_000) -> list[Delivery]:
        """So many of what is due, delivered."""
        sent: list[Delivery] = []
        while len(sent) < count and (delivery := await self.next()) is not None:
            await self.store.write(record_attempt, delivery.number, failure=None, retry_at=None)
            sent.append(delivery)
        return sent


@pytest.fixture
async def box(url: str) -> AsyncIterator[Outbox]:
    """Empty."""
    clock = FakeClock(now())
    async with open_store(url, Alerting(channels=("hook",)), clock) as store:
        yield Outbox(store, clock)


def flood(node: str, count: int, *, first: int = 0, severity: Severity = Severity.ERROR) -> list[Finding]:
    """As many incidents of that node."""
    found = msgspec.structs.replace(shadow(reporter=node), severity=severity)
    return [
        msgspec.structs.replace(found, culprit=Culprit(node=node, file=f"/etc/{severity}{number}"))
        for number in range(first, first + count)
    ]


async def test_one_nodes_flood_becomes_some_messages_and_one_sum(box: Outbox) -> None:
    """A thousand in one report; the sum says how many more, and is made once."""
    await box.report(box.agents.traefik, *flood("lxc102", 1_000))
    sent = await box.send()
    assert [delivery.sum is None for delivery in sent] == [True] * MOST + [False]
    total = sent[-1].sum
    assert total is not None
    assert (total.node, total.opened, total.resolved, len(total.worst)) == ("lxc102", 980, 0, 5)
    message = compose_sum(sent[-1], total, "https://c.test", now())
    assert message.title == "980 further incidents of lxc102"
    assert "- and 975 more" in message.body
    assert len(message.body.encode()) < 4_096


async def test_the_others_come_first(box: Outbox) -> None:
    """Whatever waits of the flood, and although theirs is the milder one."""
    await box.report(box.agents.traefik, *flood("lxc102", 100, severity=Severity.FATAL))
    await box.send(3)
    await box.report(box.agents.gateway, *flood("lxc101", 2))
    await box.report(box.agents.authority, *flood("lxc103", 1))
    nodes = [delivery.incident.culprit.node for delivery in await box.send(4)]
    assert set(nodes[:2]) == {"lxc101", "lxc103"}
    assert nodes[2:] == ["lxc101", "lxc102"]


async def test_of_one_node_the_worst_come_first_and_are_not_in_the_sum(box: Outbox) -> None:
    """Although they were made last."""
    await box.report(box.agents.traefik, *flood("lxc102", 50), scope="mild")
    await box.report(box.agents.traefik, *flood("lxc102", 2, severity=Severity.FATAL), scope="grave")
    severities = [delivery.incident.severity for delivery in await box.send() if delivery.sum is None]
    assert severities == [Severity.FATAL] * 2 + [Severity.ERROR] * (MOST - 2)


async def test_further_ones_wait_for_the_next_sum(box: Outbox) -> None:
    """However often they come: one sum each ten minutes; after an hour one by one again."""
    await box.report(box.agents.traefik, *flood("lxc102", MOST + 1), scope="0")
    assert len(await box.send()) == MOST + 1
    for round_ in range(1, 10):
        await box.report(box.agents.traefik, *flood("lxc102", 3, first=100 * round_), scope=f"{round_}")
        box.clock.move(timedelta(seconds=30))
        assert await box.send() == []
    box.clock.move(SUM_EVERY)
    (sum_,) = await box.send()
    assert sum_.sum is not None
    assert (sum_.sum.opened, sum_.sum.resolved) == (27, 0)
    box.clock.move(HOUR)
    await box.report(box.agents.traefik, *flood("lxc102", 1, first=5_000), scope="late")
    (alone,) = await box.send()
    assert alone.sum is None


async def test_the_end_of_a_flood_is_a_sum_too(box: Outbox) -> None:
    """What opened and ended within one sum counts as over."""
    await box.report(box.agents.traefik, *flood("lxc102", 60))
    await box.send(MOST)
    scopes = tuple(f"file:/etc/error{number}" for number in range(60))
    agent = box.agents.traefik
    await take(box.store, agent, agent.report(RunKind.WATCH, scopes=scopes, at=box.clock.now()))
    first = await box.send()
    box.clock.move(SUM_EVERY)
    rest = await box.send()
    sums = [delivery.sum for delivery in (*first, *rest)]
    assert all(total is not None for total in sums)
    assert sum(total.resolved for total in sums if total is not None) >= 60 - MOST
    assert sums[-1] is not None
    assert sums[-1].opened == 0
    message = compose_sum(rest[-1] if rest else first[-1], sums[-1], "https://c.test", now())
    assert message.title.endswith("further incidents of lxc102 resolved")


async def test_a_sum_that_fails_comes_again_as_it_was(box: Outbox) -> None:
    """With the same number; what came meanwhile is in the next one. Given up, all that it stands for is."""
    await box.report(box.agents.traefik, *flood("lxc102", 50))
    await box.send(MOST)
    failed = await box.next()
    assert failed is not None
    assert failed.sum is not None
    later = box.clock.now() + timedelta(seconds=5)
    await box.store.write(record_attempt, failed.number, failure="HTTP 503", retry_at=later)
    await box.report(box.agents.traefik, *flood("lxc102", 5, first=500), scope="more")
    assert await box.next() is None
    box.clock.move(timedelta(seconds=5))
    again = await box.next()
    assert again is not None
    assert (again.number, again.attempts, again.sum) == (failed.number, 1, failed.sum)
    await box.store.write(record_attempt, again.number, failure="HTTP 422", retry_at=None)

    def given_up(connection: object) -> int:
        rows = connection.execute(select(outbox.c.number).where(outbox.c.given_up))  # type: ignore[attr-defined]
        return len(rows.all())

    assert await box.store.read(given_up) == 30
    box.clock.move(SUM_EVERY)
    (following,) = await box.send()
    assert following.sum is not None
    assert following.sum.opened == 5
