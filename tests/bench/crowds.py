"""The collector with many agents, many incidents, much history: a real process, on loopback, over TLS."""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import uvloop

from certagent.domain.reports import Report
from tests.bench import ingest, page
from tests.bench.rows import Row, against, of
from tests.collector.cast import Agent, certificate
from tests.collector.crowd import ZONE
from tests.collector.process import Collector, eventually, running
from tests.collector.test_five_thousand import admit, connections, crowd_of, rehearse, resident_mib
from tests.evidence import refused, shadow
from tests.fakes.receivers import Receiver

MANY = 5_000
RUNS = 3
IDLE = 20.0
_TENFOLD = "factor for ten times as many; 10 is linear"


def measure() -> Iterator[Row]:
    """One collector after the other."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield from runner.run(_all())


async def _all() -> list[Row]:
    rows = [*await _taken_in(), *await _connected(), *await _pages()]
    rows += [*await _incidents(), *await _history()]
    return rows


async def _taken_in() -> list[Row]:
    runs = [await ingest.measure(20, 10.0, None) for _ in range(3)]
    size = runs[0]["bytes_per_report"]
    inside = (
        f"TLS, tokens, {size} bytes a report, in batches of 10, incidents computed, fsync; clients on the same machine"
    )
    rates, late = [one["reports_per_second"] for one in runs], [one["p99_ms"] for one in runs]
    return [
        of("ingest", "reports/s", rates, inside, bar=3_000, at_least=True),
        of("ingest, p99 of a batch", "ms", late, inside, bar=100),
    ]


async def _connected() -> list[Row]:
    runs = [await _a_crowd() for _ in range(RUNS)]
    memory, idle, joined, message, whole = (list(one) for one in zip(*runs, strict=True))
    bare_joined, answered = (list(one) for one in zip(*[await _a_bare_crowd() for _ in range(RUNS)], strict=True))
    channels = f"{MANY} channels over TLS, each with its token and inventory"
    posts = "from the first report on; every agent posts at once, its processes on the same machine"
    back = of(f"{MANY} agents back", "s", joined, f"all at once to a new process: {channels}", bar=30)
    all_in = of(
        f"{MANY} victims, all in one incident", "s", whole, f"the last one, too; rehearsed before; {posts}", bar=5
    )
    floor = "the same crowd before aiohttp and uvloop, which open and answer everything and keep nothing: the floor"
    return [
        of(f"{MANY} agents connected, memory", "MiB", memory, f"PSS of the collector; {channels}", bar=300),
        of(f"{MANY} agents connected, idle", "%", idle, f"of one core, {IDLE:.0f} s", bar=5),
        against(back, "the libraries alone", bare_joined, floor),
        of(f"{MANY} victims, the message", "s", message, f"one, at the receiver; {posts}", bar=5),
        against(all_in, "the libraries alone", answered, floor),
    ]


async def _a_crowd() -> tuple[float, ...]:
    """(MiB, per cent of a core, seconds until all were there, until the message, until all victims were in it)."""
    receiver = Receiver()
    with tempfile.TemporaryDirectory() as folder:
        async with (
            receiver.listening(),
            running(Path(folder), receiver.url) as collector,
            crowd_of(collector, secrets_of := admit(collector, MANY)) as crowd,
        ):
            assert collector.process is not None
            joined = await crowd.hear()
            pid = collector.process.pid
            await eventually(lambda: _is_idle(pid), within=60)
            before = _busy_seconds(pid)
            await asyncio.sleep(IDLE)
            idle = 100 * (_busy_seconds(pid) - before) / IDLE
            memory = resident_mib(pid)
            await asyncio.to_thread(rehearse, collector, secrets_of)
            begun = time.monotonic()
            await collector.report(collector.cast.authority.watch(shadow(f"n0.{ZONE}")))  # who else says so joins it
            crowd.go_on()
            await receiver.has(1)
            message = time.monotonic() - begun
            await crowd.hear()
            await eventually(lambda: _is_whole(collector), within=60)
            return memory, idle, joined["joined"], message, time.monotonic() - begun


async def _a_bare_crowd() -> tuple[float, float]:
    """Seconds until all were there, and until all posts were answered, at a server that does nothing with them."""
    with tempfile.TemporaryDirectory() as folder:
        collector = Collector(Path(folder))
        collector.promote()
        words = ("-m", "tests.bench.bare", str(collector.port), str(collector.certificate), str(collector.key))
        process = await asyncio.create_subprocess_exec(sys.executable, *words)
        try:
            await eventually(collector.is_up)
            async with crowd_of(collector, admit(collector, MANY)) as crowd:
                joined = await crowd.hear()
                await eventually(lambda: _is_idle(process.pid), within=60)
                crowd.go_on()
                return joined["joined"], (await crowd.hear())["accused"]
        finally:
            process.kill()
            await process.wait()


async def _is_idle(pid: int) -> bool:
    """What was opened for posts is closed."""
    return connections(pid) <= MANY + 100


async def _is_whole(collector: Collector) -> bool:
    (incident,) = await collector.incidents()
    return len({victim["node"] for victim in incident["victims"]}) == MANY


async def _pages() -> list[Row]:
    few, many = await page.measure(MANY // 10), await page.measure(MANY)
    slowest = max(many.pages, key=lambda one: many.pages[one])
    inside = f"{slowest}, the slowest of {len(page.PAGES)}, {page.LOOKS} times; TLS, {MANY} nodes, 1,000 victims"
    growth = max(many.pages[one] / few.pages[one] for one in page.PAGES)
    return [
        of(f"a page with {MANY} nodes", "s", [many.pages[slowest]], inside, bar=0.1),
        of("growth with nodes: a page", "x", [growth], f"the worst page, {_TENFOLD}", bar=10),
        of("growth with nodes: inventories posted", "x", [many.posted / few.posted], _TENFOLD, bar=12),
    ]


async def _incidents() -> list[Row]:
    few, many = [await _look_at_incidents(count) for count in (100, 1_000)]
    return [of("growth with incidents: their page", "x", [many / few], f"100 and 1,000 open, {_TENFOLD}", bar=10)]


async def _look_at_incidents(count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as collector:
            async for agent, token in _members(collector, count):
                name = f"{agent.name}.{ZONE}"
                own = agent.inventory("10.9.0.1", "web", certificate("site", name))
                await _post(
                    collector, token, [own, agent.preflight(refused("10.9.0.1", agent.name, name), identifier=name)]
                )
            assert len(await collector.incidents("open")) > 0
            return await page.look(collector, "/incidents")


async def _history() -> list[Row]:
    few, many = [await _look_back(count) for count in (2_000, 20_000)]
    inside = f"2,000 and 20,000 reports kept, the newest of them asked for, {_TENFOLD}"
    return [of("growth with history: /v1/reports", "x", [many / few], inside, bar=10)]


async def _look_back(count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as collector:
            async for agent, token in _members(collector, 1):
                for _ in range(count // ingest.BATCH):
                    await _post(collector, token, ingest.batch_of(agent, f"{agent.name}.{ZONE}", broken=False))
            return await page.look(collector, "/v1/reports")


async def _members(collector: Collector, count: int) -> AsyncIterator[tuple[Agent, str]]:
    for name, token in admit(collector, count).items():
        yield Agent(name), token


async def _post(collector: Collector, token: str, reports: list[Report]) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with collector.session(None) as session:
        while True:
            async with session.post("/v1/reports", data=msgspec.json.encode(reports), headers=headers) as answer:
                if answer.status != 429:
                    assert answer.status == 200, await answer.text()
                    return
                await asyncio.sleep(float(answer.headers["Retry-After"]))


def _busy_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
