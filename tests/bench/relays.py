"""A rehearsal that is asked for at the collector to which the agent beside the CA is connected, and at another one.

    PYTHONPATH=. $(deploy/setup --no-lab) -m tests.bench.relays [--rehearsals 60] [--runs 3]

In turn to one and to the other. The agent beside the CA answers at once: what a rehearsal takes there counts for
neither, so that all of the way between two collectors is in the ratio.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import msgspec
import uvloop

from certagent.domain.link_messages import Rehearse, Rehearsed, encode
from certagent.domain.rehearsals import RehearsalOutcome
from tests.bench.pairs import collectors_on
from tests.collector.postgresql import running_server
from tests.collector.process import Collector, eventually
from tests.collector.test_agent_link import REQUEST, connected, is_connected, next_ask
from tests.evidence import rehearse_traefik


@asynccontextmanager
async def answering(one: Collector, other: Collector) -> AsyncIterator[None]:
    """The agent beside the CA is connected to the first one, as the other one knows."""
    async with connected(one, "lxc103") as link:
        await eventually(lambda: is_connected(other, "lxc103"))
        answers = asyncio.create_task(_answer(link))
        try:
            yield
        finally:
            answers.cancel()


async def ask_in_turn(collectors: list[Collector], rehearsals: int) -> list[float]:
    """Of each collector the median of so many, in milliseconds."""
    took: list[list[float]] = [[] for _ in collectors]
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(one.session("lxc102")) for one in collectors]
        for number in range(rehearsals + 3):
            for session, own in zip(sessions, took, strict=True):
                seconds = await _ask(session)
                if number >= 3:  # the first ones open connections
                    own.append(1_000 * seconds)
    return [statistics.median(own) for own in took]


async def _ask(session: aiohttp.ClientSession) -> float:
    began_at = time.perf_counter()
    async with session.post("/v1/rehearsals", data=msgspec.json.encode(REQUEST)) as response:
        document = await response.json(content_type=None)
        assert document["outcome"] == "passed", document
    return time.perf_counter() - began_at


async def _answer(link: aiohttp.ClientWebSocketResponse) -> None:
    while True:
        ask = await next_ask(link)
        if isinstance(ask, Rehearse):
            rehearsal = rehearse_traefik(RehearsalOutcome.PASSED)
            await link.send_str(encode(Rehearsed(id=ask.id, rehearsal=rehearsal)).decode())


async def _compare(rehearsals: int, runs: int) -> None:
    with running_server() as server:
        async with collectors_on(server.new_database(), 2) as (one, other):
            await one.introduce()
            async with answering(one, other):
                for _ in range(runs):
                    local, relayed = await ask_in_turn([one, other], rehearsals)
                    print(json.dumps({"local_ms": local, "relayed_ms": relayed, "ratio": relayed / local}), flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rehearsals", type=int, default=60)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_compare(asked.rehearsals, asked.runs))


if __name__ == "__main__":
    main()
