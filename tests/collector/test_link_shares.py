"""Connections are shared among collectors: by what rule, and in a rolling restart of two behind a real HAProxy."""

import asyncio
import http.client
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path

import aiohttp
import pytest

from certagent.collector.link_shares import surplus_of
from tests.collector.postgresql import Server
from tests.collector.process import Collector, eventually, running
from tests.collector.test_five_thousand import admit
from tests.collector.test_haproxy import Fleet, fleet
from tests.tiers import Tiers

__all__ = ["fleet"]

_PAUSE_SECONDS = 0.25  # an agent's, before it connects again


class Member:
    """An agent that keeps its connection open as a real one does. `longest`: seconds without; `opened`: how often."""

    def __init__(self, name: str, collector: Collector) -> None:
        self.name = name
        self.longest = 0.0
        self.opened = 0
        self._collector = collector

    async def stay(self, session: aiohttp.ClientSession) -> None:
        """Until cancelled."""
        headers = {"Authorization": f"Bearer {self._collector.tokens[self.name]}"}
        lost_at = time.monotonic()
        while True:
            with suppress(aiohttp.ClientError, ConnectionError):
                async with session.ws_connect("/v1/channel", headers=headers) as link:
                    self.longest = max(self.longest, time.monotonic() - lost_at if self.opened else 0.0)
                    self.opened += 1
                    async for _ in link:
                        pass
                    lost_at = time.monotonic()
            await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def members_of(collector: Collector, count: int) -> AsyncIterator[list[Member]]:
    """So many agents, all connected once before the block begins."""
    collector.tokens |= await asyncio.to_thread(admit, collector, count)
    members = [Member(f"n{number}", collector) for number in range(count)]
    connector = aiohttp.TCPConnector(ssl=collector.trust(), limit=0)
    async with aiohttp.ClientSession(f"https://127.0.0.1:{collector.port}", connector=connector) as session:
        tasks = [asyncio.create_task(member.stay(session), name=member.name) for member in members]
        try:
            await eventually(lambda: have_connected(members), within=60)
            yield members
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def have_connected(members: list[Member]) -> bool:
    """Each of them once."""
    return all(member.opened for member in members)


@pytest.mark.parametrize(
    ("counts", "surplus"),
    [
        ({"own": 200, "other": 0}, 100),
        ({"own": 125, "other": 75}, 0),
        ({"own": 127, "other": 73}, 27),
        ({"own": 6, "other": 0}, 0),
        ({"own": 10, "other": 0}, 5),
        ({"own": 200}, 0),
        ({"own": 50, "other": 150}, 0),
        ({"other": 150}, 0),
        ({"own": 90, "other": 30, "third": 30}, 40),
        ({}, 0),
    ],
)
def test_far_more_than_its_share_is_a_quarter_more(counts: Mapping[str, int], surplus: int) -> None:
    """And five agents at the least; alone it has all of them."""
    assert surplus_of("own", counts) == surplus


def keep_asking(collector: Collector, over: threading.Event) -> float:
    """Somebody who asks every 50 ms, in a thread of its own: the agents' handshakes delay nobody else. Answers the most
    seconds from one answer to the next."""
    headers = {"Authorization": f"Bearer {collector.tokens['ops']}"}
    context, longest, answered_at = collector.trust(), 0.0, time.monotonic()
    while not over.wait(0.05):
        connection = http.client.HTTPSConnection("127.0.0.1", collector.port, timeout=5, context=context)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/v1/agents", headers=headers)
            if connection.getresponse().status == 200:
                longest, answered_at = max(longest, time.monotonic() - answered_at), time.monotonic()
    return max(longest, time.monotonic() - answered_at)


async def restart(fleet: Fleet, collector: Collector) -> None:
    """It is stopped, started, and ready; the balancer has seen that."""
    assert await collector.stop() == 0
    await collector.start()
    await eventually(collector.is_up)
    await eventually(lambda: is_ready(collector))
    await asyncio.sleep(4)  # the balancer asks every second, and believes the second answer


async def is_ready(collector: Collector) -> bool:
    """Whether it says so."""
    async with collector.session(None) as session, session.get("/readyz") as response:
        return response.status == 200


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.timeout(400)
async def test_a_rolling_restart_of_both_leaves_no_gap_and_a_fair_share(fleet: Fleet, tiers: Tiers) -> None:
    """Under many agents: calls and connections are away for less than two seconds; then both have about as many."""
    count, over = int(tiers.amount("tests/collector/test_link_shares.py")), threading.Event()
    async with members_of(fleet.through, count) as members:
        asking = asyncio.create_task(asyncio.to_thread(keep_asking, fleet.through, over), name="calls")
        try:
            await restart(fleet, fleet.one)
            await restart(fleet, fleet.other)

            async def is_fair() -> bool:
                return sum(await fleet.links()) == count and max(await fleet.links()) <= count / 2 * 1.25

            await eventually(is_fair, within=120)
            await asyncio.sleep(12)  # nobody is sent back
            assert await is_fair()
        finally:
            over.set()
        assert await asking < 2
        assert max(member.longest for member in members) < 2
        assert max(member.opened for member in members) <= 4


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.timeout(200)
async def test_agents_that_come_back_are_left_alone(tmp_path: Path, postgresql: Server) -> None:
    """Without a balancer they connect to the same collector: a few are sent away once, nobody a second time."""
    url = postgresql.new_database()
    async with AsyncExitStack() as stack:
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
        one = await stack.enter_async_context(running(tmp_path / "one", store=url, is_warm=True, name="one"))
        await stack.enter_async_context(running(tmp_path / "other", store=url, is_warm=True, name="other"))
        async with members_of(one, 12) as members:
            await eventually(lambda: was_said(one), within=60)
            await asyncio.sleep(12)
            assert sorted(member.opened for member in members) == [1] * 7 + [2] * 5


async def was_said(collector: Collector) -> bool:
    """That they came back."""
    return "they are left alone for an hour" in collector.log()
