"""How long the pages take with many nodes: `python -m tests.bench.page [NODES]`. Prints; asserts nothing.

Every node has a token of its own and posts its own inventory to a real collector process over TLS; then the CA's node
reports one wrong line that stands in the way of all of them.
"""

import asyncio
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import msgspec
from sqlalchemy import insert

from certagent.collector.credentials import digest_of
from certagent.collector.records import TokenRole
from certagent.collector.sql.database import open_writer
from certagent.collector.sql.schema import tokens
from certagent.domain.reports import Report
from tests.collector.cast import Agent, certificate, now
from tests.collector.process import Collector, running
from tests.evidence import shadow

PAGES = ("/", "/certificates", "/nodes", "/incidents", "/incidents/{incident}", "/nodes/n0001", "/paths/n0001.example")
LOOKS = 9
_AT_ONCE = 64


class Pages(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds: until all inventories were in, until the incident was open, and the median of each page."""

    posted: float
    opened: float
    pages: dict[str, float]


async def measure(nodes: int) -> Pages:
    """Fill, then look at each page several times."""
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as collector:
            names = [f"n{number:04}" for number in range(nodes)]
            _admit(collector, names)
            began = time.monotonic()
            await _post(collector, [_inventory(name, number) for number, name in enumerate(names)])
            posted, began = time.monotonic() - began, time.monotonic()
            await collector.report(
                collector.cast.authority.watch(*(shadow(f"{name}.example") for name in names[:1000]))
            )
            (incident,) = await collector.incidents("open")
            opened = time.monotonic() - began
            pages = {page: await look(collector, page.format(incident=incident["id"])) for page in PAGES}
            return Pages(posted=posted, opened=opened, pages=pages)


def _admit(collector: Collector, names: list[str]) -> None:
    rows = [{"name": name, "role": TokenRole.AGENT, "digest": digest_of(name), "created_at": now()} for name in names]
    with open_writer(collector.store).begin() as connection:
        connection.execute(insert(tokens), rows)


def _inventory(name: str, number: int) -> Report:
    left = timedelta(hours=6, minutes=number % 1000)  # none is called late while the others' are still being posted
    state = certificate("web", f"{name}.example", left=left)
    return Agent(name).inventory(f"10.1.{number // 250}.{number % 250}", "web", state)


async def _post(collector: Collector, reports: list[Report]) -> None:
    slots = asyncio.Semaphore(_AT_ONCE)
    async with collector.session(None) as session:

        async def post(report: Report) -> None:
            headers = {"Authorization": f"Bearer {report.agent}"}
            body = msgspec.json.encode([report])
            async with slots, session.post("/v1/reports", data=body, headers=headers) as response:
                assert response.status == 200, await response.text()

        await asyncio.gather(*(post(report) for report in reports))


async def look(collector: Collector, path: str) -> float:
    """The median of several fetches, in seconds."""
    took = []
    async with collector.session("ops") as session:
        for _ in range(LOOKS):
            began = time.monotonic()
            async with session.get(path) as response:
                await response.read()
                assert response.status == 200, path
            took.append(time.monotonic() - began)
    return sorted(took)[LOOKS // 2]


if __name__ == "__main__":
    print(msgspec.json.encode(asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000))).decode())
