"""Handshakes with real servers: what is served, whether it verifies, and why not."""

import asyncio
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes

from certagent.system.handshake import Handshake, probe
from tests.certificates import UNREADABLE_NAMES, Authority, Pair
from tests.fakes.tls_servers import tls_server


@pytest.fixture
def private() -> Authority:
    """The pinned root."""
    return Authority()


@pytest.fixture
def root(private: Authority, tmp_path: Path) -> Path:
    """Its file."""
    return private.write_root(tmp_path / "root.crt")


async def _look(pair: Pair, name: str, root: Path) -> Handshake:
    async with tls_server(pair) as server:
        host, port = server.endpoint.split(":")
        return await probe(host, int(port), name, root, 5)


async def test_a_good_certificate_is_verified(private: Authority, root: Path) -> None:
    """By name, and by address where that is what is asked for."""
    pair = private.issue("traefik.internal", "127.0.0.1")
    for name in ("traefik.internal", "127.0.0.1"):
        seen = await _look(pair, name, root)
        assert seen.is_verified
        assert seen.leaf is not None
        assert seen.leaf.identifiers == ("traefik.internal", "127.0.0.1")


@pytest.mark.parametrize(
    ("case", "distrust"), [("root", "untrusted"), ("name", "name_mismatch"), ("late", "expired"), ("early", "expired")]
)
async def test_a_bad_certificate_is_still_named(private: Authority, root: Path, case: str, distrust: str) -> None:
    """The second look is not verified, and says so."""
    now = datetime.now(UTC)
    pair = {
        "root": lambda: Authority().issue("traefik.internal"),
        "name": lambda: private.issue("other.internal"),
        "late": lambda: private.issue(
            "traefik.internal", not_before=now - timedelta(hours=2), lifetime=timedelta(1 / 24)
        ),
        "early": lambda: private.issue("traefik.internal", not_before=now + timedelta(hours=1)),
    }[case]()
    seen = await _look(pair, "traefik.internal", root)
    assert (seen.distrust, seen.is_verified, seen.error) == (distrust, False, None)
    assert seen.fingerprint is not None
    assert seen.detail


@pytest.mark.parametrize("names", UNREADABLE_NAMES)
async def test_what_cannot_be_read_is_another_certificate(private: Authority, root: Path, names: bytes) -> None:
    """Known by its fingerprint; it is for nobody."""
    pair = private.issue("traefik.internal", names_der=names)
    seen = await _look(pair, "traefik.internal", root)
    assert seen.leaf is not None
    assert (seen.error, seen.leaf.identifiers) == (None, ())
    assert seen.fingerprint == pair.certificate.fingerprint(hashes.SHA256()).hex()


async def test_every_failure_has_its_word(root: Path) -> None:
    """Nobody there, no route, no name, plain HTTP, hang-up, silence."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        seen = await probe("127.0.0.1", port, "a", root, 0.1)
        assert (seen.error, seen.leaf) == ("timeout", None)
    seen = await probe("127.0.0.1", port, "a", root, 5)
    assert (seen.error, seen.detail.split()[0]) == ("refused", "ECONNREFUSED")
    assert (await probe("name.invalid", 443, "a", root, 5)).error == "unresolved"

    async def talk_plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    for behave, error in ((talk_plainly, "tls"), (hang_up, "reset")):
        async with await asyncio.start_server(behave, "127.0.0.1", 0) as server:
            seen = await probe("127.0.0.1", server.sockets[0].getsockname()[1], "a", root, 5)
        assert seen.error == error


_AIOHTTP_TRUSTS = """
import ssl
from certagent.system.tls import without_system_trust
with without_system_trust():
    import aiohttp.connector
contexts = (aiohttp.connector._SSL_CONTEXT_VERIFIED, ssl.create_default_context())
print(*(context.cert_store_stats()["x509_ca"] for context in contexts))
"""


def test_without_the_systems_trust_only_what_is_made_meanwhile_trusts_nobody(root: Path) -> None:
    """A context that is made afterwards has it again; in a process of its own, for that import happens once."""
    script = [sys.executable, "-c", _AIOHTTP_TRUSTS]
    told = subprocess.run(script, env={**os.environ, "SSL_CERT_FILE": str(root)}, capture_output=True, check=True)
    assert told.stdout.split() == [b"0", b"1"]
