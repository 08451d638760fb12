"""One round: one of several collectors does it, by the policy in force; two policies never take turns."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from certagent.collector.records import Peer, TurnLost
from certagent.collector.rounds import RoundDuty
from certagent.collector.sql.deliveries import LATE_AFTER, is_any_late, record_attempt
from certagent.collector.sql.peer_queries import forget_collector, note_presence
from certagent.collector.sql.round_queries import find_policy, within_turn
from certagent.collector.sql.upkeep import remind
from certagent.collector.store import Store, open_store
from certagent.domain.policy import Alerting
from certagent.system.clock import SystemClock
from tests.collector.cast import Cast, now
from tests.collector.postgresql import Server
from tests.collector.process import Collector, eventually, running
from tests.collector.test_store import take
from tests.evidence import shadow
from tests.fakes.clock import FakeClock
from tests.tiers import Tiers

SEVERE = '[severity]\n"agent.silent" = "fatal"\n[collector]\nlook_every = "1s"\nsilent_after = "8s"\n'
MILD = '[severity]\n"agent.silent" = "info"\n[collector]\nlook_every = "1s"\nsilent_after = "8s"\n'
HOLDER = "SELECT collectors.name FROM leases JOIN collectors ON collectors.id = holder WHERE leases.name = 'round'"


@asynccontextmanager
async def living(store: Store, name: str, digest: str) -> AsyncIterator[RoundDuty]:
    """A collector of that name and policy, which is heard of within the block."""
    clock = SystemClock()
    peer = Peer(id=store.identity, name=name, version="1", started_at=now(), policy=digest)
    await store.write(note_presence, peer)
    yield RoundDuty(store, name, digest, clock)
    await store.write(forget_collector, store.identity)


@pytest.fixture
async def stores(postgresql: Server) -> AsyncIterator[tuple[Store, Store]]:
    """Two collectors' stores on one database."""
    url = postgresql.new_database()
    async with open_store(url, Alerting(), SystemClock()) as one, open_store(url, Alerting(), SystemClock()) as other:
        yield one, other


def shown(duty: RoundDuty) -> float:
    """The metric's value."""
    (metric,) = duty.metric.collect()
    return float(metric.samples[0].value)


async def in_force(store: Store) -> str:
    """Its digest."""
    found = await store.read(find_policy, now())
    assert found is not None
    return found.digest


@pytest.mark.servers
async def test_one_of_them_does_the_round_and_the_other_takes_over(stores: tuple[Store, Store]) -> None:
    """The same policy: whoever comes first, until it gives up."""
    async with living(stores[0], "one", "same") as one, living(stores[1], "other", "same") as other:
        assert await one.take()
        assert not await other.take()
        assert (one.complaint, other.complaint) == (None, None)
        await one.give_up()
        assert await other.take()
        assert not await one.take()


@pytest.mark.servers
async def test_a_new_collector_with_another_policy_does_no_rounds_and_says_so(
    stores: tuple[Store, Store], caplog: pytest.LogCaptureFixture
) -> None:
    """Once, however often it asks; when no collector has the policy in force any more, its own is."""
    async with living(stores[1], "other", "new") as other:
        async with living(stores[0], "one", "old") as one:
            assert await one.take()
            assert [await other.take() for _ in range(3)] == [False] * 3
            assert other.complaint is not None
            assert "its policy (new) is not the one in force (old, of one, since " in other.complaint
            assert caplog.text.count("does no rounds") == 1
            assert shown(other) == 0
        await one.give_up()
        assert await other.take()
        assert await in_force(stores[0]) == "new"
        assert shown(other) == 1


@pytest.mark.servers
async def test_a_changed_policy_file_is_in_force_at_once_and_an_unchanged_one_does_not_come_back(
    stores: tuple[Store, Store],
) -> None:
    """A rolling change: the first collector is restarted with the new file, the second one with the old one crashes in
    between and starts again, and then has the new one, too."""
    async with living(stores[0], "one", "old") as one, living(stores[1], "other", "old") as other:
        assert await one.take()
        assert not await other.take()
    async with living(stores[0], "one", "new") as changed, living(stores[1], "other", "old") as crashed:
        assert not await crashed.take()
        assert crashed.complaint is None
        await one.give_up()
        assert await changed.take()
        assert not await crashed.take()
        assert crashed.complaint is not None
        again = RoundDuty(stores[1], "other", "old", SystemClock())
        assert not await again.take()
        assert await in_force(stores[1]) == "new"
        assert await changed.take()
    async with living(stores[1], "other", "new") as last:
        assert not await last.take()
        assert last.complaint is None


@pytest.mark.servers
async def test_what_another_ones_round_writes_counts_no_more(stores: tuple[Store, Store]) -> None:
    """One that was frozen within its round, and one whose policy another has replaced meanwhile."""
    async with living(stores[0], "one", "same") as one, living(stores[1], "other", "same") as other:
        assert await one.take()
        assert not await other.take()
        assert await stores[0].write(within_turn, one.turn, remind) == 0
        with pytest.raises(TurnLost, match="another collector does the round"):
            await stores[1].write(within_turn, other.turn, remind)
        await RoundDuty(stores[1], "other", "changed", SystemClock()).take()
        with pytest.raises(TurnLost, match="another policy is in force"):
            await stores[0].write(within_turn, one.turn, remind)


async def test_a_single_collector_always_does_the_round_by_its_own_policy(url: str) -> None:
    """Also after its file, or its name, has changed."""
    for name, digest in (("one", "first"), ("one", "second"), ("renamed", "third"), ("one", "second")):
        async with open_store(url, Alerting(), SystemClock()) as store:
            duty = RoundDuty(store, name, digest, SystemClock())
            assert await duty.take()
            assert duty.complaint is None


async def test_a_message_is_late_when_nobody_sends_it_or_no_channel_takes_anything(url: str) -> None:
    """Two minutes after it was due; a channel that is not configured any more says nothing."""
    clock = FakeClock(now())
    async with open_store(url, Alerting(channels=("hook", "mail")), clock) as store:

        async def is_late(*channels: str) -> bool:
            return await store.read(is_any_late, channels, clock.now())

        cast = Cast()
        await take(store, cast.authority, cast.authority.watch(shadow(), at=clock.now()))
        clock.move(LATE_AFTER - timedelta(seconds=1))
        assert not await is_late("hook", "mail")
        clock.move(timedelta(seconds=2))
        assert await is_late("hook")
        assert not await is_late("another")
        for number, failure in ((1, None), (2, "503")):
            retry_at = clock.now() + timedelta(minutes=5) if failure else None
            await store.write(record_attempt, number, failure=failure, retry_at=retry_at)
        assert await is_late("mail")
        assert not await is_late("hook", "mail")


async def name_of_holder(url: str) -> str | None:
    """Which collector does the round."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute(HOLDER)).fetchone()
        return str(row[0]) if row is not None else None


@asynccontextmanager
async def one_with_policy(folder: Path, name: str, text: str, url: str) -> AsyncIterator[Collector]:
    """A real collector of that name and policy."""
    folder.mkdir()
    (folder / "policy.toml").write_text(text)
    async with running(folder, store=url, top=f'policy = "{folder}/policy.toml"\n', is_warm=True, name=name) as one:
        yield one


async def readiness(collector: Collector) -> str:
    """What it says when it is ready."""
    async with collector.session(None) as session, session.get("/readyz") as response:
        assert response.status == 200
        return await response.text()


@pytest.mark.slow
@pytest.mark.servers
async def test_two_policies_side_by_side_make_no_transition(tmp_path: Path, postgresql: Server, tiers: Tiers) -> None:
    """One would page for silent agents and the other would not: what the one in force says stands, and the other one is
    ready, says that it does no rounds, and hears its agents all the same."""
    url = postgresql.new_database()
    async with (
        one_with_policy(tmp_path / "a", "first", SEVERE, url) as one,
        one_with_policy(tmp_path / "b", "second", MILD, url) as other,
    ):
        await one.introduce()

        async def is_silent() -> bool:
            return [incident["state"] for incident in await other.incidents()] == ["open"]

        await eventually(is_silent, within=30)
        (incident,) = await other.incidents()
        await asyncio.sleep(tiers.amount("tests/collector/test_rounds.py"))
        assert await name_of_holder(url) == "first"
        _, detail = await one.get(f"/v1/incidents/{incident['id']}")
        assert [transition["kind"] for transition in detail["transitions"]] == ["opened"]
        assert await readiness(one) == "ok\n"
        assert (await readiness(other)).startswith("ok\nthis collector does no rounds: its policy (")
        async with other.session("ops") as session, session.get("/metrics") as response:
            assert "certagent_policy_in_force 0.0" in await response.text()
        assert other.log().count("does no rounds") == 1
        await other.report(other.cast.traefik.preflight())


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_round_of_one_that_is_gone_is_anothers_within_30_s(
    tmp_path: Path, postgresql: Server, number: signal.Signals
) -> None:
    """Killed or frozen; one that wakes again finds the round taken."""
    url = postgresql.new_database()
    async with (
        one_with_policy(tmp_path / "a", "first", SEVERE, url) as one,
        one_with_policy(tmp_path / "b", "second", SEVERE, url),
    ):
        await eventually(lambda: is_holder(url, "first"))
        assert one.process is not None
        one.process.send_signal(number)
        await eventually(lambda: is_holder(url, "second"), within=30)
        if number is signal.SIGSTOP:
            one.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(3)
        assert await name_of_holder(url) == "second"


async def is_holder(url: str, name: str) -> bool:
    """Whether the round is that one's."""
    return await name_of_holder(url) == name
