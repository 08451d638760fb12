"""A message is claimed, sent and settled: by one collector at a time, and by another when that one is gone."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from certagent.collector.dispatch import CLAIMED_FOR
from certagent.collector.records import Delivery
from certagent.collector.sql.deliveries import claim_delivery, next_delivery, record_attempt, sum_up
from certagent.collector.store import open_store
from certagent.domain.incidents import TransitionKind
from certagent.domain.policy import Alerting
from tests.collector.cast import now
from tests.collector.postgresql import Server
from tests.collector.postgresql_relay import PostgresqlRelay
from tests.collector.process import Collector, eventually, running
from tests.collector.test_message_sums import MOST, Outbox, flood
from tests.evidence import shadow
from tests.fakes.clock import FakeClock
from tests.fakes.receivers import Receiver


@pytest.fixture
async def box(url: str) -> AsyncIterator[Outbox]:
    """Empty."""
    clock = FakeClock(now())
    async with open_store(url, Alerting(channels=("hook",)), clock) as store:
        yield Outbox(store, clock)


async def claim(box: Outbox) -> Delivery:
    """What leaves next, claimed."""
    delivery = await box.store.write(claim_delivery, "hook", CLAIMED_FOR)
    assert delivery is not None
    assert delivery.claim is not None
    return delivery


async def settle(box: Outbox, delivery: Delivery, failure: str | None = None) -> bool:
    """Sent, or to be tried again at once."""
    retry_at = box.clock.now() if failure else None
    return await box.store.write(
        record_attempt, delivery.number, failure=failure, retry_at=retry_at, claim=delivery.claim
    )


async def test_what_is_claimed_is_nobody_elses_until_its_time_has_passed(box: Outbox) -> None:
    """Then it is the next one's, under the same number."""
    await box.report(box.agents.traefik, *flood("lxc102", 1))
    first = await claim(box)
    assert await box.next() is None
    assert await box.store.write(claim_delivery, "hook", CLAIMED_FOR) is None
    box.clock.move(CLAIMED_FOR - timedelta(seconds=1))
    assert await box.next() is None
    box.clock.move(timedelta(seconds=1))
    second = await claim(box)
    assert (second.number, second.attempts) == (first.number, first.attempts)
    assert second.claim != first.claim


@pytest.mark.parametrize("late", [None, "HTTP 503"])
async def test_who_lost_its_claim_settles_nothing(box: Outbox, late: str | None) -> None:
    """Neither while another sends the message, nor after that one has recorded it sent."""
    await box.report(box.agents.traefik, *flood("lxc102", 1))
    frozen = await claim(box)
    box.clock.move(CLAIMED_FOR)
    other = await claim(box)
    assert not await settle(box, frozen, late)
    assert await box.store.write(claim_delivery, "hook", CLAIMED_FOR) is None
    assert await settle(box, other)
    assert not await settle(box, frozen, late)
    assert not await box.store.write(record_attempt, frozen.number, failure=None, retry_at=None)
    box.clock.move(2 * CLAIMED_FOR)
    assert await box.next() is None


async def test_a_late_answer_counts_as_long_as_nobody_has_taken_over(box: Outbox) -> None:
    """The claim has ended, and is still the last one."""
    await box.report(box.agents.traefik, *flood("lxc102", 1))
    delivery = await claim(box)
    box.clock.move(2 * CLAIMED_FOR)
    assert await settle(box, delivery)
    assert await box.next() is None


async def test_what_fails_is_anybodys_again(box: Outbox) -> None:
    """With one attempt more."""
    await box.report(box.agents.traefik, *flood("lxc102", 1))
    assert await settle(box, await claim(box), "HTTP 503")
    assert (await claim(box)).attempts == 1


async def test_the_end_waits_for_the_opening_that_is_on_its_way(box: Outbox) -> None:
    """Also for one whose sender is gone. Other incidents do not wait."""
    await box.report(box.agents.authority, shadow(), scope="one")
    opening = await claim(box)
    await box.report(box.agents.authority, scope="one")
    assert await box.next() is None
    await box.report(box.agents.gateway, *flood("lxc101", 1))
    other = await claim(box)
    assert other.incident.id != opening.incident.id
    box.clock.move(CLAIMED_FOR)
    assert (await claim(box)).number == opening.number
    assert await box.store.read(next_delivery, "hook", box.clock.now()) != opening


async def test_what_is_on_its_way_alone_is_in_no_sum(box: Outbox) -> None:
    """Its sender may be frozen: what it sent, if it did, must not be said again under another number."""
    await box.report(box.agents.traefik, *flood("lxc102", 1))
    frozen = await claim(box)
    box.clock.move(CLAIMED_FOR)
    await box.report(box.agents.traefik, *flood("lxc102", MOST + 5, first=100), scope="more")
    await box.store.write(sum_up, "hook", MOST)
    sent: list[Delivery] = []
    while (delivery := await box.store.write(claim_delivery, "hook", CLAIMED_FOR)) is not None:
        assert await settle(box, delivery)
        sent.append(delivery)
    alone = [delivery.number for delivery in sent if delivery.sum is None]
    assert len(alone) == MOST
    assert frozen.number in alone
    assert [delivery.sum.opened for delivery in sent if delivery.sum is not None] == [6]


async def test_a_sum_is_claimed_with_all_that_it_sums_up(box: Outbox) -> None:
    """What comes meanwhile is in the next one; who takes it over says the same; who lost it changes no part of it."""
    await box.report(box.agents.traefik, *flood("lxc102", MOST + 10))
    await box.send(MOST)
    await box.store.write(sum_up, "hook", MOST)
    frozen = await claim(box)
    assert frozen.sum is not None
    await box.report(box.agents.traefik, *flood("lxc102", 3, first=500), scope="more")
    await box.store.write(sum_up, "hook", MOST)
    assert await box.store.write(claim_delivery, "hook", CLAIMED_FOR) is None
    box.clock.move(CLAIMED_FOR)
    other = await claim(box)
    assert (other.number, other.sum) == (frozen.number, frozen.sum)
    assert not await settle(box, frozen, "HTTP 503")
    assert await settle(box, other)
    assert not await settle(box, frozen)
    box.clock.move(timedelta(hours=1))
    (rest,) = await box.send()
    assert rest.sum is not None
    assert rest.sum.opened == 3


async def test_the_only_collector_of_a_database_leaves_no_claim_to_its_next_start(tmp_path: Path) -> None:
    """SQLite: nobody else can be sending."""
    url, clock = f"sqlite:///{tmp_path}/c.db", FakeClock(now())
    async with open_store(url, Alerting(channels=("hook",)), clock) as store:
        box = Outbox(store, clock)
        await box.report(box.agents.traefik, *flood("lxc102", 1))
        killed = await claim(box)
    async with open_store(url, Alerting(channels=("hook",)), clock) as store:
        again = await claim(Outbox(store, clock))
    assert (again.number, again.kind) == (killed.number, TransitionKind.OPENED)


# --- real processes ---------------------------------------------------------------------------------------------------


@dataclass
class Recorder(Receiver):
    """Keeps the delivery of every request, whether it is answered or not."""

    deliveries: list[str] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        """One message."""
        self.deliveries.append(request.headers["X-Certagent-Delivery"])
        return await super().receive(request)

    async def is_asked(self, count: int, *, within: float = 15.0) -> None:
        """So often, at last."""

        async def enough() -> bool:
            return len(self.deliveries) >= count

        await eventually(enough, within=within)


@asynccontextmanager
async def sending(
    folder: Path, url: str, receiver: Recorder, first: str | None = None
) -> AsyncIterator[list[Collector]]:
    """Two collectors on one database; the first of them, which reaches it at `first`, is in the POST of a message that
    the receiver does not answer."""
    for name in ("one", "other"):
        (folder / name).mkdir()
    receiver.answers.append(None)
    async with receiver.listening(), running(folder / "one", receiver.url, store=first or url, is_warm=True) as one:
        await one.introduce()
        await one.report(one.cast.authority.watch(shadow()))
        await receiver.is_asked(1)
        async with running(folder / "other", receiver.url, store=url, is_warm=True) as other:
            yield [one, other]


@pytest.mark.slow
@pytest.mark.servers
async def test_the_message_of_a_killed_sender_leaves_within_30_s(tmp_path: Path, postgresql: Server) -> None:
    """From another collector, once, with the same number."""
    receiver = Recorder()
    async with sending(tmp_path, postgresql.new_database(), receiver) as (one, _):
        await one.stop(signal.SIGKILL)
        await receiver.has(1, within=30)
        await asyncio.sleep(3)
    assert len(receiver.taken) == 1
    assert receiver.deliveries == receiver.deliveries[:1] * 2


@pytest.mark.slow
@pytest.mark.servers
async def test_the_message_of_a_frozen_sender_leaves_within_30_s_and_at_most_once_more_when_it_wakes(
    tmp_path: Path, postgresql: Server
) -> None:
    """All of them with the same number; and what comes later leaves once."""
    receiver = Recorder()
    async with sending(tmp_path, postgresql.new_database(), receiver) as (one, other):
        assert one.process is not None
        one.process.send_signal(signal.SIGSTOP)
        try:
            await receiver.has(1, within=30)
            await asyncio.sleep(15)
        finally:
            one.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(5)
        assert len(receiver.taken) <= 2
        assert set(receiver.deliveries) == set(receiver.deliveries[:1])
        before = len(receiver.deliveries)
        await other.report(one.cast.authority.watch())
        await receiver.is_asked(before + 1)
        await asyncio.sleep(3)
        assert await one.is_up()
    later = receiver.deliveries[before:]
    assert len(later) == 1
    assert later != receiver.deliveries[:1]


@pytest.mark.slow
@pytest.mark.servers
async def test_the_message_of_a_sender_that_lost_the_database_leaves_within_30_s(
    tmp_path: Path, postgresql: Server
) -> None:
    """Nothing passes any more, and no connection is closed; when it passes again, nothing is sent again."""
    url = postgresql.new_database()
    receiver = Recorder()
    with PostgresqlRelay(postgresql, tmp_path / "relay").listening() as relay:
        async with sending(tmp_path, url, receiver, relay.url_of(url)) as (one, _):
            relay.cut()
            await receiver.has(1, within=30)
            relay.mend()
            await asyncio.sleep(5)
            assert await one.is_up()
    assert len(receiver.taken) <= 2
    assert set(receiver.deliveries) == set(receiver.deliveries[:1])
