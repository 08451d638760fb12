"""A collector's round over a large fleet, on either database: what it costs to look at what has become due."""

import asyncio
import tempfile
import time
from collections.abc import Iterator

from tests.bench.rows import Row, of
from tests.collector.cast import now
from tests.collector.large_fleet import FULL, Size, fill, names_of, silent_of
from tests.collector.lone_rounds import LoneRounds, busy_seconds, lone_rounds
from tests.collector.postgresql import running_server

RUNS = 3
ROUNDS = 10  # of which one run is the mean
_WHAT = f"a round over {FULL.agents:,} agents, {FULL.certificates:,} certificates, {FULL.reports:,} reports"
_INSIDE = (
    f"CPU of the process, mean of {ROUNDS} rounds in a row, five seconds apart by its clock; all agents connected but"
    " for one in a thousand, and each noted as alive every 75 s; review, reading, conclusions, findings, reminders"
)


def measure(size: Size = FULL) -> Iterator[Row]:
    """SQLite, whose work is the collector's own; then PostgreSQL, and what its sessions take meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        values, _ = asyncio.run(_go_rounds(f"sqlite:///{folder}/collector.db", size, None))
        yield of(f"{_WHAT}: SQLite", "s", values, f"{_INSIDE}; the database is part of the process", bar=0.5)
    with running_server() as server:
        values, theirs = asyncio.run(_go_rounds(server.new_database(), size, server.process_id))
        yield of(f"{_WHAT}: PostgreSQL", "s", values, _INSIDE, bar=0.5)
        yield of(f"{_WHAT}: PostgreSQL's own part", "s", theirs, "CPU of its sessions meanwhile")


async def _go_rounds(url: str, size: Size, server: int | None) -> tuple[list[float], list[float]]:
    """CPU seconds of a round, of this process and of the server's sessions, run by run."""
    begun_at = now()
    await asyncio.to_thread(fill, url, size, begun_at)
    async with lone_rounds(url, set(names_of(size)) - silent_of(size), begun_at) as rounds:
        await rounds.go_round()  # finds what there is
        runs = [await _go_run(rounds, server) for _ in range(RUNS)]
    ours, theirs = (list(values) for values in zip(*runs, strict=True))
    return ours, theirs


async def _go_run(rounds: LoneRounds, server: int | None) -> tuple[float, float]:
    before = time.process_time(), _busy(server)
    for _ in range(ROUNDS):
        await rounds.go_round()
    return (time.process_time() - before[0]) / ROUNDS, (_busy(server) - before[1]) / ROUNDS


def _busy(server: int | None) -> float:
    return busy_seconds(server) if server is not None else 0.0
