"""tls-alpn-01 with the real CA: what the rehearsal says before is what the CA does, and an order comes through."""

import asyncio
import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest
from cryptography import x509

from certagent.agent.preflight import planted
from certagent.domain.alpn_certificate import ACME_IDENTIFIER, OBSOLETE_IDENTIFIER
from certagent.domain.orders import Challenge, Failed, Issued, Status
from certagent.domain.rehearsals import ACME_TLS, Attempt, Origin, RehearsalRequest, ResolvedAddress, body_for
from certagent.domain.resolution.go import Lookup
from certagent.issuance.acme_client import AcmeClient
from certagent.issuance.order import CertificateRequest, OrderProcedure
from certagent.issuance.solvers.responders import MOST_CONNECTIONS, TlsAlpn01Responder
from certagent.system.clock import SystemClock
from certagent.system.tls import serving
from certagent.vantage.dialer import Dialer
from certagent.vantage.tls_alpn01_probe import TlsAlpn01Probe
from tests.certificates import Extension, dns_names, self_signed
from tests.fakes.clock import FakeClock
from tests.fakes.stores import MemoryOrders
from tests.issuance.conftest import StepCa
from tests.ports import free_port

NAME = "localhost"
TOKEN = "t" * 43
DIGEST = hashlib.sha256(body_for(TOKEN, "secret").encode()).digest()
REQUEST = RehearsalRequest(identifier=NAME, challenge="tls-alpn-01", token=TOKEN, digest=DIGEST.hex())
WANTED = CertificateRequest(identifiers=(NAME,), key_type="ecdsa-p256")

MakeContext = Callable[[bytes], ssl.SSLContext]
"""A server's context for the digest that a challenge wants."""


async def _rehearse(port: int, request: RehearsalRequest = REQUEST, *addresses: str) -> Attempt:
    """The attempt that decides; `localhost` leads to loopback, where a CA may look in these tests."""
    found = tuple(ResolvedAddress(address=one, origin=Origin(source="literal")) for one in addresses or ("127.0.0.1",))
    lookup = Lookup(name=request.identifier, order=("files",), addresses=found)
    dialer = Dialer(lambda _address: True, is_silence_final=False)
    return (await TlsAlpn01Probe(dialer).attempts(request, lookup, port))[-1]


def _pair(*names: str, extension: Extension | None = None) -> tuple[bytes, bytes]:
    """(certificate, key), self-signed, PEM."""
    pair = self_signed((dns_names(*names), True), *((extension,) if extension is not None else ()))
    return pair.chain_pem, pair.key_pem


def _serving(*names: str, prefix: bytes = b"\x04\x20", oid: x509.ObjectIdentifier | None = ACME_IDENTIFIER,
             critical: bool = True, protocol: str = ACME_TLS) -> MakeContext:  # fmt: skip
    def make(digest: bytes) -> ssl.SSLContext:
        extension = (x509.UnrecognizedExtension(oid, prefix + digest), critical) if oid is not None else None
        return serving(*_pair(*names, extension=extension), protocol)

    return make


def _of_another(*names: str) -> MakeContext:
    return lambda _digest: _serving(*names)(b"\xff" * 32)


def _without_protocol(_digest: bytes) -> ssl.SSLContext:
    """What terminates TLS and knows nothing of ALPN."""
    certificate, key = _pair(NAME)
    context = serving(certificate, key, ACME_TLS)
    context.set_alpn_protocols([])
    return context


CASES: dict[str, tuple[MakeContext, tuple[str | None, bool, str]]] = {
    "as it should be": (_serving(NAME), (ACME_TLS, True, "ours")),
    "in capitals": (_serving(NAME.upper()), (ACME_TLS, True, "ours")),
    "an ordinary certificate": (_serving(NAME, oid=None), (ACME_TLS, True, "absent")),
    "a default certificate": (_serving("traefik.default", oid=None), (ACME_TLS, False, "absent")),
    "another challenge's": (_of_another(NAME), (ACME_TLS, True, "other")),
    "one more name": (_serving(NAME, "more.internal"), (ACME_TLS, False, "ours")),
    "not critical": (_serving(NAME, critical=False), (ACME_TLS, True, "not_critical")),
    "without its octets": (_serving(NAME, prefix=b""), (ACME_TLS, True, "malformed")),
    "of the drafts": (_serving(NAME, oid=OBSOLETE_IDENTIFIER), (ACME_TLS, True, "obsolete")),
    "no protocol": (_without_protocol, (None, True, "absent")),
}


@asynccontextmanager
async def _server(port: int, context: ssl.SSLContext) -> AsyncIterator[None]:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", port, ssl=context)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


class Presenting:
    """A solver that presents what a case makes of the digest."""

    challenge_type = "tls-alpn-01"

    def __init__(self, port: int, make: MakeContext) -> None:
        self._port = port
        self._make = make
        self._running: list[asyncio.Server] = []

    async def present(self, identifier: str, challenge: Challenge, key_authorization: str) -> None:
        """See `Solver`."""
        context = self._make(hashlib.sha256(key_authorization.encode()).digest())
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", self._port, ssl=context)
        self._running.append(server)

    async def clean_up(self, identifier: str, challenge: Challenge) -> None:
        """See `Solver`."""
        for server in self._running:
            server.close()


@pytest.mark.parametrize("case", CASES)
async def test_the_rehearsal_says_what_the_ca_does(
    case: str, authority: AcmeClient, orders: MemoryOrders, step_ca: StepCa
) -> None:
    """The same certificate, once with the rehearsal's digest and once with the order's."""
    make, expected = CASES[case]
    async with _server(step_ca.tls_port, make(DIGEST)):
        attempt = await _rehearse(step_ca.tls_port)
    answer = attempt.hops[0].alpn
    assert answer is not None
    assert (answer.protocol, answer.is_alone, answer.extension) == expected
    outcome = await OrderProcedure(authority, Presenting(step_ca.tls_port, make), orders, SystemClock()).obtain(WANTED)
    assert isinstance(outcome, Issued) is attempt.matched


async def test_who_ends_the_handshake_is_named(step_ca: StepCa) -> None:
    """A Go server (the CA itself) that has other protocols answers with the alert of RFC 7301; its names are told."""
    attempt = await _rehearse(step_ca.port)
    hop = attempt.hops[0]
    assert (hop.error, attempt.matched) == ("no_protocol", False)
    assert NAME in hop.certificate_names


async def test_nobody_there_and_plain_http_there(step_ca: StepCa) -> None:
    """No TLS is no handshake; no listener is refused."""
    assert (await _rehearse(step_ca.tls_port)).hops[0].error == "refused"

    async def shout(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", step_ca.tls_port)
    hop = (await _rehearse(step_ca.tls_port)).hops[0]
    server.close()
    assert (hop.error, hop.alpn) == ("tls", None)


async def test_an_order_comes_through(authority: AcmeClient, orders: MemoryOrders, step_ca: StepCa) -> None:
    """A name and an address (RFC 8738), by the agent's own responder."""
    wanted = CertificateRequest(identifiers=(NAME, "127.0.0.1"), key_type="ecdsa-p256")
    async with TlsAlpn01Responder(f"127.0.0.1:{step_ca.tls_port}", SystemClock()) as responder:
        outcome = await OrderProcedure(authority, responder, orders, SystemClock()).obtain(wanted)
        assert isinstance(outcome, Issued)
        assert (await _rehearse(step_ca.tls_port)).hops[0].error == "reset"  # nothing is presented any more


async def test_a_wrong_answer_is_final(authority: AcmeClient, orders: MemoryOrders, step_ca: StepCa) -> None:
    """The order is lost, and the CA's own words are kept."""
    outcome = await OrderProcedure(
        authority, Presenting(step_ca.tls_port, _of_another(NAME)), orders, SystemClock()
    ).obtain(WANTED)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.can_retry) == ("acme.mismatch_final", False)


@pytest.mark.parametrize("identifier", [NAME, "127.0.0.1"])
async def test_what_is_planted_passes_the_rehearsal(identifier: str, step_ca: StepCa) -> None:
    """From planting to the handshake beside the CA, and gone afterwards."""
    async with TlsAlpn01Responder(f"127.0.0.1:{step_ca.tls_port}", SystemClock()) as responder:
        async with planted(responder, identifier) as request:
            check = await responder.answers(request)
            assert (check.answered, check.challenge, check.withheld) == (True, "tls-alpn-01", "")
            assert (await _rehearse(step_ca.tls_port, request)).matched
        hop = (await _rehearse(step_ca.tls_port, request)).hops[0]
        assert (hop.error, hop.alpn) == ("reset", None)


async def test_an_order_goes_before_a_rehearsal(step_ca: StepCa) -> None:
    """A rehearsal in the middle of an order must not take its certificate away: there the CA's no is final."""
    challenge = Challenge(type="tls-alpn-01", url="", status=Status.PENDING, token="order")
    async with TlsAlpn01Responder(f"127.0.0.1:{step_ca.tls_port}", SystemClock()) as responder:
        await responder.present(NAME, challenge, "order.thumbprint")
        async with planted(responder, NAME) as request:
            assert (await responder.answers(request)).withheld == "an order for that name is already in progress"
            answer = (await _rehearse(step_ca.tls_port, request)).hops[0].alpn
            assert answer is not None
            assert answer.extension == "other"
            await responder.clean_up(NAME, challenge)
            assert (await _rehearse(step_ca.tls_port, request)).matched


async def test_what_was_planted_is_forgotten_in_time(step_ca: StepCa) -> None:
    """A rehearsal's certificate lives for a minute at most, whoever forgets to withdraw it."""
    clock = FakeClock()
    async with TlsAlpn01Responder(f"127.0.0.1:{step_ca.tls_port}", clock) as responder:
        await responder.show(REQUEST, body_for(TOKEN, "secret"))
        assert (await _rehearse(step_ca.tls_port)).matched
        clock.move(timedelta(seconds=61))
        assert (await _rehearse(step_ca.tls_port)).hops[0].error == "reset"


async def test_a_port_that_is_taken_is_said_and_tried_again(step_ca: StepCa) -> None:
    """The agent works on; the check says why, and finds the port free later."""
    taken = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", step_ca.tls_port)
    async with TlsAlpn01Responder(f"127.0.0.1:{step_ca.tls_port}", SystemClock()) as responder:
        await responder.show(REQUEST, body_for(TOKEN, "secret"))
        check = await responder.answers(REQUEST)
        assert (check.answered, "address already in use" in check.detail.lower()) == (False, True)
        taken.close()
        await taken.wait_closed()
        assert (await responder.answers(REQUEST)).answered


async def test_who_keeps_silent_keeps_nobody_out() -> None:
    """Twice as many connections as are held, none of which shakes hands: a bounded number of descriptors, and the
    CA's own is answered at once."""
    async with TlsAlpn01Responder(f"127.0.0.1:{free_port()}", SystemClock()) as listener, AsyncExitStack() as stack:
        host, port = listener.listen.split(":")
        before = len(os.listdir("/proc/self/fd"))
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(2 * MOST_CONNECTIONS)]
        for _, writer in silent:
            stack.callback(writer.transport.abort)
        async with asyncio.timeout(10):
            async with planted(listener, NAME) as request:
                assert (await _rehearse(int(port), request)).matched
        ours = len(os.listdir("/proc/self/fd")) - before - len(silent)
        assert ours < MOST_CONNECTIONS + 50
