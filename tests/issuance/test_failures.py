"""What real servers in the CA's place do, and the code that it becomes."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from certagent.domain.diagnosis import conclude
from certagent.domain.findings import Finding
from certagent.domain.orders import Order, Status
from certagent.issuance.directory import check_directory
from certagent.issuance.failures import lost
from certagent.system.clock import SystemClock
from tests.certificates import Authority as PrivateAuthority
from tests.evidence import make_evidence
from tests.fakes.tls_servers import context_of

ANSWERS = {
    "ca.directory_missing": b"HTTP/1.0 404 Not Found\r\n\r\n",
    "ca.unhealthy": b"HTTP/1.0 503 Service Unavailable\r\n\r\n",
    "ca.leaf_expired": b"",
    "ca.untrusted": b"",
}


@pytest.mark.parametrize("code", ANSWERS)
async def test_what_is_wrong_with_the_ca_has_its_code(code: str, tmp_path: Path) -> None:
    """By a TLS server whose certificate, or whose answer, is such."""
    found = await _concluded(code, ANSWERS[code], tmp_path)
    assert code in found
    assert found[code].culprit is not None
    assert len(found.keys() & (ANSWERS.keys() | {"ca.unreachable"})) == 1


async def test_a_clock_is_read_off_the_answer(tmp_path: Path) -> None:
    """ca.clock_skew: from the Date of a directory that is good; a minute is forgiven."""
    directory = b'{"newNonce": "n", "newAccount": "a", "newOrder": "o"}'
    for seconds, is_said in ((-300, True), (0, False), (300, True)):
        date = (SystemClock().now() + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        answer = f"HTTP/1.0 200 OK\r\nDate: {date}\r\n\r\n".encode() + directory
        assert ("ca.clock_skew" in await _concluded("ca.clock_skew", answer, tmp_path)) is is_said


async def _concluded(code: str, answer: bytes, folder: Path) -> dict[str, Finding]:
    private, now = PrivateAuthority(), SystemClock().now()
    pinned = PrivateAuthority() if code == "ca.untrusted" else private
    pinned.write_root(folder / "root.crt")
    issued_at = now - timedelta(days=9) if code == "ca.leaf_expired" else now - timedelta(minutes=1)
    context = context_of(private.issue("localhost", "127.0.0.1", not_before=issued_at))

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        checks = await check_directory(f"https://127.0.0.1:{port}/directory", folder / "root.crt", ())
    return {finding.code: finding for finding in conclude(make_evidence(directory=tuple(checks)))}


def test_an_order_that_ends_without_a_reason() -> None:
    """acme.order_expired; with a reason it is the CA's own."""
    order = Order(status=Status.INVALID, identifiers=(), authorizations=(), finalize="f")
    assert lost(order).code == "acme.order_expired"
