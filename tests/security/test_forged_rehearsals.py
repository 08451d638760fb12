"""A wrong line leads the CA to a hostile box, which knows all that is public of a rehearsal and is asked for it."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from certagent.agent.preflight import planted, unplanted
from certagent.domain.rehearsals import BODY_SUFFIX, Origin, RehearsalOutcome, RehearsalRequest, ResolvedAddress
from certagent.domain.resolution.go import Lookup
from certagent.issuance.solvers.responders import Http01Responder
from certagent.system.clock import SystemClock
from certagent.vantage.authority_vantage import judge
from certagent.vantage.dialer import Dialer
from certagent.vantage.http01_probe import FetchOptions, Http01Probe
from certagent.vantage.rehearsal_limits import RehearsalLimits
from tests.ports import free_port

NAME = "traefik.internal.thinkheads.ai"
LIMITS = RehearsalLimits(allow=("*.internal.thinkheads.ai",), may_connect=lambda _address: True)

Answer = Callable[[bytes], Awaitable[bytes]]


@pytest.fixture
async def listener() -> AsyncIterator[Http01Responder]:
    """The responder of the node whose name it is."""
    async with Http01Responder(f"127.0.0.1:{free_port()}", SystemClock()) as responder:
        yield responder


@asynccontextmanager
async def _box(answer: Answer) -> AsyncIterator[int]:
    """The port of a server that answers one request as it likes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await answer(await reader.readuntil(b"\r\n\r\n")))
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])


async def _rehearse(request: RehearsalRequest, port: int) -> RehearsalOutcome:
    """As the agent beside the CA does, when the name leads it to that port."""
    assert LIMITS.objection(request) is None
    found = ResolvedAddress(address="127.0.0.1", origin=Origin(source="hosts", file="/etc/hosts", line=7))
    lookup = Lookup(name=NAME, order=("files", "dns"), addresses=(found,))

    async def look_up(_name: str) -> Lookup:
        return lookup

    probe = Http01Probe(look_up, LIMITS, Dialer(LIMITS.may_connect), timedelta(seconds=10))
    return judge(await probe.attempts(request, lookup, FetchOptions(port)))[0]


def _ok(body: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def _guesses(token: str, digest: str) -> dict[str, str]:
    """What can be made of what is public: how earlier bodies were made, and what the request says."""
    coded = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).decode().rstrip("=")
    return {
        "without a secret": token + BODY_SUFFIX,
        "an empty one": f"{token}{BODY_SUFFIX}.",
        "the token's own digest": f"{token}{BODY_SUFFIX}.{coded}",
        "the digest": digest,
        "the body's digest in its place": f"{token}{BODY_SUFFIX}.{digest}",
        "the token": token,
    }


@pytest.mark.parametrize("guess", _guesses("", ""))
async def test_who_knows_all_that_is_public_does_not_pass(listener: Http01Responder, guess: str) -> None:
    """Token, suffix and even the digest: the line stays wrong, and the rehearsal says so."""
    async with planted(listener, NAME) as request:

        async def forge(said: bytes) -> bytes:
            token = said.split()[1].decode().rpartition("/")[2]
            return _ok(_guesses(token, request.digest)[guess])

        async with _box(forge) as port:
            assert await _rehearse(request, port) is RehearsalOutcome.FAILED


async def test_who_passes_the_question_on_passes_as_with_the_ca(listener: Http01Responder) -> None:
    """A proxy in between is a way to the node: an order would be answered over it, too."""
    host, real_port = listener.listen.split(":")

    async def relay(said: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(host, int(real_port))
        writer.write(said)
        answer = await reader.read()
        writer.close()
        return answer

    async with planted(listener, NAME) as request:
        assert await _rehearse(request, int(real_port)) is RehearsalOutcome.PASSED
        async with _box(relay) as port:
            assert await _rehearse(request, port) is RehearsalOutcome.PASSED


async def test_an_answer_that_was_seen_does_not_pass_again(listener: Http01Responder) -> None:
    """Each rehearsal has a secret of its own."""
    async with planted(listener, NAME) as request:
        seen = listener.body_for(f"/.well-known/acme-challenge/{request.token}")
        assert seen is not None
    async with planted(listener, NAME) as request:
        secret = seen.decode().rpartition(".")[2]

        async def repeat(_said: bytes) -> bytes:
            return _ok(f"{request.token}{BODY_SUFFIX}.{secret}")

        async with _box(repeat) as port:
            assert await _rehearse(request, port) is RehearsalOutcome.FAILED


async def test_where_nothing_is_planted_nothing_matches() -> None:
    """Nor does the older form of a body, which such a request named before."""
    request = unplanted(NAME, "http-01")

    async def forge(_said: bytes) -> bytes:
        return _ok(request.token + BODY_SUFFIX)

    async with _box(forge) as port:
        assert await _rehearse(request, port) is RehearsalOutcome.FAILED
