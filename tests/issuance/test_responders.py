"""The agent's own responder: planted tokens and nothing else."""

import asyncio
import hashlib
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

import pytest

from certagent.agent.preflight import planted
from certagent.domain.rehearsals import CHALLENGE_PATH, RehearsalRequest, body_for
from certagent.issuance.solvers.responders import LARGEST_REQUEST, MOST_CONNECTIONS, Http01Responder
from certagent.system.clock import SystemClock
from certagent.system.http import Reply, connect, fetch
from tests.fakes.clock import FakeClock
from tests.ports import free_port


@pytest.fixture
def clock() -> FakeClock:
    """A clock at 0."""
    return FakeClock()


@pytest.fixture
async def listener(clock: FakeClock) -> AsyncIterator[Http01Responder]:
    """On some port of loopback."""
    async with Http01Responder(f"127.0.0.1:{free_port()}", clock) as opened:
        yield opened


async def _get(listener: Http01Responder, path: str) -> Reply:
    host, port = listener.listen.split(":")
    return await fetch(await connect(host, int(port)), "localhost", path, "test")


async def test_it_serves_what_is_planted_until_it_is_removed(listener: Http01Responder) -> None:
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


async def test_what_is_planted_does_not_outlive_its_time(listener: Http01Responder, clock: FakeClock) -> None:
    """Even if nobody removes it."""
    listener.plant("one", "body", 60)
    clock.move(timedelta(seconds=59.9))
    assert (await _get(listener, CHALLENGE_PATH + "one")).status == 200
    clock.move(timedelta(seconds=0.2))
    assert (await _get(listener, CHALLENGE_PATH + "one")).status == 404


async def test_it_checks_itself_over_the_network(listener: Http01Responder) -> None:
    """By what is planted, not by being there."""
    body = body_for("token", "secret")
    request = RehearsalRequest(
        identifier="traefik.internal", token="token", digest=hashlib.sha256(body.encode()).hexdigest()
    )
    check = await listener.answers(request)
    assert (check.answered, check.detail) == (False, "status 404")
    listener.plant("token", body, 60)
    assert (await listener.answers(request)).answered


async def test_a_taken_port_is_one_clear_sentence_and_is_tried_again(listener: Http01Responder) -> None:
    """The finding says who cannot listen where; once the port is free, the next check is good."""
    body = body_for("token", "secret")
    request = RehearsalRequest(
        identifier="traefik.internal", token="token", digest=hashlib.sha256(body.encode()).hexdigest()
    )
    async with Http01Responder(listener.listen, SystemClock()) as late:
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
async def test_strange_requests_get_short_answers(
    listener: Http01Responder, request_bytes: bytes, starts: bytes
) -> None:
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
    listener = Http01Responder(f"127.0.0.1:{free_port()}", SystemClock())
    async with asyncio.timeout(5):
        async with listener:
            host, port = listener.listen.split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET ")
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


async def _say(listener: Http01Responder, said: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = listener.listen.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(said)
    return reader, writer


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_who_keeps_silent_keeps_nobody_out(listener: Http01Responder) -> None:
    """Twice as many connections as are held, each with half a request: the CA's own is answered at once."""
    listener.plant("one", "body of one", 60)
    silent = [await _say(listener, b"GET /.well-known/") for _ in range(2 * MOST_CONNECTIONS)]
    assert (await _get(listener, CHALLENGE_PATH + "one")).body == b"body of one"
    for _, writer in silent:
        writer.transport.abort()


@pytest.mark.slow
async def test_10_000_connections_cost_a_bounded_number_of_descriptors(listener: Http01Responder) -> None:
    """From a program of its own, in rounds; afterwards the responder answers as before."""
    listener.plant("one", "body of one", 60)
    host, port = listener.listen.split(":")
    before, most = _descriptors(), 0
    flood = await asyncio.create_subprocess_exec(sys.executable, "-c", _FLOOD, host, port)
    ended = asyncio.create_task(flood.wait())
    async with asyncio.timeout(60):
        while not ended.done():
            most = max(most, _descriptors() - before)
            await asyncio.sleep(0.005)
    assert ended.result() == 0
    assert most < 2 * MOST_CONNECTIONS
    assert (await _get(listener, CHALLENGE_PATH + "one")).body == b"body of one"


_FLOOD = """
import contextlib, socket, struct, sys
held = []
for number in range(10_000):
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leave no port behind
    connection.setblocking(False)
    connection.connect_ex((sys.argv[1], int(sys.argv[2])))  # who is not let in at once is given up
    with contextlib.suppress(OSError):
        connection.send(b"GET / HTTP/1.1\\r\\nX: ")
    held.append(connection)
    if len(held) > 900:
        held.pop(0).close()
"""


@pytest.mark.parametrize(
    "path",
    [
        CHALLENGE_PATH + "../../etc/passwd",
        CHALLENGE_PATH + "x/../one",
        CHALLENGE_PATH + "%6fne",
        CHALLENGE_PATH + "one/",
        CHALLENGE_PATH + "ONE",
        CHALLENGE_PATH,
        "/.well-known/acme-challenge/../acme-challenge/one",
        "//.well-known/acme-challenge/one",
        "http://localhost" + CHALLENGE_PATH + "one",
        "/",
    ],
)
async def test_other_paths_and_others_tokens_get_the_same_answer(listener: Http01Responder, path: str) -> None:
    """Nothing tells a token that nearly is one from one that never was."""
    listener.plant("one", "body of one", 60)
    answer = await _get(listener, path)
    assert (answer.status, answer.body) == (404, b"no such token here\n")


async def test_what_a_rehearsal_plants_is_no_key_authorization(listener: Http01Responder) -> None:
    """Nothing of what is asked for from outside is ever in it: token and body are made here (decision 8), and the
    body's last part, which is never the same, is told to nobody."""
    async with planted(listener, "traefik.internal") as request:
        body = (await _get(listener, CHALLENGE_PATH + request.token)).body.decode()
    secret = body.removeprefix(request.token + ".certagent-rehearsal.")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", secret)
    assert secret not in repr(request)
    assert hashlib.sha256(body.encode()).hexdigest() == request.digest
    assert not re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}", body)  # token.thumbprint, RFC 8555 section 8.1
    assert (await _get(listener, CHALLENGE_PATH + request.token)).status == 404
