"""How many reports a second one collector takes, over TLS, flushed to disk, incidents computed.

    PYTHONPATH=. $(deploy/setup --no-lab) -m tests.bench.ingest [--agents 40] [--seconds 20] [--store postgresql://...]

Reports of about 1.3 KB in batches of ten, as agents send them; one in fifty agents has a finding that comes and goes.
The clients run on the same machine, so this is a lower bound. It prints rate, latencies, and the load beside it.
"""

import argparse
import asyncio
import gc
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvloop

from certagent.domain.rehearsals import RehearsalOutcome
from certagent.domain.reports import Report
from tests.collector.cast import Agent, certificate, now
from tests.collector.process import Collector, running
from tests.collector.test_five_thousand import admit
from tests.evidence import refused, rehearse_traefik

BATCH = 10


def batch_of(agent: Agent, identifier: str, *, broken: bool) -> list[Report]:
    """Ten runs of one agent."""
    seen = msgspec.structs.replace(rehearse_traefik(RehearsalOutcome.PASSED), identifier=identifier)
    found = (refused("10.0.0.9", agent.name, identifier),) if broken else ()
    reports = [agent.preflight(identifier=identifier, rehearsals=(seen,)) for _ in range(BATCH - 1)]
    return [*reports, agent.preflight(*found, identifier=identifier)]


async def post_for(
    collector: Collector, agent: Agent, token: str, until: float, number: int, took: list[float]
) -> None:
    """One agent, one post after the other."""
    identifier = f"{agent.name}.fleet.internal"
    connector = aiohttp.TCPConnector(ssl=collector.trust(), limit=1)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(
        f"https://127.0.0.1:{collector.port}", headers=headers, connector=connector
    ) as session:
        first = agent.inventory(f"10.9.0.{number % 250}", "web", certificate("site", identifier))
        async with session.post("/v1/reports", data=msgspec.json.encode([first])) as response:
            assert response.status == 200
        turn = 0
        while time.perf_counter() < until:
            turn += 1
            body = msgspec.json.encode(batch_of(agent, identifier, broken=number % 50 == 0 and turn % 2 == 1))
            begun = time.perf_counter()
            async with session.post("/v1/reports", data=body) as response:
                assert response.status == 200, await response.text()
            took.append(time.perf_counter() - begun)


async def measure(agents: int, seconds: float, store: str | None) -> dict[str, Any]:
    """The figures."""
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder), store=store) as collector:
            took: list[float] = []
            begun = time.perf_counter()
            members = [(Agent(name), token) for name, token in admit(collector, agents).items()]
            posting = (
                post_for(collector, agent, token, begun + seconds, number, took)
                for number, (agent, token) in enumerate(members)
            )
            gc.freeze()  # pauses of the clients would count as the collector's: up to 165 ms were seen
            await asyncio.gather(*posting)
            lasted = time.perf_counter() - begun
            size = len(msgspec.json.encode(batch_of(Agent("n0"), "n0.fleet.internal", broken=False))) / BATCH
    took.sort()
    return {
        "reports_per_second": round(BATCH * len(took) / lasted),
        "p50_ms": round(1_000 * took[len(took) // 2], 1),
        "p99_ms": round(1_000 * took[int(len(took) * 0.99)], 1),
        "bytes_per_report": round(size),
        "agents": agents,
        "load": os.getloadavg()[0],
        "at": now().isoformat(timespec="seconds"),
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--store", help="a database in place of a new SQLite file")
    asked = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(asked.agents, asked.seconds, asked.store))))


if __name__ == "__main__":
    main()
