"""One collector or two on one PostgreSQL: how many reports a second they take, and what a report costs them.

    PYTHONPATH=. $(deploy/setup --no-lab) -m tests.bench.pairs [--agents 40] [--posts 50] [--runs 3]

The same agents post the same reports, to one collector or half of them to each; their bodies are made before.
"""

import argparse
import asyncio
import gc
import json
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import uvloop

from tests.bench.ingest import BATCH, batch_of
from tests.collector.cast import Agent, certificate
from tests.collector.postgresql import running_server
from tests.collector.process import Collector, running
from tests.collector.test_five_thousand import admit


class Taken(msgspec.Struct, frozen=True):
    """Of one run: reports a second, and milliseconds of the collectors' processors per report."""

    per_second: float
    cpu_ms: float


@asynccontextmanager
async def collectors_on(store: str | None, count: int) -> AsyncIterator[list[Collector]]:
    """So many that serve, one database; None: a new SQLite file."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        started: list[Collector] = []
        for number in range(count):
            (own := folder / str(number)).mkdir()
            started.append(await stack.enter_async_context(running(own, store=store, name=f"c{number}")))
        yield started


async def take_in(collectors: Sequence[Collector], agents: int, posts: int) -> Taken:
    """Every agent posts its batches, one after the other, to one of the collectors."""
    members = [(Agent(name), token) for name, token in admit(collectors[0], agents).items()]
    bodies = [_bodies_of(agent, number, posts) for number, (agent, _) in enumerate(members)]
    gc.freeze()
    async with AsyncExitStack() as stack:
        sessions = []
        for number, (_, token) in enumerate(members):
            collector = collectors[number % len(collectors)]
            headers = {"Authorization": f"Bearer {token}"}
            connector = aiohttp.TCPConnector(ssl=collector.trust(), limit=1)
            url = f"https://127.0.0.1:{collector.port}"
            session = aiohttp.ClientSession(url, headers=headers, connector=connector)
            sessions.append(await stack.enter_async_context(session))
        await asyncio.gather(*(_post(session, own[:1]) for session, own in zip(sessions, bodies, strict=True)))
        began_at, cpu = time.perf_counter(), sum(map(busy_seconds, collectors))
        await asyncio.gather(*(_post(session, own[1:]) for session, own in zip(sessions, bodies, strict=True)))
        lasted, cpu = time.perf_counter() - began_at, sum(map(busy_seconds, collectors)) - cpu
    reports = agents * posts * BATCH
    return Taken(reports / lasted, 1_000 * cpu / reports)


def busy_seconds(collector: Collector) -> float:
    """What its process has taken of processors so far."""
    assert collector.process is not None
    fields = Path(f"/proc/{collector.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _bodies_of(agent: Agent, number: int, posts: int) -> list[bytes]:
    identifier = f"{agent.name}.fleet.internal"
    first = [agent.inventory(f"10.9.0.{number % 250}", "web", certificate("site", identifier))]
    turns = [batch_of(agent, identifier, broken=number % 50 == 0 and turn % 2 == 0) for turn in range(posts)]
    return [msgspec.json.encode(reports) for reports in (first, *turns)]


async def _post(session: aiohttp.ClientSession, bodies: Sequence[bytes]) -> None:
    for body in bodies:
        try:
            await _post_once(session, body)
        except aiohttp.ClientConnectionError:  # on a busy machine it was silent for too long: as an agent, once more
            await _post_once(session, body)


async def _post_once(session: aiohttp.ClientSession, body: bytes) -> None:
    async with session.post("/v1/reports", data=body) as response:
        assert response.status == 200, await response.text()


async def _compare(agents: int, posts: int, runs: int) -> None:
    with running_server() as server:
        for _ in range(runs):
            for name, store, count in (
                ("sqlite", None, 1),
                ("one", server.new_database(), 1),
                ("two", server.new_database(), 2),
            ):
                async with collectors_on(store, count) as collectors:
                    taken = await take_in(collectors, agents, posts)
                print(json.dumps({"of": name, **msgspec.to_builtins(taken)}), flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=40)
    parser.add_argument("--posts", type=int, default=50)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_compare(asked.agents, asked.posts, asked.runs))


if __name__ == "__main__":
    main()
