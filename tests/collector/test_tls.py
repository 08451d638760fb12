"""The collector's own certificate: may come later, is replaced while it serves."""

import asyncio
import hashlib
import signal
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest

from tests.collector.process import Collector, eventually

pytestmark = pytest.mark.slow


def served(collector: Collector) -> str:
    """The fingerprint that a new handshake shows."""
    with (
        socket.create_connection(("127.0.0.1", collector.port), timeout=5) as raw,
        collector.trust().wrap_socket(raw, server_hostname="collector.test") as tls,
    ):
        return hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()


async def shows(collector: Collector, fingerprint: str) -> bool:
    """Whether new handshakes show that certificate."""
    try:
        return await asyncio.to_thread(served, collector) == fingerprint
    except (OSError, ssl.SSLError):
        return False


async def test_it_is_ready_without_a_certificate_and_serves_once_there_is_one(tmp_path: Path) -> None:
    """The agent on the same node obtains it while the collector is up."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(15)
        collector = Collector(tmp_path)
        await collector.start(NOTIFY_SOCKET=address)
        try:
            assert await asyncio.to_thread(manager.recv, 100) == b"READY=1"
            assert not await collector.is_up()

            async def has_said_so() -> bool:
                return "nothing is served yet" in collector.log()

            await eventually(has_said_so)
            fingerprint = collector.promote()
            await eventually(collector.is_up)
            assert await shows(collector, fingerprint)
        finally:
            assert await collector.stop() == 0


async def test_it_can_be_stopped_while_it_waits(tmp_path: Path) -> None:
    """No certificate ever came."""
    collector = Collector(tmp_path)
    await collector.start()

    async def waits() -> bool:
        return "nothing is served yet" in collector.log()

    await eventually(waits)
    assert await collector.stop() == 0


async def test_a_new_pair_is_served_without_a_restart_and_channels_stay(collector: Collector) -> None:
    """The files change; connections that are open go on."""
    async with collector.session("lxc102") as session, session.ws_connect("/v1/channel") as socket_:
        fingerprint = collector.promote()
        await eventually(lambda: shows(collector, fingerprint))
        await socket_.ping()
        assert not socket_.closed
        assert (await session.get("/healthz")).status == 200


async def test_sighup_loads_it_at_once(collector: Collector) -> None:
    """For who promotes and reloads."""
    fingerprint = collector.promote("collector.test", "127.0.0.1", "other.test")
    assert collector.process is not None
    collector.process.send_signal(signal.SIGHUP)
    await eventually(lambda: shows(collector, fingerprint))
    assert (await collector.get("/v1/agents", headers={"Host": "other.test"}))[0] == 200


async def test_a_pair_that_does_not_match_changes_nothing(collector: Collector) -> None:
    """Half of a promotion, or rubbish: the old one stays until both are there."""
    before = await asyncio.to_thread(served, collector)
    other = collector.authority.issue("collector.test")
    collector.certificate.write_bytes(other.chain_pem)
    assert collector.process is not None
    collector.process.send_signal(signal.SIGHUP)

    async def has_complained() -> bool:
        return "still serving the earlier certificate" in collector.log()

    await eventually(has_complained)
    assert await shows(collector, before)


async def test_plain_http_is_not_spoken(collector: Collector) -> None:
    """No token travels in the clear."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://127.0.0.1:{collector.port}/healthz")
