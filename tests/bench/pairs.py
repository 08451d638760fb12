"""One collector or two on one PostgreSQL: how many reports a second they take, and what a report costs them.

    PYTHONPATH=. $(deploy/setup --no-lab) -m tests.bench.pairs [--agents 200] [--posts 10] [--turns 8] [--runs 3]

The same agents post the same reports, to one collector or half of them to each; their bodies are made before. All are
up at once and are posted to in turn, each for a second or two: what else the machine does falls on all of them alike.
What waits together is written together, so that few agents cost two collectors more: 40 of them 1.08 times, 200 of them
0.9 times what they cost one.
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
from tests.collector.postgresql import Server, running_server
from tests.collector.process import Collector, running
from tests.collector.test_five_thousand import admit

_PER_SECOND = 100  # ticks in which /proc counts


class Taken(msgspec.Struct, frozen=True):
    """Of one turn or more: reports, the seconds that they took, and the seconds of processors, of the collectors'
    processes and of PostgreSQL's."""

    reports: int
    seconds: float
    cpu: float
    database_cpu: float

    @property
    def per_second(self) -> float:
        """Reports a second."""
        return self.reports / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of the collectors' processors per report."""
        return 1_000 * self.cpu / self.reports

    @property
    def database_ms(self) -> float:
        """Milliseconds of PostgreSQL's processors per report."""
        return 1_000 * self.database_cpu / self.reports


class Site(msgspec.Struct, frozen=True):
    """Collectors on one database, and the agents that post to them, each always to the same one."""

    name: str
    collectors: Sequence[Collector]
    agents: Sequence[Agent]
    sessions: Sequence[aiohttp.ClientSession]
    server: Server


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


@asynccontextmanager
async def sites_on(server: Server, agents: int) -> AsyncIterator[tuple[Site, Site, Site]]:
    """One collector on SQLite, one on PostgreSQL, and two: with as many agents each."""
    async with AsyncExitStack() as stack:
        kinds = ("sqlite", None, 1), ("one", server.new_database(), 1), ("two", server.new_database(), 2)
        alone, one, two = [await _open_site(stack, name, store, count, server, agents) for name, store, count in kinds]
        yield alone, one, two


async def _open_site(
    stack: AsyncExitStack, name: str, store: str | None, count: int, server: Server, agents: int
) -> Site:
    collectors = await stack.enter_async_context(collectors_on(store, count))
    members, sessions = [], []
    for number, (member, token) in enumerate(admit(collectors[0], agents).items()):
        collector = collectors[number % count]
        headers = {"Authorization": f"Bearer {token}"}
        connector = aiohttp.TCPConnector(ssl=collector.trust(), limit=1)
        session = aiohttp.ClientSession(f"https://127.0.0.1:{collector.port}", headers=headers, connector=connector)
        sessions.append(await stack.enter_async_context(session))
        members.append(Agent(member))
    site = Site(name, collectors, members, sessions, server)
    first = [_inventory_of(agent, number) for number, agent in enumerate(site.agents)]
    await asyncio.gather(*(_post(session, [body]) for session, body in zip(site.sessions, first, strict=True)))
    return site


async def take_in_turn(sites: Sequence[Site], turns: int, posts: int) -> list[Taken]:
    """Every agent posts its batches, one after the other, `posts` in each turn; the sums of each site."""
    rows: dict[str, list[Taken]] = {site.name: [] for site in sites}
    for turn in range(turns):
        for site in sites if turn % 2 else reversed(sites):
            rows[site.name].append(await _take(site, posts))
    return [_sum(rows[site.name]) for site in sites]


async def _take(site: Site, posts: int) -> Taken:
    """What opens the connections is not counted."""
    bodies = [_bodies_of(agent, number, posts + 1) for number, agent in enumerate(site.agents)]
    gc.collect()
    gc.freeze()
    pairs = list(zip(site.sessions, bodies, strict=True))
    await asyncio.gather(*(_post(session, own[:1]) for session, own in pairs))
    began_at, before = time.perf_counter(), _busy(site)
    await asyncio.gather(*(_post(session, own[1:]) for session, own in pairs))
    lasted, after = time.perf_counter() - began_at, _busy(site)
    return Taken(len(pairs) * posts * BATCH, lasted, after[0] - before[0], after[1] - before[1])


def _sum(rows: Sequence[Taken]) -> Taken:
    return Taken(
        sum(row.reports for row in rows),
        sum(row.seconds for row in rows),
        sum(row.cpu for row in rows),
        sum(row.database_cpu for row in rows),
    )


def _busy(site: Site) -> tuple[float, float]:
    """What the site's processes have taken of processors so far, and PostgreSQL's."""
    processes = [collector.process for collector in site.collectors]
    return sum(busy_seconds(process.pid) for process in processes if process is not None), _database_seconds(site)


def busy_seconds(pid: int) -> float:
    """What the process has taken of processors so far, all its threads: its clock, see clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


def _database_seconds(site: Site) -> float:
    """Of the server's living processes, and of those that have ended."""
    pid = site.server.process_id
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(busy_seconds(int(child)) for child in children) + (int(fields[13]) + int(fields[14])) / _PER_SECOND


def _inventory_of(agent: Agent, number: int) -> bytes:
    report = agent.inventory(f"10.9.0.{number % 250}", "web", certificate("site", _identifier_of(agent)))
    return msgspec.json.encode([report])


def _identifier_of(agent: Agent) -> str:
    return f"{agent.name}.fleet.internal"


def _bodies_of(agent: Agent, number: int, posts: int) -> list[bytes]:
    turns = (batch_of(agent, _identifier_of(agent), broken=number % 50 == 0 and turn % 2 == 1) for turn in range(posts))
    return [msgspec.json.encode(reports) for reports in turns]


async def _post(session: aiohttp.ClientSession, bodies: Sequence[bytes]) -> None:
    for body in bodies:
        try:
            await _post_once(session, body)
        except aiohttp.ClientConnectionError:  # on a busy machine it was silent for too long: as an agent, once more
            await _post_once(session, body)


async def _post_once(session: aiohttp.ClientSession, body: bytes) -> None:
    async with session.post("/v1/reports", data=body) as response:
        assert response.status == 200, await response.text()


async def _compare(agents: int, posts: int, turns: int, runs: int) -> None:
    with running_server() as server:
        async with sites_on(server, agents) as sites:
            for _ in range(runs):
                taken = await take_in_turn(sites, turns, posts)
                for site, row in zip(sites, taken, strict=True):
                    shown = {"per_second": row.per_second, "cpu_ms": row.cpu_ms, "postgresql_ms": row.database_ms}
                    print(json.dumps({"of": site.name, **shown}), flush=True)
                _, one, two = taken
                print(json.dumps({"of": "two to one", "cpu": two.cpu_ms / one.cpu_ms}), flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--posts", type=int, default=10)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_compare(asked.agents, asked.posts, asked.turns, asked.runs))


if __name__ == "__main__":
    main()
