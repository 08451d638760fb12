"""The PROXY protocol before TLS: named balancers are believed and have to speak it, nobody else is."""

import asyncio
import ipaddress
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from certagent.collector.proxy_protocol import HeaderMissing, read_client
from certagent.config import ConfigurationError, load_collector
from tests.collector.process import Collector, running
from tests.security.test_broken_databases import chance_of

pytestmark = pytest.mark.slow

BALANCER, STRANGER = "127.0.0.2", "127.0.0.1"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
NO_HEADER = "a broken request: a balancer's connection without a PROXY protocol header"
NO_TLS = "a broken request: the TLS handshake failed"


def header(client: str, *, more: bytes = b"") -> bytes:
    """As a balancer writes it for a connection of that client's."""
    family = socket.AF_INET6 if ":" in client else socket.AF_INET
    ends = socket.inet_pton(family, client) * 2 + struct.pack("!HH", 40_000, 8843)
    kind = 0x21 if ":" in client else 0x11
    return SIGNATURE + struct.pack("!BBH", 0x21, kind, len(ends) + len(more)) + ends + more


@pytest.fixture
async def behind(tmp_path: Path) -> AsyncIterator[Collector]:
    """A collector behind one balancer."""
    async with running(tmp_path, is_warm=True, server=f'proxy_protocol_from = ["10.0.0.5", "{BALANCER}"]\n') as one:
        yield one


def connect(collector: Collector, source: str) -> socket.socket:
    """From that address."""
    return socket.create_connection(("127.0.0.1", collector.port), timeout=10, source_address=(source, 0))


async def exchange(collector: Collector, source: str, begin: bytes, request: bytes) -> bytes:
    """The answer over TLS, after the bytes that the connection begins with. Raises OSError where there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port, local_addr=(source, 0))
    try:
        writer.write(begin)
        await writer.start_tls(collector.trust(), server_hostname="collector.test")
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


async def ask(collector: Collector, source: str, begin: bytes = b"", path: str = "/readyz") -> bytes:
    """The status line of a GET."""
    request = f"GET {path} HTTP/1.1\r\nHost: collector.test\r\nConnection: close\r\n\r\n".encode()
    return (await exchange(collector, source, begin, request)).partition(b"\r\n")[0]


async def fail_login(collector: Collector, source: str, begin: bytes = b"") -> bytes:
    """The status line."""
    body = b"name=nobody&password=wrong"
    head = "POST /login HTTP/1.1\r\nHost: collector.test\r\nConnection: close\r\nSec-Fetch-Site: same-origin\r\n"
    kind = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    request = (head + kind).encode() + body
    return (await exchange(collector, source, begin, request)).partition(b"\r\n")[0]


@pytest.mark.parametrize("client", ["10.9.8.7", "fd00::7"])
async def test_the_client_that_the_balancer_names_is_whose_the_request_is(behind: Collector, client: str) -> None:
    """In the log, in the audit and for the throttle: one client's tries are not another's."""
    assert await fail_login(behind, BALANCER, header(client)) == b"HTTP/1.1 403 Forbidden"
    assert f"a login from {client} failed" in behind.log()
    _, page = await behind.get("/v1/audit", params={"action": "login.failed"})
    assert [entry["from"] for entry in page["items"]] == [client]
    answers = [await fail_login(behind, BALANCER, header(client)) for _ in range(12)]
    assert answers[-1] == b"HTTP/1.1 429 Too Many Requests"
    assert await fail_login(behind, BALANCER, header("10.9.8.8")) == b"HTTP/1.1 403 Forbidden"


async def test_who_changes_address_within_a_network_of_ipv6_stays_one_client(behind: Collector) -> None:
    """Each try from another address of a /64; the network beside it has its own tries."""
    answers = [await fail_login(behind, BALANCER, header(f"2001:db8::1:{at:x}")) for at in range(1, 10)]
    assert answers[-1] == b"HTTP/1.1 429 Too Many Requests"
    assert await fail_login(behind, BALANCER, header("2001:db8:0:1::1")) == b"HTTP/1.1 403 Forbidden"


async def test_a_check_of_the_balancers_own_is_answered(behind: Collector) -> None:
    """Its header says LOCAL; what else a header has (an id, a checksum) does no harm."""
    assert await ask(behind, BALANCER, LOCAL) == b"HTTP/1.1 200 OK"
    assert await ask(behind, BALANCER, header("10.9.8.7", more=b"\x05\x00\x04abcd")) == b"HTTP/1.1 200 OK"


async def test_a_header_in_pieces_is_read_and_not_a_byte_more(behind: Collector) -> None:
    """Byte by byte; and in one piece with the hello of TLS."""

    def byte_by_byte() -> bytes:
        with closing(connect(behind, BALANCER)) as raw:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in header("10.9.8.7"):
                raw.sendall(bytes([byte]))
                time.sleep(0.01)
            with behind.trust().wrap_socket(raw, server_hostname="collector.test") as tls:
                tls.sendall(b"GET /healthz HTTP/1.1\r\nHost: collector.test\r\nConnection: close\r\n\r\n")
                return tls.recv(15)

    def with_the_hello() -> bytes:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = behind.trust().wrap_bio(incoming, outgoing, server_hostname="collector.test")
        with closing(connect(behind, BALANCER)) as raw:
            begin = header("10.9.8.7")
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    raw.sendall(begin + outgoing.read())
                    begin = b""
                    incoming.write(raw.recv(65_536))
            return str(tls.version()).encode()

    assert await asyncio.to_thread(byte_by_byte) == b"HTTP/1.1 200 OK"
    assert await asyncio.to_thread(with_the_hello) == b"TLSv1.3"


async def test_whoever_is_no_named_balancer_and_speaks_it_is_refused(behind: Collector) -> None:
    """It would be anybody it likes; without it, it is served as itself."""
    with pytest.raises(OSError):  # noqa: PT011 reset or closed: as the kernel has it
        await ask(behind, STRANGER, header("10.9.8.7"))
    assert NO_TLS in behind.log()
    assert await ask(behind, STRANGER) == b"HTTP/1.1 200 OK"
    assert await fail_login(behind, STRANGER) == b"HTTP/1.1 403 Forbidden"
    assert f"a login from {STRANGER} failed" in behind.log()
    assert "10.9.8.7" not in behind.log()


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"PROXY TCP4 10.9.8.7 10.0.0.104 40000 8843\r\n",
        SIGNATURE + b"\x31\x11\x00\x0c" + b"\x0a\x09\x08\x07" * 3,
        SIGNATURE + b"\x2f\x11\x00\x0c" + b"\x0a\x09\x08\x07" * 3,
        SIGNATURE + b"\x21\x11\x00\x04" + b"\x0a\x09\x08\x07",
        SIGNATURE + b"\x21\x11\xff\xff" + b"\x0a\x09\x08\x07" * 3,
    ],
    ids=["none", "version 1", "version 3", "no command", "too short", "too long"],
)
async def test_a_named_balancer_that_does_not_speak_it_is_refused(behind: Collector, begin: bytes) -> None:
    """Also one that begins with another version, or with what is no header."""
    with pytest.raises(OSError):  # noqa: PT011 reset or closed: as the kernel has it
        await ask(behind, BALANCER, begin)
    assert NO_HEADER in behind.log()
    assert "Traceback" not in behind.log()
    assert await ask(behind, BALANCER, LOCAL) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_a_header_holds_it_is_read_or_refused(seed: int) -> None:
    """Every command, family and length, and any bytes after them: nothing else is raised."""
    chance = chance_of(seed)
    for _ in range(20):
        kind = bytes([0x20 | chance.randrange(4), chance.randrange(256)])
        rest = chance.randbytes(chance.choice((0, 11, 12, 36, 40, 216, 300)))
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.sendall(SIGNATURE + kind + struct.pack("!H", len(rest) + chance.choice((0, 0, 0, 1, 5_000))) + rest)
            theirs.shutdown(socket.SHUT_WR)
            with suppress(HeaderMissing, ConnectionResetError):
                client = await read_client(ours)
                assert client is None or ipaddress.ip_address(client[0])


async def test_an_ipv4_address_in_an_ipv6_header_is_one(behind: Collector) -> None:
    """Else one client would have two names for the throttles."""
    await fail_login(behind, BALANCER, header("::ffff:10.9.8.7"))
    assert "a login from 10.9.8.7 failed" in behind.log()


@pytest.mark.slow
async def test_a_balancers_connection_that_stays_silent_ends(behind: Collector) -> None:
    """Within seconds, and it keeps nobody else."""

    def wait() -> bytes:
        with closing(connect(behind, BALANCER)) as raw:
            raw.sendall(SIGNATURE)
            return raw.recv(1)

    waiting = asyncio.create_task(asyncio.to_thread(wait), name="silent")
    assert await ask(behind, BALANCER, LOCAL) == b"HTTP/1.1 200 OK"
    assert await waiting == b""
    assert NO_HEADER in behind.log()


async def test_without_a_named_balancer_nobody_is_believed(collector: Collector) -> None:
    """The setting is empty: a header is no TLS."""
    with pytest.raises(OSError):  # noqa: PT011 reset or closed: as the kernel has it
        await ask(collector, BALANCER, header("10.9.8.7"))
    assert await ask(collector, BALANCER) == b"HTTP/1.1 200 OK"


def test_a_balancer_is_named_by_its_address(tmp_path: Path) -> None:
    """A name would be whoever DNS says."""
    path = tmp_path / "collector.toml"
    path.write_text('[server]\nlisten = "127.0.0.1:8843"\nproxy_protocol_from = ["10.0.0.5", "balancer.internal"]\n')
    with pytest.raises(ConfigurationError) as caught:
        load_collector(path)
    assert caught.value.message == "server.proxy_protocol_from: 'balancer.internal' is not an IP address"
    assert caught.value.line == 3
