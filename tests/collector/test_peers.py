"""Two collectors on one PostgreSQL: any of them takes any agent and any rehearsal; one that stops is left in time."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from certagent.collector.agent_link import AgentLinks
from certagent.collector.dispatch import ChangeDispatcher, EventStream
from certagent.collector.peers import Peers
from certagent.collector.rounds import RoundDuty
from certagent.collector.sql.database import REVISION
from certagent.collector.sql.ready_connection import ReadyConnection
from certagent.collector.store import open_store
from certagent.domain.link_messages import Cancel, JudgeAgain, Rehearse, Rehearsed, encode
from certagent.domain.policy import Alerting
from certagent.domain.rehearsals import RehearsalOutcome
from certagent.system.clock import SystemClock
from tests.collector.postgresql import Server
from tests.collector.postgresql_relay import PostgresqlRelay
from tests.collector.process import PATIENCE, Collector, eventually, running
from tests.collector.test_agent_link import REQUEST, connected, is_connected, next_ask
from tests.evidence import TRAEFIK, rehearse_traefik, shadow

CUT_LISTEN = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE query = 'LISTEN certagent' AND datname = current_database()"
)
pytestmark = [pytest.mark.slow, pytest.mark.servers]


@pytest.fixture
def url(postgresql: Server) -> str:
    """An empty database."""
    return postgresql.new_database()


@asynccontextmanager
async def two(folder: Path, url: str, second: str | None = None) -> AsyncIterator[tuple[Collector, Collector]]:
    """On that database; the second one reaches it at `second`."""
    for name in ("one", "other"):
        (folder / name).mkdir()
    async with (
        running(folder / "one", store=url, is_warm=True) as one,
        running(folder / "other", store=second or url, is_warm=True) as other,
    ):
        await one.introduce()
        yield one, other


@asynccontextmanager
async def authority_elsewhere(one: Collector, other: Collector) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Connected to the first one, as the second one knows."""
    async with connected(one, "lxc103") as authority:
        await eventually(lambda: is_connected(other, "lxc103"))
        yield authority


async def rehearse(collector: Collector) -> Any:
    """By the client."""
    status, document = await collector.post("/v1/rehearsals", REQUEST, "lxc102")
    assert status == 200, document
    return document


async def say_passed(authority: aiohttp.ClientWebSocketResponse, ask: Any) -> None:
    """The answer of the agent beside the CA."""
    rehearsal = rehearse_traefik(RehearsalOutcome.PASSED)
    await authority.send_str(encode(Rehearsed(id=ask.id, rehearsal=rehearsal)).decode())


async def status_of(collector: Collector) -> int:
    """What a balancer sees."""
    async with collector.session(None) as session, session.get("/readyz") as response:
        return response.status


async def becomes(collector: Collector, status: int, *, within: float = PATIENCE) -> None:
    """Once it is that."""

    async def has_become() -> bool:
        return await status_of(collector) == status

    await eventually(has_become, within=within)


async def next_incident(events: aiohttp.ClientResponse) -> str:
    """The next one among the events."""
    async with asyncio.timeout(PATIENCE):
        while await events.content.readline() != b"event: incident\n":
            pass
        return (await events.content.readline()).decode()


async def test_the_authority_is_connected_to_one_and_the_client_asks_the_other(tmp_path: Path, url: str) -> None:
    """Token and digest reach the agent over the link that it opened, with the caller's name; it is soon done."""
    async with two(tmp_path, url) as (one, other), authority_elsewhere(one, other) as authority:
        for _ in range(3):
            async with asyncio.TaskGroup() as group:
                asked = group.create_task(rehearse(other))
                ask = await next_ask(authority)
                assert isinstance(ask, Rehearse)
                assert (ask.caller, ask.request) == ("lxc102", REQUEST)
                await say_passed(authority, ask)
            document = asked.result()
            assert (document["outcome"], document["node"], document["identifier"]) == ("passed", "lxc103", TRAEFIK)
        _, known = await one.get(f"/v1/paths/{TRAEFIK}")
        assert known["identifier"] == TRAEFIK


async def test_a_client_that_does_not_wait_ends_the_question_elsewhere_too(tmp_path: Path, url: str) -> None:
    """The agent is told."""
    async with two(tmp_path, url) as (one, other), authority_elsewhere(one, other) as authority:
        _, document = await other.post("/v1/rehearsals?timeout=1", REQUEST, "lxc102")
        assert (document["outcome"], "did not answer" in document["reason"]) == ("unavailable", True)
        ask = await next_ask(authority)
        cancel = await next_ask(authority)
        assert isinstance(cancel, Cancel)
        assert cancel.question == ask.id


async def test_a_collector_killed_between_question_and_answer_is_no_end_of_the_rehearsal(
    tmp_path: Path, url: str
) -> None:
    """The agent beside the CA connects to the other one, which asks it again."""
    async with two(tmp_path, url) as (one, other), authority_elsewhere(one, other) as authority:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(rehearse(other))
            await next_ask(authority)
            await one.stop(signal.SIGKILL)
            async with connected(other, "lxc103") as again:
                await say_passed(again, await next_ask(again))
        assert asked.result()["outcome"] == "passed"


async def test_a_victim_is_told_wherever_it_is_connected(tmp_path: Path, url: str) -> None:
    """The authority's finding is posted to one, and later that it is over; the victim is connected to the other one,
    and reads both there as events."""
    async with (
        two(tmp_path, url) as (one, other),
        connected(other, "lxc102") as victim,
        other.session("ops") as session,
        session.get("/v1/events") as events,
    ):
        for findings, state in (((shadow(),), "open"), ((), "resolved")):
            await one.report(one.cast.authority.watch(*findings))
            ask = await next_ask(victim)
            assert isinstance(ask, JudgeAgain)
            assert ask.identifiers == (TRAEFIK,)
            assert f'"state":"{state}"' in await next_incident(events)


async def test_after_a_lost_listen_everything_is_looked_at_again(tmp_path: Path, url: str) -> None:
    """Whatever another collector said meanwhile: the victim is asked once more, and a page reads everything again."""
    async with two(tmp_path, url) as (one, other), connected(other, "lxc102") as victim:
        await one.report(one.cast.authority.watch(shadow()))
        await next_ask(victim)
        async with other.session("ops") as session, session.get("/v1/events") as events:
            with psycopg.connect(url, autocommit=True) as administrator:
                administrator.execute(CUT_LISTEN)
            ask = await next_ask(victim)
            assert isinstance(ask, JudgeAgain)
            assert ask.identifiers == (TRAEFIK,)
            async with asyncio.timeout(PATIENCE):
                await events.content.read()


async def test_which_collectors_were_asked_is_said(tmp_path: Path, url: str) -> None:
    """When no agent beside the CA is connected to any of them."""
    async with two(tmp_path, url) as (one, other):
        expected = f"no agent beside the CA is connected to this collector or to {socket.gethostname()}"

        async def says_so() -> bool:
            return bool((await rehearse(one))["reason"] == expected)

        assert await eventually(says_so)
        assert await other.is_up()


async def test_who_was_connected_to_a_killed_collector_is_not_for_long(tmp_path: Path, url: str) -> None:
    """Within 25 s the other one says so."""
    async with two(tmp_path, url) as (one, other), authority_elsewhere(one, other):
        await one.stop(signal.SIGKILL)

        async def is_gone() -> bool:
            return not await is_connected(other, "lxc103")

        await eventually(is_gone, within=25)


async def test_a_lost_listen_loses_nothing(tmp_path: Path, url: str) -> None:
    """The question waits in the database, and is looked for."""
    async with two(tmp_path, url) as (one, other), authority_elsewhere(one, other) as authority:
        with psycopg.connect(url, autocommit=True) as administrator:
            assert len(administrator.execute(CUT_LISTEN).fetchall()) == 2
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(rehearse(other))
            await say_passed(authority, await next_ask(authority))
        assert asked.result()["outcome"] == "passed"
        assert await status_of(one) == await status_of(other) == 200


async def test_it_is_not_ready_while_it_is_cut_off_from_the_database(
    tmp_path: Path, url: str, postgresql: Server
) -> None:
    """Although nobody reports anything; the other one is, and both are once it is over."""
    with PostgresqlRelay(postgresql, tmp_path / "relay").listening() as relay:
        async with two(tmp_path, url, relay.url_of(url)) as (one, other):
            await becomes(other, 200)
            relay.cut()
            await becomes(other, 503, within=20)
            assert await status_of(one) == 200
            relay.mend()
            await becomes(other, 200)


async def test_it_knows_for_how_long_it_has_heard_nothing(tmp_path: Path, url: str, postgresql: Server) -> None:
    """LISTEN alone is lost: after ten seconds it is not ready."""
    with PostgresqlRelay(postgresql, tmp_path / "relay").listening() as relay:
        async with (
            ReadyConnection(relay.url_of(url)) as line,
            open_store(url, Alerting(), SystemClock()) as store,
            asyncio.TaskGroup() as tasks,
        ):
            links = AgentLinks()
            dispatcher = ChangeDispatcher(store, links, EventStream(), ())
            duty = RoundDuty(store, "one", "", SystemClock())
            peers = Peers(relay.url_of(url), store, links, dispatcher, duty, SystemClock(), line)
            assert peers.deaf_for() > 0
            running_peers = tasks.create_task(peers.run())
            await eventually(lambda: is_deaf(peers, False))
            relay.refuse()
            with psycopg.connect(url, autocommit=True) as administrator:
                administrator.execute(CUT_LISTEN)
            await eventually(lambda: is_deaf(peers, True))
            relay.mend()
            await eventually(lambda: is_deaf(peers, False))
            running_peers.cancel()


async def test_it_knows_for_how_long_a_look_has_not_been_answered(tmp_path: Path, url: str, postgresql: Server) -> None:
    """Everything is lost and nothing ended: LISTEN just hears nothing more; who waits for a read writes nothing."""
    with PostgresqlRelay(postgresql, tmp_path / "relay").listening() as relay:
        async with (
            ReadyConnection(relay.url_of(url)) as line,
            open_store(relay.url_of(url), Alerting(), SystemClock()) as store,
            asyncio.TaskGroup() as tasks,
        ):
            links = AgentLinks()
            dispatcher = ChangeDispatcher(store, links, EventStream(), ())
            duty = RoundDuty(store, "one", "", SystemClock())
            peers = Peers(relay.url_of(url), store, links, dispatcher, duty, SystemClock(), line)
            running_peers = tasks.create_task(peers.run())
            await eventually(lambda: is_deaf(peers, False))
            with relay.losing_everything():
                await eventually(lambda: is_deaf(peers, True, seconds=2.0))
            await eventually(lambda: is_deaf(peers, False))
            running_peers.cancel()


async def is_deaf(peers: Peers, wanted: bool, seconds: float = 0.0) -> bool:
    """Whether it is as it is wanted to be, for so long."""
    return (peers.deaf_for() > seconds) is wanted


async def test_it_is_not_ready_on_the_schema_of_an_older_version(tmp_path: Path, url: str) -> None:
    """As after somebody put a backup back beneath it."""
    async with two(tmp_path, url) as (one, _):
        await becomes(one, 200)
        with psycopg.connect(url, autocommit=True) as administrator:
            administrator.execute("UPDATE alembic_version SET version_num = '0008'")
            await becomes(one, 503)
            administrator.execute("UPDATE alembic_version SET version_num = %s", [REVISION])
        await becomes(one, 200)


async def test_it_drains_before_it_stops_and_then_closes_its_links_one_by_one(tmp_path: Path, url: str) -> None:
    """404 for the balancer while its agents stay; then they go, not all at once; the other one knows at once."""
    async with (
        two(tmp_path, url) as (one, other),
        connected(one, "lxc101") as first,
        connected(one, "lxc102") as second,
    ):
        await eventually(lambda: is_connected(other, "lxc102"))
        assert one.process is not None
        one.process.send_signal(signal.SIGTERM)
        await becomes(one, 404)
        assert not first.closed
        assert await one.report(one.cast.gateway.watch()) == {"accepted": 1, "duplicates": 0}
        closed_at: list[float] = []
        for socket_ in (first, second):
            assert (await socket_.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE
            closed_at.append(time.monotonic())
        assert closed_at[1] - closed_at[0] > 1
        assert await one.stop() == 0

        async def is_gone() -> bool:
            return not await is_connected(other, "lxc101") and not await is_connected(other, "lxc102")

        await eventually(is_gone, within=3)


async def test_the_only_collector_stops_at_once(tmp_path: Path, url: str) -> None:
    """There is nobody who could take over."""
    async with running(tmp_path, store=url, is_warm=True) as collector:
        await becomes(collector, 200)
        began = time.monotonic()
        assert await collector.stop() == 0
        assert time.monotonic() - began < 4
