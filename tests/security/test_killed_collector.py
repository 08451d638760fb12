"""The collector killed again and again while agents report: what it acknowledged is stored once, and told once."""

import asyncio
import random
import signal
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from certagent.collector.credentials import add_token
from certagent.collector.records import TokenRole
from certagent.domain.findings import Culprit, Finding
from certagent.domain.reports import Report
from tests.collector.cast import Agent, now
from tests.collector.postgresql import Server, running_server
from tests.collector.process import Collector, eventually, running
from tests.evidence import make_finding
from tests.fakes.receivers import Receiver

pytestmark = pytest.mark.slow

KILLS = 30
AGENTS = [f"lxc{number}" for number in range(201, 207)]
REPORTS = 15  # of each agent: fewer incidents than an hour's messages about one node


def _finding(agent: str, number: int) -> Finding:
    culprit = Culprit(node=agent, file=f"/etc/hosts.{number}", line=1, text="10.0.0.1 a.x")
    return make_finding(
        "dns.hosts_shadow.client",
        "A line leads elsewhere.",
        identifier=f"n{number}.{agent}.x",
        reporter=agent,
        culprit=culprit,
    )


async def _hand_in(collector: Collector, agent: str, reports: list[Report]) -> int:
    """Each report again until it is taken; answers how many were."""
    taken = 0
    for report in reports:
        while True:
            try:
                status, answer = await collector.post("/v1/reports", [report], agent)
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.05)
                continue
            if status == 200:
                assert answer["accepted"] + answer["duplicates"] == 1
                taken += 1
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
    return taken


async def _kill_all_the_time(collector: Collector, receiver: Receiver) -> None:
    """Each time once a message has left that is new since the last kill, or none leaves any more: whatever was on its
    way at the last kill is recorded by then."""
    chance = random.Random(28)  # noqa: S311 - the same moments each time
    for _ in range(KILLS):
        known, quiet_since, taken = _deliveries(receiver), time.monotonic(), len(receiver.taken)
        while _deliveries(receiver) == known and time.monotonic() < quiet_since + 1:
            await asyncio.sleep(0.01)
            if len(receiver.taken) != taken:
                quiet_since, taken = time.monotonic(), len(receiver.taken)
        await asyncio.sleep(chance.uniform(0.0, 0.4))
        assert await collector.stop(signal.SIGKILL) == -signal.SIGKILL
        await collector.start()
        await eventually(collector.is_up)


def _deliveries(receiver: Receiver) -> set[str]:
    return {headers["X-Certagent-Delivery"] for headers, _ in receiver.taken}


async def _survives(folder: Path, store: str | None) -> None:
    async with (
        Receiver().listening() as receiver,
        running(folder, receiver.url, store=store, is_warm=True) as collector,
    ):
        for agent in AGENTS:
            collector.tokens[agent] = add_token(collector.store, agent, TokenRole.AGENT, now())
        cast = {name: Agent(name) for name in AGENTS}
        reports = {
            name: [agent.watch(_finding(name, number), scope=f"file:/etc/hosts.{number}") for number in range(REPORTS)]
            for name, agent in cast.items()
        }
        async with asyncio.TaskGroup() as tasks:
            handing = [tasks.create_task(_hand_in(collector, name, reports[name])) for name in AGENTS]
            await _kill_all_the_time(collector, receiver)
        assert [task.result() for task in handing] == [REPORTS] * len(AGENTS)
        stored = Counter()  # type: Counter[str]
        for name in AGENTS:
            _, page = await collector.get("/v1/reports", params={"agent": name, "limit": "1000"})
            stored.update(item["id"] for item in page["items"])
        assert stored == Counter(report.id for name in AGENTS for report in reports[name])

        async def all_told() -> bool:
            return len({headers["X-Certagent-Incident"] for headers, _ in receiver.taken}) == REPORTS * len(AGENTS)

        await eventually(all_told, within=60)
        await asyncio.sleep(2)
    sent = Counter(headers["X-Certagent-Delivery"] for headers, _ in receiver.taken)
    assert len(sent) == REPORTS * len(AGENTS)
    again = sum(sent.values()) - len(sent)
    assert again <= KILLS, "killed between its arrival and its record a message comes again: one for each kill at most"
    assert max(sent.values()) <= 2, "and a message comes twice at most"


async def test_thirty_kills_lose_and_repeat_nothing(tmp_path: Path) -> None:
    """On SQLite."""
    await _survives(tmp_path, None)


@pytest.mark.servers
async def test_thirty_kills_lose_and_repeat_nothing_on_postgresql(tmp_path: Path) -> None:
    """On PostgreSQL."""
    with running_server() as server:
        await _survives(tmp_path, server.new_database())


@pytest.mark.servers
async def test_postgresql_stopped_under_load_loses_nothing(tmp_path: Path) -> None:
    """Killed and started again three times while agents report; the collector answers meanwhile, and goes on by itself
    afterwards."""
    with running_server() as server:
        async with running(tmp_path, store=server.new_database(), is_warm=True) as collector:
            for agent in AGENTS:
                collector.tokens[agent] = add_token(collector.store, agent, TokenRole.AGENT, now())
            reports = {name: [Agent(name, number).watch() for number in range(12)] for name in AGENTS}
            async with asyncio.TaskGroup() as tasks:
                handing = [tasks.create_task(_hand_in(collector, name, reports[name])) for name in AGENTS]
                for _ in range(3):
                    await asyncio.sleep(0.5)
                    await asyncio.to_thread(_interrupt, server)
                    assert await collector.is_up()
            assert [task.result() for task in handing] == [12] * len(AGENTS)
            _, page = await collector.get("/v1/reports", params={"limit": "1000"})
            ids = Counter((item["agent"], item["id"]) for item in page["items"])
            assert ids == Counter((name, report.id) for name in AGENTS for report in reports[name])
            async with collector.session(None) as session, session.get("/readyz") as response:
                assert response.status == 200
        assert "Traceback" not in collector.log()


def _interrupt(server: Server) -> None:
    server.stop(signal.SIGQUIT)  # as a crash: it recovers from its log
    server.start()
