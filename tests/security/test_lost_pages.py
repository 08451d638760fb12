"""A receiver that is being set up anew refuses for a while: no page is lost, and that it refuses is told elsewhere."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from tests.collector.process import running
from tests.evidence import TRAEFIK, shadow
from tests.fakes.receivers import Receiver

pytestmark = pytest.mark.slow

POLICY = '[collector]\nchannel_failing_after = "2s"\nlook_every = "500ms"\n'


class _Refusing(Receiver):
    """Answers 404 until it is told that all is well; notes the deliveries that it was asked to take."""

    is_well = False

    async def receive(self, request: web.Request) -> web.Response:
        """One message."""
        self.deliveries.append(request.headers["X-Certagent-Delivery"])
        return await super().receive(request) if self.is_well else web.Response(status=404)

    def __init__(self) -> None:
        super().__init__()
        self.deliveries: list[str] = []


async def test_a_channel_that_refuses_is_told_by_another_and_gets_the_same_message_later(tmp_path: Path) -> None:
    """An incident of the collector's own, over when the channel accepts again."""
    (tmp_path / "policy.toml").write_text(POLICY)
    refusing, other = _Refusing(), Receiver()
    second = f'[[channel]]\nname = "other"\nkind = "webhook"\nurl = "{other.url}"\n'
    top = f'policy = "{tmp_path}/policy.toml"\n'
    async with (
        refusing.listening(),
        other.listening(),
        running(tmp_path, refusing.url, top=top, more=second) as collector,
    ):
        await collector.introduce()
        await collector.report(collector.cast.authority.watch(shadow(TRAEFIK)))
        taken = await other.has(2)
        failing = next(body for headers, body in taken if "collector.channel_failing" in headers["Tags"])
        assert "nothing has been accepted by hook since" in failing
        assert "HTTP 404" in failing
        (incident,) = [one for one in await collector.incidents("open") if one["code"] == "collector.channel_failing"]
        assert incident["culprit"]["role"] == "collector"
        refusing.is_well = True
        async with asyncio.timeout(75):
            while not any("lxc103:/etc/hosts:7" in headers["Title"] for headers, _ in refusing.taken):
                await asyncio.sleep(0.1)
        page = next(headers for headers, _ in refusing.taken if "lxc103:/etc/hosts:7" in headers["Title"])
        assert refusing.deliveries.count(page["X-Certagent-Delivery"]) >= 2
        assert refusing.deliveries[0] == page["X-Certagent-Delivery"]
        over = [headers["X-Certagent-State"] for headers, _ in (await other.has(3))[2:]]
        assert over == ["resolved"]
        assert [one["code"] for one in await collector.incidents("open")] == ["dns.hosts_shadow.authority"]
