"""The agent's own responder for http-01: a small HTTP/1.1 server that knows planted tokens and nothing else.

It serves the key authorizations of orders and the bodies of rehearsals alike, closes every connection (the CA must not
validate over an old one), and stays for as long as the agent runs.
"""

import asyncio
import hashlib

import msgspec

from certagent.config import split_endpoint
from certagent.domain.diagnosis.evidence import ResponderCheck
from certagent.domain.orders import Challenge
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import CHALLENGE_PATH, LONGEST_PLANTING_SECONDS, RehearsalRequest
from certagent.issuance.solvers.responder_server import CHECK_SECONDS, ORDER_SECONDS, ResponderServer
from certagent.system.http import FetchError, connect, fetch, reachable_form

LARGEST_REQUEST = 8 * 1024
REQUEST_SECONDS = 10.0


class _Planted(msgspec.Struct, frozen=True):
    body: bytes
    until: float


class Http01Responder(ResponderServer):
    """One responder. Use as an async context manager."""

    challenge_type = "http-01"

    def __init__(self, listen: str, clock: Clock) -> None:
        super().__init__(listen, clock)
        self._planted: dict[str, _Planted] = {}

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
        trouble = await self._ensure_listening()
        if trouble is not None:
            return ResponderCheck(listen=self.listen, answered=False, detail=trouble)
        host, port = split_endpoint(self.listen)
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                connection = await connect(reachable_form(host), port)
                reply = await fetch(connection, request.identifier, CHALLENGE_PATH + request.token, "certagent")
        except (OSError, FetchError) as error:
            return ResponderCheck(listen=self.listen, answered=False, detail=str(error) or "no answer in time")
        is_ours = hashlib.sha256(reply.body.strip()).hexdigest() == request.digest
        return ResponderCheck(listen=self.listen, answered=is_ours, detail="" if is_ours else f"status {reply.status}")

    def body_for(self, target: str) -> bytes | None:
        """What is served under a request's target now, if anything."""
        if not target.startswith(CHALLENGE_PATH):
            return None
        planted = self._planted.get(target.removeprefix(CHALLENGE_PATH).partition("?")[0])
        return planted.body if planted is not None and planted.until > self._clock.monotonic() else None

    def _connection(self) -> asyncio.Protocol:
        return _Connection(self)


class _Connection(asyncio.Protocol):
    """One request, one answer, closed."""

    def __init__(self, listener: Http01Responder) -> None:
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
