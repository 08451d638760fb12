"""The agent's own responder: planted tokens and nothing else."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from certagent.domain.rehearsals import CHALLENGE_PATH, RehearsalRequest, body_for
from certagent.issuance.solvers.listener import LARGEST_REQUEST, Listener
from certagent.world.clock import SystemClock
from certagent.world.http import Reply, connect, fetch
from tests.issuance.conftest import free_port


class TurnedClock(SystemClock):
    """Goes where it is told."""

    turned = 0.0

    def monotonic(self) -> float:
        """Only when told."""
        return self.turned


@pytest.fixture
def clock() -> TurnedClock:
    """A clock at 0."""
    return TurnedClock()


@pytest.fixture
async def listener(clock: TurnedClock) -> AsyncIterator[Listener]:
    """On some port of loopback."""
    async with Listener(f"127.0.0.1:{free_port()}", clock) as opened:
        yield opened


async def _get(listener: Listener, path: str) -> Reply:
    host, port = listener.listen.split(":")
    return await fetch(await connect(host, int(port)), "localhost", path, "test")


async def test_it_serves_what_is_planted_until_it_is_removed(listener: Listener) -> None:
    """Beside other tokens, under the challenge path only, and closes each connection."""
    listener.plant("one", "body of one", 60)
    listener.plant("two", "body of two", 60)
    reply = await _get(listener, CHALLENGE_PATH + "one")
    assert (reply.status, reply.body, reply.headers["connection"]) == (200, b"body of one", "close")
    assert (await _get(listener, CHALLENGE_PATH + "three")).status == 404
    assert (await _get(listener, "/one")).status == 404
    listener.remove("one")
    assert (await _get(listener, CHALLENGE_PATH + "one")).status == 404
    assert (await _get(listener, CHALLENGE_PATH + "two")).body == b"body of two"


async def test_what_is_planted_does_not_outlive_its_time(listener: Listener, clock: TurnedClock) -> None:
    """Even if nobody removes it."""
    listener.plant("one", "body", 60)
    clock.turned = 59.9
    assert (await _get(listener, CHALLENGE_PATH + "one")).status == 200
    clock.turned = 60.1
    assert (await _get(listener, CHALLENGE_PATH + "one")).status == 404


async def test_it_checks_itself_over_the_network(listener: Listener) -> None:
    """By what is planted, not by being there."""
    body = body_for("token")
    request = RehearsalRequest(
        identifier="traefik.internal", token="token", digest=hashlib.sha256(body.encode()).hexdigest()
    )
    check = await listener.answers(request)
    assert (check.answered, check.detail) == (False, "status 404")
    listener.plant("token", body, 60)
    assert (await listener.answers(request)).answered


async def test_a_taken_port_is_one_clear_sentence_and_is_tried_again(listener: Listener) -> None:
    """The finding says who cannot listen where; once the port is free, the next check is good."""
    body = body_for("token")
    request = RehearsalRequest(
        identifier="traefik.internal", token="token", digest=hashlib.sha256(body.encode()).hexdigest()
    )
    async with Listener(listener.listen, SystemClock()) as late:
        late.plant("token", body, 60)
        check = await late.answers(request)
        assert not check.answered
        assert f"cannot listen on {listener.listen}" in check.detail
        assert "address already in use" in check.detail
        await listener.__aexit__(None, None, None)
        assert (await late.answers(request)).answered


@pytest.mark.parametrize(
    ("request_bytes", "starts"),
    [
        (b"HEAD /.well-known/acme-challenge/one HTTP/1.1\r\n\r\n", b"HTTP/1.1 200"),
        (b"POST /.well-known/acme-challenge/one HTTP/1.1\r\n\r\n", b"HTTP/1.1 405"),
        (b"\r\n\r\n", b"HTTP/1.1 405"),
        (b"\xff\x16\x03\x01 \r\n\r\n", b"HTTP/1.1 405"),
        (b"x" * (LARGEST_REQUEST + 1), b""),
    ],
)
async def test_strange_requests_get_short_answers(listener: Listener, request_bytes: bytes, starts: bytes) -> None:
    """No body to HEAD, 405 to what is no GET, nothing at all to what does not end."""
    listener.plant("one", "body", 60)
    host, port = listener.listen.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_bytes)
    try:
        answer = await reader.read()
    except ConnectionResetError:
        answer = b""
    writer.close()
    assert answer.startswith(starts)
    assert b"body" not in answer
    assert bool(answer) == bool(starts)


async def test_it_ends_with_connections_open() -> None:
    """Somebody who says nothing does not keep the agent from stopping."""
    listener = Listener(f"127.0.0.1:{free_port()}", SystemClock())
    async with asyncio.timeout(5):
        async with listener:
            host, port = listener.listen.split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET ")
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
