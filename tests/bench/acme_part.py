"""Our ACME part alone: `python -m tests.bench.acme_part CONFIGURATION`. Run in the network of a node of the lab.

Prints seconds: one certificate after the other with a warm account, then all of them, `AT_ONCE` at a time, by the clock
and by the processor: of this process and of the one that speaks ACME for it.
"""

import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

from certagent.agent.orders import OrderPlacer
from certagent.agent.solvers import open_solvers
from certagent.config import CertificateSection, load_agent
from certagent.domain.orders import Issued
from certagent.state import State
from certagent.system.clock import SystemClock

AT_ONCE = 4
ONE_BY_ONE = 20


async def main(path: Path) -> None:
    """All of it."""
    settings = load_agent(path)
    state, clock = State(settings.agent.state), SystemClock()
    async with AsyncExitStack() as stack:
        solvers = await open_solvers(settings, state, clock, stack)
        ordering = await stack.enter_async_context(OrderPlacer(settings.authority, solvers, state, clock))
        slots = asyncio.Semaphore(AT_ONCE)

        issued: set[bytes] = set()

        async def obtain(certificate: CertificateSection) -> float:
            async with slots:
                began_at = time.perf_counter()
                folder = state.certificate(certificate.name)
                outcome = await ordering.place(certificate, folder)
                folder.forget_order()  # as a renewal does that has the pair on disk; else the same order is taken up
                took = time.perf_counter() - began_at
            assert isinstance(outcome, Issued), outcome
            issued.add(outcome.chain_pem)
            return took

        first = await obtain(settings.certificate[0])
        warm = [await obtain(certificate) for certificate in settings.certificate[:ONE_BY_ONE]]
        began_at, busy = time.perf_counter(), _busy_seconds()
        await asyncio.gather(*map(obtain, settings.certificate))
        all_at_once, cpu = time.perf_counter() - began_at, _busy_seconds() - busy
    assert len(issued) == 1 + len(warm) + len(settings.certificate), "an order was answered with an old certificate"
    count = len(settings.certificate)
    print(json.dumps({"first": first, "warm": warm, "all": all_at_once, "cpu": cpu, "count": count}))


def _busy_seconds() -> float:
    children = [pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()]
    ticks = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in children]
    ended = os.times()
    alive = sum(int(one) for pair in ticks for one in pair) / os.sysconf("SC_CLK_TCK")
    return time.process_time() + alive + ended.children_user + ended.children_system


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
