"""The agent's own responder for tls-alpn-01 (RFC 8737): presents challenge certificates, speaks no other protocol.

For one name there is one certificate at a time: an order's goes before a rehearsal's. Keys and certificates live in
memory; every connection ends with its handshake.
"""

import asyncio
import hashlib
import ssl

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certagent.config import split_endpoint
from certagent.domain.alpn_certificate import challenge_certificate, judge_certificate, server_name
from certagent.domain.diagnosis.evidence import ResponderCheck
from certagent.domain.orders import Challenge
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import ACME_TLS, LONGEST_PLANTING_SECONDS, RehearsalRequest
from certagent.issuance.solvers.responder_server import CHECK_SECONDS, ORDER_SECONDS, ResponderServer
from certagent.system import http
from certagent.system.http import reachable_form
from certagent.system.tls import NoProtocolError, served_certificate, serving

HANDSHAKE_SECONDS = 5.0


class _Planted(msgspec.Struct, frozen=True):
    """What is presented under one server name. `rank`: 0 for an order's, 1 for a rehearsal's."""

    rank: int
    server_name: str
    context: ssl.SSLContext
    until: float


class TlsAlpn01Responder(ResponderServer):
    """One responder. Use as an async context manager."""

    challenge_type = "tls-alpn-01"

    def __init__(self, listen: str, clock: Clock) -> None:
        super().__init__(listen, clock)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._planted: dict[str, _Planted] = {}
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_alpn_protocols([ACME_TLS])
        self._context.sni_callback = lambda connection, name, _: self._choose(connection, name)

    async def present(self, identifier: str, challenge: Challenge, key_authorization: str) -> None:
        """See `certagent.issuance.order.Solver`: visible as soon as it is planted."""
        self._plant(challenge.token, identifier, key_authorization, rank=0, seconds=ORDER_SECONDS)

    async def clean_up(self, identifier: str, challenge: Challenge) -> None:
        """See `certagent.issuance.order.Solver`."""
        del identifier
        self._planted.pop(challenge.token, None)

    async def show(self, request: RehearsalRequest, body: str) -> None:
        """Present the certificate of a rehearsal."""
        self._plant(request.token, request.identifier, body, rank=1, seconds=LONGEST_PLANTING_SECONDS)

    async def withdraw(self, request: RehearsalRequest) -> None:
        """Present it no longer."""
        self._planted.pop(request.token, None)

    async def answers(self, request: RehearsalRequest) -> ResponderCheck:
        """Whether this responder presents what was planted, asked over the network on this node."""
        check = ResponderCheck(listen=self.listen, answered=True, challenge=self.challenge_type)
        presented = self._presented(server_name(request.identifier))
        if presented is not None and presented.rank == 0:
            return msgspec.structs.replace(check, withheld="an order for that name is under way")
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
        return None if answer.is_good else "another certificate than the planted one is presented"

    def _plant(self, token: str, identifier: str, body: str, *, rank: int, seconds: float) -> None:
        certificate = challenge_certificate(identifier, hashlib.sha256(body.encode()).digest(), self._key)
        key_pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        context = serving(certificate.public_bytes(serialization.Encoding.PEM), key_pem, ACME_TLS)
        now = self._clock.monotonic()
        self._planted = {name: one for name, one in self._planted.items() if one.until > now}
        self._planted[token] = _Planted(rank, server_name(identifier), context, now + seconds)

    def _presented(self, name: str) -> _Planted | None:
        """What is presented under that name now: the order's, else the rehearsal's that came last."""
        now = self._clock.monotonic()
        planted = [one for one in self._planted.values() if one.server_name == name and one.until > now]
        return min(reversed(planted), key=lambda one: one.rank, default=None)

    def _choose(self, connection: ssl.SSLObject, name: str | None) -> int | None:
        presented = self._presented((name or "").lower())
        if presented is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = presented.context
        return None

    def _connection(self) -> asyncio.Protocol:
        return _Connection(self, self._context)


class _Connection(asyncio.Protocol):
    """Over as soon as the handshake is: the certificate was all there is to say. It is counted from its first packet,
    so that who keeps silent costs a bounded number of descriptors."""

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
