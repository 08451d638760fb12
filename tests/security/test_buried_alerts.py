"""One agent reports a thousand findings of its own node at once: the alert about another cause is not buried."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from certagent.domain.findings import Culprit
from tests.collector.process import running
from tests.evidence import TRAEFIK, refused, shadow
from tests.fakes.receivers import Receiver

pytestmark = pytest.mark.slow

REAL = "lxc103:/etc/hosts:7"
FURTHER = "further incidents of lxc102"


class _SlowReceiver(Receiver):
    """Takes 50 ms for a message."""

    async def receive(self, request: web.Request) -> web.Response:
        """One message."""
        await asyncio.sleep(0.05)
        return await super().receive(request)


async def test_a_thousand_findings_of_one_agent_do_not_bury_the_alert(tmp_path: Path) -> None:
    """Twenty messages and one sum at most; the founding failure, reported right behind, is among the first."""
    findings = [
        msgspec.structs.replace(refused(node="lxc102"), identifier=f"n{number}.x", culprit=Culprit(node="lxc102"))
        for number in range(1_000)
    ]
    async with _SlowReceiver().listening() as receiver, running(tmp_path, receiver.url) as collector:
        await collector.introduce()
        traefik, authority = collector.cast.traefik, collector.cast.authority
        await collector.report(traefik.preflight(*findings))
        await collector.report(authority.watch(shadow(TRAEFIK)))
        async with asyncio.timeout(60):
            while not any(FURTHER in headers["Title"] for headers, _ in receiver.taken):
                await asyncio.sleep(0.1)
        await asyncio.sleep(5)
    titles = [headers["Title"] for headers, _ in receiver.taken]
    (real,) = [number for number, title in enumerate(titles) if REAL in title]
    assert real <= 20
    assert len(titles) <= 22
    assert [title for title in titles if FURTHER in title] == [f"980 {FURTHER}"]
