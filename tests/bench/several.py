"""Several collectors on one PostgreSQL: what a second one adds, what it costs, and the way between two."""

import asyncio
from collections.abc import Iterator

import uvloop

from tests.bench.pairs import collectors_on, sites_on, take_in_turn
from tests.bench.relays import answering, ask_in_turn
from tests.bench.rows import Row, against, of
from tests.collector.postgresql import Server, running_server

RUNS = 3
AGENTS, POSTS, TURNS, REHEARSALS = 200, 10, 8, 60
_BEFORE = "0.13 and 0.15 ms before incidents were told from what touches none, and statements were made once"


def measure() -> Iterator[Row]:
    """In turn, so that what else the machine does is in both."""
    with running_server() as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield from runner.run(_ingest(server))
        yield runner.run(_rehearsals(server))


async def _ingest(server: Server) -> list[Row]:
    async with sites_on(server, AGENTS) as sites:
        runs = [await take_in_turn(sites, TURNS, POSTS) for _ in range(RUNS)]
    alone, one, two = zip(*runs, strict=True)
    rates = [second.per_second / first.per_second for first, second in zip(one, two, strict=True)]
    costs = [second.cpu_ms / first.cpu_ms for first, second in zip(one, two, strict=True)]
    database = [second.database_ms / first.database_ms for first, second in zip(one, two, strict=True)]
    load = f"{AGENTS} agents, {TURNS * POSTS} posts of ten reports each, one agent with a finding that comes and goes"
    same = f"the same posts to one collector, and half of them to each of two, on one PostgreSQL and two cores; {load}"
    process = f"user and system time of the collector's process, TLS and JSON in it; {load}; {_BEFORE}"
    return [
        of("ingest, CPU per report", "ms", [run.cpu_ms for run in alone], f"SQLite; {process}"),
        of("ingest, CPU per report, PostgreSQL", "ms", [run.cpu_ms for run in one], process),
        of("ingest, two collectors to one", "x", rates, same, bar=0.95, at_least=True),
        of("ingest, CPU per report, two collectors to one", "x", costs, same, bar=1.05),
        of("ingest, PostgreSQL's CPU per report, two collectors to one", "x", database, same),
    ]


async def _rehearsals(server: Server) -> Row:
    async with collectors_on(server.new_database(), 2) as (one, other):
        await one.introduce()
        async with answering(one, other):
            took = [await ask_in_turn([one, other], REHEARSALS) for _ in range(RUNS)]
    inside = f"median of {REHEARSALS}, in turn; the agent beside the CA answers at once: none of its time is in it"
    row = of("rehearsal, its agent at another collector", "ms", [relayed for _, relayed in took], inside)
    return against(row, "at the same one", [local for local, _ in took], inside, ratio_bar=1.2)
