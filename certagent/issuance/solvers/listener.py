"""The agent's own responder for http-01: a small HTTP/1.1 server that knows planted tokens and nothing else.

It serves the key authorizations of orders and the bodies of rehearsals alike, closes every connection (the CA must not
validate over an old one), and stays for as long as the agent runs.
"""

import asyncio
import hashlib
import logging
from types import TracebackType
from typing import Self

import msgspec

from certagent.config import split_endpoint
from certagent.domain.conclusions.evidence import ResponderCheck
from certagent.domain.orders import Challenge
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import CHALLENGE_PATH, LONGEST_PLANTING_SECONDS, RehearsalRequest, body_for
from certagent.world.addresses import reachable_form
from certagent.world.http import FetchError, connect, fetch

log = logging.getLogger(__name__)

LARGEST_REQUEST = 8 * 1024
REQUEST_SECONDS = 10.0
CHECK_SECONDS = 2.0
ORDER_SECONDS = 600.0
MOST_CONNECTIONS = 256


class _Planted(msgspec.Struct, frozen=True):
    body: bytes
    until: float


class Listener:
    """One responder. Use as an async context manager.

    A port that is taken (or not allowed, or at an address that is not this node's) stops nobody from working: it is
    tried again at each check, and the check says why.
    """

    challenge_type = "http-01"
    rehearsed = staticmethod(body_for)

    def __init__(self, listen: str, clock: Clock) -> None:
        self.listen = listen
        self._clock = clock
        self._planted: dict[str, _Planted] = {}
        self._open: dict[asyncio.Transport, None] = {}
        self._server: asyncio.Server | None = None
        self._trouble: str | None = None

    async def __aenter__(self) -> Self:
        self._trouble = await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            for transport in tuple(self._open):
                transport.abort()
            await self._server.wait_closed()

    def plant(self, token: str, body: str, seconds: float) -> None:
        """Serve `body` for `token`, for that long at most."""
        now = self._clock.monotonic()
        self._planted = {name: planted for name, planted in self._planted.items() if planted.until > now}
        self._planted[token] = _Planted(body.encode(), now + seconds)

    def remove(self, token: str) -> None:
        """Serve it no longer."""
        self._planted.pop(token, None)

    async def present(self, identifier: str, challenge: Challenge, key_authorization: str) -> None:
        """See `certagent.issuance.order.Solver`: visible as soon as it is planted, under whatever name."""
        del identifier
        self.plant(challenge.token, key_authorization, ORDER_SECONDS)

    async def clean_up(self, identifier: str, challenge: Challenge) -> None:
        """See `certagent.issuance.order.Solver`."""
        del identifier
        self.remove(challenge.token)

    async def show(self, request: RehearsalRequest, body: str) -> None:
        """Serve the body of a rehearsal."""
        self.plant(request.token, body, LONGEST_PLANTING_SECONDS)

    async def withdraw(self, request: RehearsalRequest) -> None:
        """Serve it no longer."""
        self.remove(request.token)

    async def answers(self, request: RehearsalRequest) -> ResponderCheck:
        """Whether this responder serves what was planted, asked over the network on this node."""
        if self._server is None:
            self._trouble = await self._listen()
        if self._trouble is not None:
            return ResponderCheck(listen=self.listen, answered=False, detail=self._trouble)
        host, port = split_endpoint(self.listen)
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                connection = await connect(reachable_form(host), port)
                reply = await fetch(connection, request.identifier, CHALLENGE_PATH + request.token, "certagent")
        except (OSError, FetchError) as error:
            return ResponderCheck(listen=self.listen, answered=False, detail=str(error) or "no answer in time")
        is_ours = hashlib.sha256(reply.body.strip()).hexdigest() == request.digest
        return ResponderCheck(listen=self.listen, answered=is_ours, detail="" if is_ours else f"status {reply.status}")

    async def _listen(self) -> str | None:
        """Listen; or why that cannot be."""
        host, port = split_endpoint(self.listen)
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: _Connection(self), host, port)
        except OSError as error:
            trouble = f"the responder cannot listen on {self.listen}: {error.strerror or error}"
            log.error("%s", trouble)
            return trouble
        log.info("the responder listens on %s", self.listen)
        return None

    def body_for(self, target: str) -> bytes | None:
        """What is served under a request's target now, if anything."""
        if not target.startswith(CHALLENGE_PATH):
            return None
        planted = self._planted.get(target.removeprefix(CHALLENGE_PATH).partition("?")[0])
        return planted.body if planted is not None and planted.until > self._clock.monotonic() else None

    def admit(self, transport: asyncio.Transport) -> None:
        """One more connection: where there are too many, the one that has said nothing for longest goes. So nobody
        keeps the CA out by keeping silent."""
        self._open[transport] = None
        if len(self._open) > MOST_CONNECTIONS:
            oldest = next(iter(self._open))
            self.forget(oldest)
            oldest.abort()

    def forget(self, transport: asyncio.Transport) -> None:
        """That connection is gone."""
        self._open.pop(transport, None)


class _Connection(asyncio.Protocol):
    """One request, one answer, closed."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 # a TCP server's always is
        self._transport = transport
        self._listener.admit(transport)
        self._deadline = asyncio.get_running_loop().call_later(REQUEST_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._received += data
        if b"\r\n\r\n" in self._received:
            self._transport.write(self._answer())
            self._transport.close()
        elif len(self._received) > LARGEST_REQUEST:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._transport is not None:
            self._listener.forget(self._transport)

    def _answer(self) -> bytes:
        method, _, rest = self._received.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        if method not in ("GET", "HEAD"):
            return _response("405 Method Not Allowed", b"", method)
        body = self._listener.body_for(rest.partition(" ")[0])
        if body is None:
            return _response("404 Not Found", b"no such token here\n", method)
        return _response("200 OK", body, method)


def _response(status: str, body: bytes, method: str) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nServer: certagent\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else body)
