"""How many sockets strangers can make the collector hold: counted in its own process."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing, suppress

import pytest

from certagent.collector.connections import MOST_SILENT
from certagent.collector.listener import CLOSING_SECONDS, MOST_BEGINNING
from tests.collector.process import Collector, eventually
from tests.collector.test_five_thousand import connections
from tests.security.test_strangers import answers, connect, leave

pytestmark = pytest.mark.slow

FEW = 20  # sockets of whoever else asks meanwhile


def held(collector: Collector) -> int:
    """Files and sockets that the collector has open."""
    assert collector.process is not None
    assert collector.process.pid is not None
    return connections(collector.process.pid)


async def at_rest(collector: Collector) -> int:
    """How many those are once nobody's connection is about to end: that of the first look is."""
    count, unchanged = held(collector), 0
    async with asyncio.timeout(10):
        while unchanged < 50:
            await asyncio.sleep(0.02)
            count, before = held(collector), count
            unchanged = unchanged + 1 if count == before else 0
    return count


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What ends with the test."""
    async with AsyncExitStack() as entered:
        yield entered


async def test_handshakes_that_never_end_are_bounded_in_number(collector: Collector, stack: AsyncExitStack) -> None:
    """More than may begin at once: others are served, and who is connected stays so."""
    before = await at_rest(collector)
    session = await stack.enter_async_context(collector.session("lxc101"))
    channel = await stack.enter_async_context(session.ws_connect("/v1/channel"))
    for _ in range(MOST_BEGINNING + 300):
        raw = stack.enter_context(closing(socket.create_connection(("127.0.0.1", collector.port))))
        raw.sendall(b"\x16\x03\x01\x02\x00")  # the head of a record that does not come
    served, most = asyncio.create_task(answers(collector)), 0
    async with asyncio.timeout(10):
        while not served.done():
            most = max(most, held(collector))
            await asyncio.sleep(0.02)
    assert served.result()
    assert MOST_BEGINNING - FEW < most - before <= MOST_BEGINNING + FEW
    assert not channel.closed
    await channel.ping()


async def test_who_never_agrees_to_an_end_is_not_waited_for(collector: Collector, stack: AsyncExitStack) -> None:
    """TLS has both sides say that a connection ends. One that has asked, and one that has not; neither says it."""
    before = await at_rest(collector)

    def begin(request: bytes) -> None:
        raw = socket.create_connection(("127.0.0.1", collector.port))
        tls = stack.enter_context(closing(collector.trust().wrap_socket(raw, server_hostname="collector.test")))
        tls.sendall(request)

    async def is_over() -> bool:
        return held(collector) <= before

    for _ in range(20):
        await asyncio.to_thread(begin, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert held(collector) >= before + 20
    await eventually(is_over, within=CLOSING_SECONDS + 7)  # a second without a request is part of it
    for _ in range(20):
        await asyncio.to_thread(begin, b"GET ")
    await eventually(is_over, within=10 + CLOSING_SECONDS + 7)


async def test_silent_connections_are_bounded_at_any_time(collector: Collector, stack: AsyncExitStack) -> None:
    """Not only at the next look."""
    before, most = await at_rest(collector), 0
    for number in range(MOST_SILENT + 300):
        with suppress(ConnectionError, ssl.SSLError):
            _, writer = await connect(collector)
            stack.push_async_callback(leave, writer)
        if number % 20 == 0:
            most = max(most, held(collector) - before)
    assert most <= MOST_SILENT + 128 + FEW
    assert await answers(collector)
