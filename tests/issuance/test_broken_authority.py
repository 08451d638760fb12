"""A CA that is there and does not work: 503 with Retry-After, 500, garbage, half an answer, nothing at all.

A server in front of the real step-ca breaks what passes through it, and then no longer does.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from certagent.domain.orders import Failed, Issued, PendingOrder
from certagent.issuance.acme_client import AcmeClient
from certagent.issuance.directory import check_directory
from certagent.issuance.mtls import MtlsRenewal
from certagent.issuance.order import AuthorityUnreachableError, CertificateRequest, OrderProcedure
from certagent.issuance.solvers.responders import Http01Responder
from certagent.system.clock import SystemClock
from tests.certificates import Authority as PrivateAuthority
from tests.fakes.stores import MemoryAccounts, MemoryOrders
from tests.fakes.tls_servers import context_of
from tests.issuance.conftest import StepCa

pytestmark = pytest.mark.slow

WANTED = CertificateRequest(identifiers=("localhost",), key_type="ecdsa-p256")

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 120\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops"
GARBAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\nConnection: close\r\n\r\n<html>not a CA</html>\r\n"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n{"


WITHOUT_A_PLACE = (
    b"""{"status": "pending", "identifiers": [], "authorizations": [], "finalize": "https://localhost/"}"""
)


def _answered(head: str, body: bytes) -> bytes:
    """With a nonce, as a CA would."""
    head = f"HTTP/1.1 {head}\r\nReplay-Nonce: bm9uY2U\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


class Front:
    """Stands before the CA on a port of its own, with a certificate of another root. `answer`: to every request whose
    path has `only` in it (None: handed on)."""

    def __init__(self, ca: StepCa, root: Path) -> None:
        self.answer: bytes | None = None
        self.only = ""
        self.asked = 0
        self.root = root
        self.port = 0
        self._ca = ca

    @property
    def directory(self) -> str:
        """Of the CA, through here."""
        return f"https://localhost:{self.port}/acme/acme/directory"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request by request."""
        context = ssl.create_default_context(cafile=str(self._ca.root))
        ahead = await asyncio.open_connection("localhost", self._ca.port, ssl=context, server_hostname="localhost")
        try:
            while True:
                await self._one(reader, writer, *ahead)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            ahead[1].transport.abort()
            writer.transport.abort()

    async def _one(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ahead: asyncio.StreamReader,
        to_ca: asyncio.StreamWriter,
    ) -> None:
        request = await _message(reader)
        path = request.split(b" ")[1].decode()
        if self.answer is not None and self.only in path:
            self.asked += 1
            writer.write(self.answer)
            await writer.drain()
            writer.write_eof() if writer.can_write_eof() else writer.close()
            raise ConnectionError
        to_ca.write(request)
        has_body = not request.startswith(b"HEAD")
        writer.write(await _message(ahead, has_body=has_body))
        await writer.drain()


async def _message(reader: asyncio.StreamReader, *, has_body: bool = True) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = [line.split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line]
    length = next((int(value) for name, value in lines if name.lower() == b"content-length"), 0)
    return head + (await reader.readexactly(length) if has_body else b"")


@asynccontextmanager
async def _standing(ca: StepCa, folder: Path) -> AsyncIterator[Front]:
    private = PrivateAuthority("In front")
    private.write_root(folder / "front.crt")
    front = Front(ca, folder / "front.crt")
    context = context_of(private.issue("localhost"))
    async with await asyncio.start_server(front.serve, "127.0.0.1", 0, ssl=context) as server:
        front.port = server.sockets[0].getsockname()[1]
        yield front


@pytest.fixture
async def front(step_ca: StepCa, tmp_path: Path) -> AsyncIterator[Front]:
    """In front of the shared CA."""
    async with _standing(step_ca, tmp_path) as standing:
        yield standing


@pytest.fixture
async def through(front: Front) -> AsyncIterator[AcmeClient]:
    """An account at the CA, through the front. Its directory follows the Host header, so all requests come here."""
    async with AcmeClient(front.directory, front.root, (), MemoryAccounts(), SystemClock()) as authority:
        yield authority


async def test_whole_it_issues(through: AcmeClient, listener: Http01Responder, orders: MemoryOrders) -> None:
    """The front itself is in nobody's way."""
    assert isinstance(await OrderProcedure(through, listener, orders, SystemClock()).obtain(WANTED), Issued)


async def test_a_busy_ca_says_when_to_come_back(
    front: Front, through: AcmeClient, listener: Http01Responder, orders: MemoryOrders
) -> None:
    """Two minutes are for the schedule, not for this order: asked once, and the wish is handed on."""
    orderer = OrderProcedure(through, listener, orders, SystemClock())
    front.answer, front.only = BUSY, "/new-order"
    failed = await orderer.obtain(WANTED)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.retry_after, front.asked) == ("acme.server_internal", timedelta(seconds=120), 1)
    front.answer = None
    assert isinstance(await orderer.obtain(WANTED), Issued)


class BreaksWhenSaved(MemoryOrders):
    """The front breaks when the order's place at the CA is known."""

    def __init__(self, front: Front) -> None:
        super().__init__()
        self._front = front

    def save_order(self, order: PendingOrder) -> None:
        """See `OrderStore`."""
        super().save_order(order)
        if order.url:
            self._front.answer = BROKEN


async def test_a_ca_that_breaks_in_the_middle_has_the_same_order_finished(
    front: Front, through: AcmeClient, listener: Http01Responder, step_ca: StepCa
) -> None:
    """500 to everything, from there on: tried for a moment, the order kept, and taken up when it works again."""
    orders = BreaksWhenSaved(front)
    orderer = OrderProcedure(through, listener, orders, SystemClock())
    placed, finalized = step_ca.count("new-order"), step_ca.count("finalize")
    failed = await orderer.obtain(WANTED)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.can_retry) == ("acme.server_internal", True)
    front.answer = None
    assert isinstance(await orderer.obtain(WANTED), Issued)
    assert (step_ca.count("new-order") - placed, step_ca.count("finalize") - finalized) == (1, 1)


@pytest.mark.parametrize(
    "answer",
    [GARBAGE, HALF, b"", _answered("201 Created", WITHOUT_A_PLACE), _answered("201 Created", b'{"status": "\xe9"}')],
    ids=["garbage", "half an answer", "nothing", "no Location", "no UTF-8"],
)
async def test_what_is_no_answer_is_no_refusal(
    front: Front, through: AcmeClient, listener: Http01Responder, orders: MemoryOrders, answer: bytes
) -> None:
    """An exception that says where; what was begun is kept, and the next try ends well."""
    orderer = OrderProcedure(through, listener, orders, SystemClock())
    front.answer, front.only = answer, "/new-order"
    with pytest.raises(AuthorityUnreachableError, match="localhost"):
        await orderer.obtain(WANTED)
    front.answer = None
    assert isinstance(await orderer.obtain(WANTED), Issued)


@pytest.mark.parametrize("said", [b'{"detail": "f\xfcr sp\xe4ter"}', b'{"subproblems": [' * 5000])
async def test_a_refusal_in_no_words_is_a_refusal(
    front: Front, through: AcmeClient, listener: Http01Responder, orders: MemoryOrders, said: bytes
) -> None:
    """A problem document that cannot be read is as good as none."""
    front.answer, front.only = _answered("403 Forbidden", said), "/new-order"
    failed = await OrderProcedure(through, listener, orders, SystemClock()).obtain(WANTED)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.problems[0].detail) == ("acme.failed", "HTTP 403 without a problem document")


@pytest.mark.parametrize("given", [b"<html>patience</html>", b"", b"not PEM \xff"])
async def test_something_else_than_the_certificate_loses_the_order(
    front: Front, through: AcmeClient, listener: Http01Responder, orders: MemoryOrders, given: bytes
) -> None:
    """It is not taken up again only to be given the same: the next attempt places another one."""
    front.answer, front.only = _answered("200 OK", given), "/certificate/"
    failed = await OrderProcedure(through, listener, orders, SystemClock()).obtain(WANTED)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.can_retry, orders.order) == ("acme.failed", False, None)
    assert "it did not return a valid certificate" in failed.problems[0].detail
    front.answer = None
    assert isinstance(await OrderProcedure(through, listener, orders, SystemClock()).obtain(WANTED), Issued)


@pytest.mark.parametrize(
    "given", [b'{"certChain": []}', b'{"certChain": ["<html>"]}', b'{"certChain": ["\xe9"]}', b"<html></html>"]
)
async def test_something_else_than_a_renewed_certificate_is_a_failure(front: Front, given: bytes) -> None:
    """By mTLS: by value, and in words; a refusal that is no UTF-8 is one, too."""
    current = PrivateAuthority().issue("localhost").generation()
    renewal = MtlsRenewal(front.directory, front.root, (), SystemClock())
    front.answer, front.only = _answered("201 Created", given), "/1.0/"
    failed = await renewal.renew(current, "ecdsa-p256")
    assert isinstance(failed, Failed)
    assert failed.code == "ca.unreachable"
    front.answer = _answered("401 Unauthorized", given)
    failed = await renewal.renew(current, "ecdsa-p256")
    assert isinstance(failed, Failed)
    assert (failed.code, failed.problems[0].detail) == ("renewal.forbidden", "HTTP 401: without a reason")


async def test_brackets_without_end_are_no_directory(front: Front) -> None:
    """Nor the end of the agent."""
    front.answer, front.only = _answered("200 OK", b"[" * 60_000), "/directory"
    checks = await check_directory(front.directory, front.root, ())
    assert {(check.error, check.status) for check in checks if check.address == "127.0.0.1"} == {("http_status", 200)}
