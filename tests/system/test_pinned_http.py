"""Why no answer came, in words, from real servers on loopback, never in those of a library; and where is asked next."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from certagent.system import pinned_http
from certagent.system.pinned_http import PinnedClient, failure_words
from tests.certificates import Authority
from tests.fakes.tls_servers import context_of, tls_server
from tests.ports import free_port

NAME = "collector.invalid"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The pinned one."""
    made = Authority()
    made.write_root(tmp_path / "root.crt")
    return made


async def _words(url: str, tmp_path: Path) -> str:
    async with PinnedClient(url, (tmp_path / "root.crt",), (), {}) as client:
        with pytest.raises((aiohttp.ClientError, TimeoutError)) as caught:
            await client.request("GET", "/", timeout=0.5)
    return failure_words(caught.value)


async def test_a_certificate_that_is_not_trusted(tmp_path: Path, authority: Authority) -> None:
    """Another root's, another name's, an old one."""
    old = authority.issue("127.0.0.1", lifetime=timedelta(seconds=1))
    for pair, words in (
        (Authority().issue("127.0.0.1"), "its certificate does not chain to the pinned root"),
        (authority.issue("other.test"), "its certificate is for another name"),
        (old, "its own certificate has expired"),
    ):
        async with tls_server(pair) as server:
            assert await _words(f"https://{server.endpoint}", tmp_path) == words


async def test_one_that_hangs_up(tmp_path: Path, authority: Authority) -> None:
    """After a handshake, without a word."""
    async with tls_server(authority.issue("127.0.0.1")) as server:
        assert await _words(f"https://{server.endpoint}", tmp_path) == "it closed the connection without an answer"


async def test_nobody_there(tmp_path: Path, authority: Authority) -> None:
    """No listener, no such name, silence."""
    assert await _words("https://127.0.0.1:1", tmp_path) == "nothing listens there"
    assert await _words("https://nowhere.invalid", tmp_path) == "its name has no address here"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert await _words(f"https://127.0.0.1:{port}", tmp_path) == "no answer came in time"


def test_whatever_else() -> None:
    """The error's own words, or its name."""
    assert failure_words(aiohttp.ClientPayloadError("too long")) == "too long"
    assert failure_words(aiohttp.ClientPayloadError()) == "ClientPayloadError"
    assert failure_words(ConnectionResetError()) == "the connection was reset"


class Collectors:
    """Servers under one name, and who was asked."""

    def __init__(self, authority: Authority) -> None:
        self.context: ssl.SSLContext = context_of(authority.issue(NAME))
        self.asked: list[str] = []

    @asynccontextmanager
    async def listening(self, who: str) -> AsyncIterator[str]:
        """One of them; its address with its port."""

        async def answer(request: web.Request) -> web.Response:
            self.asked.append(who)
            assert request.headers["Host"].partition(":")[0] == NAME
            return web.Response(text=who)

        async def take(request: web.Request) -> web.WebSocketResponse:
            self.asked.append(who)
            channel = web.WebSocketResponse()
            await channel.prepare(request)
            await channel.close()
            return channel

        application = web.Application()
        application.add_routes([web.get("/", answer), web.get("/link", take)])
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.context)
        await site.start()
        try:
            yield f"127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def ask(client: PinnedClient) -> str:
    """Who answers."""
    status, body = await client.request("GET", "/", timeout=5)
    assert status == 200
    return body.decode()


async def test_addresses_are_tried_in_turn_each_with_its_own_port(tmp_path: Path, authority: Authority) -> None:
    """No such name, nobody at the first, another box at the second; the third answers, in one call."""
    collectors = Collectors(authority)
    async with (
        tls_server(authority.issue("other.test")) as wrong,
        collectors.listening("first") as first,
        collectors.listening("second") as second,
        PinnedClient(
            f"https://{NAME}:1", (tmp_path / "root.crt",), ("127.0.0.1", wrong.endpoint, first, second), {}
        ) as client,
    ):
        assert await ask(client) == "first"
        assert (await client.get("/", timeout=5))[2] == b"first"
        await (await client.open_channel("/link", heartbeat=30)).close()
        assert collectors.asked == ["first"] * 3


async def test_an_address_without_a_port_has_that_of_the_url(tmp_path: Path, authority: Authority) -> None:
    """As ever."""
    collectors = Collectors(authority)
    async with collectors.listening("it") as endpoint:
        url = f"https://{NAME}:{endpoint.rpartition(':')[2]}"
        async with PinnedClient(url, (tmp_path / "root.crt",), ("127.0.0.1",), {}) as client:
            assert await ask(client) == "it"


@pytest.mark.slow
async def test_where_nothing_answers_in_time_comes_last_for_a_minute(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen collector's kernel takes connections, and no handshake ever ends. The next calls do not wait for it."""
    collectors, loop = Collectors(authority), asyncio.get_running_loop()
    monkeypatch.setattr(pinned_http, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        silent = f"127.0.0.1:{frozen.getsockname()[1]}"
        async with (
            collectors.listening("living") as living,
            PinnedClient(f"https://{NAME}:1", (tmp_path / "root.crt",), (silent, living), {}) as client,
        ):
            began = loop.time()
            assert await ask(client) == "living"
            assert loop.time() - began >= 0.5
            for _ in range(3):
                began = loop.time()
                assert await ask(client) == "living"
                assert loop.time() - began < 0.5
            monkeypatch.setattr(pinned_http, "_LAST_FOR_SECONDS", 0.0)
            began = loop.time()
            assert await ask(client) == "living"
            assert loop.time() - began >= 0.5


async def test_one_that_takes_a_request_and_does_not_answer_is_not_asked_next(
    tmp_path: Path, authority: Authority
) -> None:
    """The call fails, for the request may have been taken; the next call goes to the other."""
    collectors = Collectors(authority)

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(keep_silent, "127.0.0.1", 0, ssl=collectors.context)
    silent = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with (
        server,
        collectors.listening("living") as living,
        PinnedClient(f"https://{NAME}:1", (tmp_path / "root.crt",), (silent, living), {}) as client,
    ):
        with pytest.raises(TimeoutError):
            await client.request("GET", "/", timeout=0.5)
        assert collectors.asked == []
        assert await ask(client) == "living"


async def test_when_nobody_answers_the_last_failure_is_told(tmp_path: Path, authority: Authority) -> None:
    """Nobody at any of them."""
    addresses = (f"127.0.0.1:{free_port()}", f"[::1]:{free_port()}")
    async with PinnedClient(f"https://{NAME}:1", (tmp_path / "root.crt",), addresses, {}) as client:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await client.request("GET", "/", timeout=5)
    assert failure_words(caught.value) == "nothing listens there"
