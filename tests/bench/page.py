"""How long the pages take with many nodes: `python -m tests.bench.page [NODES [INCIDENTS]]`. Prints; asserts nothing.

Every node has a token of its own and posts its own inventory to a real collector process over TLS; then the CA's node
reports one wrong line that stands in the way of all of them. With INCIDENTS, so many nodes have a culprit of their own.
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
from tests.collector.fleet_of import serving_fleet
from tests.collector.process import Collector, running
from tests.evidence import shadow

PAGES = (
    "/",
    "/certificates",
    "/nodes",
    "/incidents",
    "/search?q=n00",
    "/certificates?zone=example&sort=name",
    "/incidents/{incident}",
    "/nodes/n0001",
    "/paths/n0001.example",
)
OF_FLEET = (
    *("/", "/incidents", "/incidents?state=all&zone=zone3.test", "/certificates", "/certificates?state=at_risk"),
    *(
        "/nodes",
        "/search?q=zone3",
        "/search?q=n00",
        "/incidents/{incident}",
        "/nodes/n0007",
        "/findings",
        "/audit",
        "/history",
    ),
    *("/nodes/n0007/certificates/web", "/paths/b7.zone7.test"),
)
LOOKS = 9
_SETTLES = 10.0  # seconds, until the round has found what is late
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


async def measure_incidents(nodes: int, incidents: int) -> dict[str, float]:
    """The median of each page, in seconds, with so many open incidents."""
    with tempfile.TemporaryDirectory() as folder:
        async with serving_fleet(Path(folder), nodes, incidents) as collector:
            await asyncio.sleep(_SETTLES)
            known = await collector.incidents("open")
            return {page: await look(collector, page.format(incident=known[0]["id"])) for page in OF_FLEET}


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
    asked = [int(argument) for argument in sys.argv[1:]] or [5_000]
    figures = asyncio.run(measure_incidents(*asked) if len(asked) == 2 else measure(asked[0]))
    print(msgspec.json.encode(figures).decode())
