"""Room for bodies, on a server of its own: what is taken of it, by whom, and for how long."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from certagent.collector.access import answer_problems
from certagent.collector.bodies import Bodies, BodyBounds

pytestmark = pytest.mark.slow

POOL = 16 * 1024 * 1024
MEBIBYTE = 1024 * 1024
BOMB = gzip.compress(bytes(8 * MEBIBYTE))  # 8 KiB
FORM = "Content-Type: application/x-www-form-urlencoded"

Talk = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Intake:
    """A server that reads bodies and forms, and keeps what it has read until it is let go."""

    def __init__(self) -> None:
        bounds = BodyBounds(bytes=POOL, seconds=0.3, form_seconds=2)
        self.bodies, self.go_on, self.kept = Bodies(bounds), asyncio.Event(), 0
        application = web.Application(middlewares=[answer_problems])
        application.router.add_post("/body", self._body)
        application.router.add_post("/form", self._form)
        self.server = TestServer(application)
        self._stack = AsyncExitStack()

    async def _body(self, request: web.Request) -> web.Response:
        async with self.bodies.body_of(request, request.headers["X-Caller"]) as body:
            self.kept += len(body)
            await self.go_on.wait()
        return web.Response()

    async def _form(self, request: web.Request) -> web.Response:
        return web.json_response(dict(await self.bodies.form_of(request)))

    async def say(self, path: str, *headers: str, body: bytes = b"", length: int | None = None) -> Talk:
        """A POST of which so much is sent."""
        reader, writer = await asyncio.open_connection(self.server.host, self.server.port)
        size = len(body) if length is None else length
        lines = (f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {size}", *headers, "", "")
        writer.write("\r\n".join(lines).encode() + body)
        self._stack.callback(writer.close)
        return reader, writer

    async def close(self) -> None:
        """The end, of whoever still waits as well."""
        self.go_on.set()
        await self._stack.aclose()
        await self.server.close()


@pytest.fixture
async def intake() -> AsyncIterator[Intake]:
    """Listening."""
    made = Intake()
    await made.server.start_server(auto_decompress=False)
    yield made
    await made.close()


async def _status(talk: Talk) -> int:
    async with asyncio.timeout(10):
        return int((await talk[0].readline()).split()[1])


async def test_what_is_packed_takes_the_room_that_it_unpacks_to(intake: Intake) -> None:
    """Eight KiB that come to eight MiB: one fits, a second does not, and all of it is given back."""
    assert len(BOMB) < 16 * 1024
    packed = [("/body", f"X-Caller: lxc{at}", "Content-Encoding: gzip") for at in range(6)]
    first = await intake.say(*packed[0], body=BOMB)
    async with asyncio.timeout(10):
        while intake.kept < 8 * MEBIBYTE:
            await asyncio.sleep(0.01)
    assert [await _status(await intake.say(*one, body=BOMB)) for one in packed[1:3]] == [429, 429]
    small = await intake.say("/body", "X-Caller: lxc9", body=bytes(7 * MEBIBYTE))
    async with asyncio.timeout(10):
        while intake.kept < 15 * MEBIBYTE:
            await asyncio.sleep(0.01)
    intake.go_on.set()
    assert [await _status(first), await _status(small)] == [200, 200]
    for one in packed:  # one after the other: nothing is left taken
        assert await _status(await intake.say(*one, body=BOMB)) == 200


async def test_a_body_that_does_not_unpack_gives_its_room_back(intake: Intake) -> None:
    """Cut off, followed by something, no gzip, too large."""
    intake.go_on.set()
    too_large = gzip.compress(bytes(9 * MEBIBYTE))
    for _ in range(3):
        for body, status in ((BOMB[:-9], 400), (BOMB + b"x", 400), (b"x" * 99, 400), (too_large, 413)):
            said = await intake.say("/body", "X-Caller: lxc1", "Content-Encoding: gzip", body=body)
            assert await _status(said) == status
    assert await _status(await intake.say("/body", "X-Caller: lxc1", body=bytes(8 * MEBIBYTE))) == 200
    assert intake.kept == 8 * MEBIBYTE


async def test_a_body_that_comes_slowly_is_given_up(intake: Intake) -> None:
    """It may not take longer, however much has come."""
    intake.go_on.set()
    said = await intake.say("/body", "X-Caller: lxc1", body=bytes(1_000), length=1_001)
    assert await _status(said) == 408
    assert b"Connection: close" in await said[0].read()


async def test_thirty_two_forms_are_read_at_once(intake: Intake) -> None:
    """The thirty-third is refused at once; each that is slow is given up, and then there is room again."""
    slow = [await intake.say("/form", FORM, body=b"name=", length=9) for _ in range(32)]
    await asyncio.sleep(0.3)
    assert await _status(await intake.say("/form", FORM, body=b"name=ops")) == 429
    assert {await _status(talk) for talk in slow} == {408}
    assert await _status(await intake.say("/form", FORM, body=b"name=ops")) == 200
