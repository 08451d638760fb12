"""The agent's own responders. Each has a port, which another program may occupy, and a bounded number of connections.
They run as long as the agent does, and serve the challenges of orders and rehearsals alike.

http-01: a small HTTP/1.1 server that knows only planted tokens, and closes every connection (the CA must not validate
over an old one). tls-alpn-01 (RFC 8737): challenge certificates and no other protocol; one certificate at a time for a
name, an order's before a rehearsal's. Keys and certificates are held in memory; every connection ends with its
handshake.
"""

import asyncio
import hashlib
import logging
import ssl
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certagent.config import split_endpoint
from certagent.domain.alpn_certificate import challenge_certificate, judge_certificate, server_name
from certagent.domain.diagnosis.evidence import ResponderCheck
from certagent.domain.orders import Challenge
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import ACME_TLS, CHALLENGE_PATH, LONGEST_PLANTING_SECONDS, RehearsalRequest, body_for
from certagent.system import http
from certagent.system.http import FetchError, connect, fetch
from certagent.system.socket_addresses import reachable_form
from certagent.system.tls import NoProtocolError, served_certificate, serving

log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
ORDER_SECONDS = 600.0
MOST_CONNECTIONS = 256


class ResponderServer(ABC):
    """A responder that listens on `listen` (address:port). Use as an async context manager.

    A port that is in use (or not permitted, or on an address that this node does not have) does not stop the agent:
    each check tries it again and reports why it cannot be opened.
    """

    challenge_type: str
    rehearsed = staticmethod(body_for)

    def __init__(self, listen: str, clock: Clock) -> None:
        self.listen = listen
        self._clock = clock
        self._open: dict[asyncio.Transport, asyncio.Task[None] | None] = {}
        self._server: asyncio.Server | None = None
        self._trouble: str | None = None

    async def __aenter__(self) -> Self:
        await self._ensure_listening()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            for transport in tuple(self._open):
                transport.abort()
            await asyncio.gather(*filter(None, self._open.values()), return_exceptions=True)
            await self._server.wait_closed()

    def admit(self, transport: asyncio.Transport, serving: asyncio.Task[None] | None = None) -> None:
        """Accept one more connection, with the task that serves it. If there are too many, the one that has been
        silent for longest is closed, so that silent connections cannot keep the CA out."""
        self._open[transport] = serving
        if len(self._open) > MOST_CONNECTIONS:
            oldest = next(iter(self._open))
            self.forget(oldest)
            oldest.abort()

    def forget(self, transport: asyncio.Transport) -> None:
        """Remove a connection that has ended."""
        self._open.pop(transport, None)

    @abstractmethod
    def _connection(self) -> asyncio.Protocol:
        """Return the protocol that serves one connection."""

    async def _ensure_listening(self) -> str | None:
        """Listen, if the responder does not yet; return why that is impossible."""
        if self._server is None:
            self._trouble = await self._listen()
        return self._trouble

    async def _listen(self) -> str | None:
        host, port = split_endpoint(self.listen)
        try:
            self._server = await asyncio.get_running_loop().create_server(self._connection, host, port)
        except OSError as error:
            trouble = f"the responder cannot listen on {self.listen}: {error.strerror or error}"
            log.error("%s", trouble)
            return trouble
        log.info("the responder for %s listens on %s", self.challenge_type, self.listen)
        return None


LARGEST_REQUEST = 8 * 1024
REQUEST_SECONDS = 10.0


class _PlantedBody(msgspec.Struct, frozen=True):
    body: bytes
    until: float


class Http01Responder(ResponderServer):
    """Answers http-01 challenges. Use as an async context manager."""

    challenge_type = "http-01"

    def __init__(self, listen: str, clock: Clock) -> None:
        super().__init__(listen, clock)
        self._planted: dict[str, _PlantedBody] = {}

    def plant(self, token: str, body: str, seconds: float) -> None:
        """Serve `body` for `token`, for `seconds` at most."""
        now = self._clock.monotonic()
        self._planted = {name: planted for name, planted in self._planted.items() if planted.until > now}
        self._planted[token] = _PlantedBody(body.encode(), now + seconds)

    def remove(self, token: str) -> None:
        """Stop serving the token."""
        self._planted.pop(token, None)

    async def present(self, identifier: str, challenge: Challenge, key_authorization: str) -> None:
        """See `certagent.issuance.order.Solver`: the answer is visible as soon as it is planted, for any name."""
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
        """Stop serving the body of a rehearsal."""
        self.remove(request.token)

    async def answers(self, request: RehearsalRequest) -> ResponderCheck:
        """Return whether this responder serves the planted token, by a request over the network on this node."""
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
        """Return the body that is served for a request target now, if there is one."""
        if not target.startswith(CHALLENGE_PATH):
            return None
        planted = self._planted.get(target.removeprefix(CHALLENGE_PATH).partition("?")[0])
        return planted.body if planted is not None and planted.until > self._clock.monotonic() else None

    def _connection(self) -> asyncio.Protocol:
        return _HttpConnection(self)


class _HttpConnection(asyncio.Protocol):
    """A connection that carries one request and one response, and is then closed."""

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


HANDSHAKE_SECONDS = 5.0


class _PlantedCertificate(msgspec.Struct, frozen=True):
    """The certificate that is presented for one server name. `rank`: 0 for an order's, 1 for a rehearsal's."""

    rank: int
    server_name: str
    context: ssl.SSLContext
    until: float


class TlsAlpn01Responder(ResponderServer):
    """Answers tls-alpn-01 challenges. Use as an async context manager."""

    challenge_type = "tls-alpn-01"

    def __init__(self, listen: str, clock: Clock) -> None:
        super().__init__(listen, clock)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._planted: dict[str, _PlantedCertificate] = {}
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_alpn_protocols([ACME_TLS])
        self._context.sni_callback = lambda connection, name, _: self._choose(connection, name)

    async def present(self, identifier: str, challenge: Challenge, key_authorization: str) -> None:
        """See `certagent.issuance.order.Solver`: the certificate is visible as soon as it is planted."""
        self._plant(challenge.token, identifier, key_authorization, rank=0, seconds=ORDER_SECONDS)

    async def clean_up(self, identifier: str, challenge: Challenge) -> None:
        """See `certagent.issuance.order.Solver`."""
        del identifier
        self._planted.pop(challenge.token, None)

    async def show(self, request: RehearsalRequest, body: str) -> None:
        """Present the certificate of a rehearsal."""
        self._plant(request.token, request.identifier, body, rank=1, seconds=LONGEST_PLANTING_SECONDS)

    async def withdraw(self, request: RehearsalRequest) -> None:
        """Stop presenting the certificate of a rehearsal."""
        self._planted.pop(request.token, None)

    async def answers(self, request: RehearsalRequest) -> ResponderCheck:
        """Return whether this responder presents the planted certificate, by a handshake over the network on this
        node."""
        check = ResponderCheck(listen=self.listen, answered=True, challenge=self.challenge_type)
        presented = self._presented(server_name(request.identifier))
        if presented is not None and presented.rank == 0:
            return msgspec.structs.replace(check, withheld="an order for that name is already in progress")
        trouble = await self._ensure_listening() or await self._look(request)
        return check if trouble is None else msgspec.structs.replace(check, answered=False, detail=trouble)

    async def _look(self, request: RehearsalRequest) -> str | None:
        host, port = split_endpoint(self.listen)
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                connection = await http.connect(reachable_form(host), port)
                protocol, der = await served_certificate(connection, server_name(request.identifier), ACME_TLS)
        except (OSError, NoProtocolError) as error:
            return str(error) or "no handshake in time"
        answer = judge_certificate(protocol, der, request.identifier, bytes.fromhex(request.digest))
        return None if answer.is_good else "a certificate other than the planted one is presented"

    def _plant(self, token: str, identifier: str, body: str, *, rank: int, seconds: float) -> None:
        certificate = challenge_certificate(identifier, hashlib.sha256(body.encode()).digest(), self._key)
        key_pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        context = serving(certificate.public_bytes(serialization.Encoding.PEM), key_pem, ACME_TLS)
        now = self._clock.monotonic()
        self._planted = {name: certificate for name, certificate in self._planted.items() if certificate.until > now}
        self._planted[token] = _PlantedCertificate(rank, server_name(identifier), context, now + seconds)

    def _presented(self, name: str) -> _PlantedCertificate | None:
        """Return the certificate that is presented for that name now: the order's, or else that of the latest
        rehearsal."""
        now = self._clock.monotonic()
        planted = [held for held in self._planted.values() if held.server_name == name and held.until > now]
        return min(reversed(planted), key=lambda certificate: certificate.rank, default=None)

    def _choose(self, connection: ssl.SSLObject, name: str | None) -> int | None:
        presented = self._presented((name or "").lower())
        if presented is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = presented.context
        return None

    def _connection(self) -> asyncio.Protocol:
        return _TlsConnection(self, self._context)


class _TlsConnection(asyncio.Protocol):
    """A connection that ends with its handshake, since it only shows the certificate. It is counted from its first
    packet, so that silent clients cost a bounded number of descriptors."""

    def __init__(self, listener: TlsAlpn01Responder, context: ssl.SSLContext) -> None:
        self._listener = listener
        self._context = context

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 # a TCP server's always is
        shaking = asyncio.get_running_loop().create_task(self._shake_hands(transport), name="tls-alpn-01 handshake")
        self._listener.admit(transport, shaking)

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(
                transport, self, self._context, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
            if secured is not None:
                secured.close()
        except OSError:
            transport.abort()
        finally:
            self._listener.forget(transport)
