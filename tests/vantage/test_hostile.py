"""Responders, nameservers, files and agents that mean harm cost bounded time and memory, and end in a refusal."""

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import cache
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.rrset
import pytest

from certagent.config import AgentSection, AgentSettings, AuthoritySection, RootPaths, VantageSection
from certagent.domain.rehearsals import (
    REHEARSAL_MARK,
    DnsAnswer,
    Origin,
    RehearsalOutcome,
    RehearsalRequest,
    ResolvedAddress,
    digest_for,
)
from certagent.domain.resolution.files import parse_files
from certagent.domain.resolution.go import Lookup
from certagent.system.clock import SystemClock
from certagent.system.dns import ask
from certagent.system.procfs import ProcFs
from certagent.vantage.authority_vantage import AuthorityVantage, judge
from certagent.vantage.ca_resolver import MOST_ADDRESSES, ResolverSession
from certagent.vantage.dialer import Dialer
from certagent.vantage.http01_probe import FetchOptions, Http01Probe
from certagent.vantage.rehearsal_limits import RehearsalLimits, is_on_the_network
from tests.bounds import MEBIBYTE, at_most
from tests.fakes.nameserver import nameserver, reply
from tests.system.test_dns import NAME as ASKED

pytestmark = pytest.mark.slow

NAME, OTHER = "traefik.internal.thinkheads.ai", "other.internal.thinkheads.ai"
TOKEN = "t" * 43
REQUEST = RehearsalRequest(identifier=NAME, token=TOKEN, digest=digest_for(TOKEN))
FETCHING_FOR = 1.0


class Responder:
    """One server whose answer is whatever the test yields, piece by piece, until nobody listens any more."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.tasks: list[asyncio.Task[None]] = []

    async def serve(self, pieces: Callable[[], AsyncIterator[bytes]], reads: bool = True) -> int:
        """The port."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self.tasks.append(task)
            try:
                if reads:
                    await reader.read(65536)
                async for piece in pieces():
                    writer.write(piece)
                    await writer.drain()
            except (ConnectionError, asyncio.CancelledError):
                pass
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        self._stack.push_async_callback(self._close, server)
        return int(server.sockets[0].getsockname()[1])

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def responder() -> AsyncIterator[Responder]:
    """Nothing served yet."""
    async with AsyncExitStack() as stack:
        yield Responder(stack)


async def _fetch(
    port: int,
    *,
    names: dict[str, str] | None = None,
    may_connect: Callable[[str], bool] = lambda _address: True,
    ports: tuple[int, ...] = (),
) -> tuple[RehearsalOutcome, str | None]:
    """(outcome, the last hop's error) of a rehearsal of NAME at 127.0.0.1 and that port."""
    leads = {NAME: "127.0.0.1"} | (names or {})

    async def look_up(name: str) -> Lookup:
        origin = Origin(source="dns", nameserver="10.0.0.153")
        found = (ResolvedAddress(address=leads[name], origin=origin),) if name in leads else ()
        return Lookup(name=name, order=("files", "dns"), addresses=found)

    rules = RehearsalLimits(
        allow=("*.internal.thinkheads.ai",), ports=frozenset({port, *ports}), may_connect=may_connect
    )
    fetch = Http01Probe(look_up, rules, Dialer(may_connect), timedelta(seconds=FETCHING_FOR))
    attempts = await fetch.attempts(REQUEST, await look_up(NAME), FetchOptions(port))
    return judge(attempts)[0], attempts[-1].hops[-1].error


async def _forever(start: bytes, piece: bytes, pause: float = 0.0) -> AsyncIterator[bytes]:
    yield start
    while True:
        yield piece
        await asyncio.sleep(pause)


_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module", autouse=True)
def _bomb() -> None:
    """It is packed before anything is measured."""
    _packed_bomb()


@cache
def _packed_bomb() -> bytes:
    return gzip.compress(bytes(200 * MEBIBYTE), 9)


ANSWERS: dict[str, Callable[[], AsyncIterator[bytes]]] = {
    "endless body": lambda: _forever(_OK + b"\r\n", b"x" * 65536),
    "endless chunks": lambda: _forever(_OK + _CHUNKED, b"400\r\n" + b"x" * 0x400 + b"\r\n"),
    "endless small chunks": lambda: _forever(_OK + _CHUNKED, b"1\r\nx\r\n" * 1000),
    "a chunk of 2^60": lambda: _forever(_OK + _CHUNKED + b"1000000000000000\r\n", b"x" * 65536),
    "an endless chunk line": lambda: _forever(_OK + _CHUNKED + b"1;", b"x" * 65536),
    "a length of 10^18": lambda: _forever(_OK + b"Content-Length: 999999999999999999\r\n\r\n", b"x" * 65536),
    "endless headers": lambda: _forever(_OK, b"X-Header: value\r\n" * 1000),
    "an endless header": lambda: _forever(_OK + b"X: ", b"x" * 65536),
    "100,000 headers": lambda: _forever(_OK + b"X: 1\r\n" * 100_000 + b"\r\n", b""),
    "an endless status line": lambda: _forever(b"HTTP/1.1 ", b"2" * 65536),
    "endless interim answers": lambda: _forever(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100),
    "a packed bomb": lambda: _forever(_OK + b"Content-Encoding: gzip\r\n\r\n" + _packed_bomb(), b"\0" * 1024),
    "headers, a byte at a time": lambda: _forever(_OK, b"x", 0.02),
    "a body, a byte at a time": lambda: _forever(_OK + b"Content-Length: 90\r\n\r\n", b"x", 0.02),
    "nothing": lambda: _forever(b"", b"", 0.02),
}  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_hostile_answer_costs_little_and_fails(responder: Responder, answer: str) -> None:
    """Within the fetch's own bound, and 8 MiB of which most is the server's here."""
    port = await responder.serve(ANSWERS[answer])
    with at_most(seconds=FETCHING_FOR + 5, mebibytes=8):
        outcome, error = await _fetch(port)
    assert outcome is RehearsalOutcome.FAILED
    assert error in (None, "protocol", "timeout")


async def test_a_handshake_that_stalls_ends_with_the_fetch(responder: Responder) -> None:
    """A redirect to TLS where the server accepts and says nothing, or dribbles."""
    for piece in (b"", b"\x16"):
        silent = await responder.serve(lambda piece=piece: _forever(b"", piece, 0.02))  # type: ignore[misc]
        location = f"HTTP/1.1 302 Found\r\nLocation: https://{OTHER}:{silent}/\r\nContent-Length: 0\r\n\r\n".encode()
        port = await responder.serve(lambda location=location: _forever(location, b"", 0.02))  # type: ignore[misc]
        with at_most(seconds=FETCHING_FOR + 5, mebibytes=8):
            outcome, error = await _fetch(port, names={OTHER: "127.0.0.1"}, ports=(silent,))
        assert outcome is RehearsalOutcome.FAILED
        assert error in ("timeout", "tls", "protocol")


async def test_a_name_that_leads_to_loopback_by_the_time_of_the_connection(responder: Responder) -> None:
    """Rebinding: an allow-listed name, good on the list; what is connected to is what counts. Nothing is sent."""
    asked: list[bytes] = []

    async def record() -> AsyncIterator[bytes]:
        asked.append(b"asked")
        yield _OK + b"\r\n"

    inner = await responder.serve(record)
    location = f"HTTP/1.1 302 Found\r\nLocation: http://{OTHER}:{inner}/secret\r\nContent-Length: 0\r\n\r\n".encode()
    port = await responder.serve(lambda: _forever(location, b"", 0.02))

    def may_connect(address: str) -> bool:  # the first hop is on loopback only because this is a test
        return address == "127.0.0.1" or is_on_the_network(address)

    for address in ("127.0.0.2", "::1", "::ffff:127.0.0.2", "0.0.0.0", "169.254.169.254", "fe80::1"):  # noqa: S104
        outcome, error = await _fetch(port, names={OTHER: address}, ports=(inner,), may_connect=may_connect)
        assert (outcome, error) == (RehearsalOutcome.UNAVAILABLE, "forbidden"), address
    assert asked == []


# --- nameservers


async def _asked(port: int, use_tcp: bool = False) -> DnsAnswer:
    return await ask("127.0.0.1", ASKED, "A", timedelta(seconds=0.5), port, use_tcp)


def _chain(query: dns.message.Message, length: int, *, loops: bool) -> bytes:
    """CNAME after CNAME, the last one back to the first name or on to nowhere."""
    response = dns.message.make_response(query, recursion_available=True)
    names = [query.question[0].name, *(dns.name.from_text(f"c{number}.test.") for number in range(length))]
    ends = [*names[1:], names[0] if loops else dns.name.from_text("nowhere.test.")]
    for name, end in zip(names, ends, strict=True):
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", end.to_text()))
    wire = response.to_wire(max_size=65535)
    return len(wire).to_bytes(2, "big") + wire


@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("length", [0, 2000])
async def test_chains_of_cnames_are_not_walked(length: int, loops: bool) -> None:
    """Whoever answers has to resolve: there is no address in it, and nothing more is asked."""
    asked: list[int] = []

    def chain(query: dns.message.Message) -> list[bytes]:
        asked.append(query.id)
        return [_chain(query, length, loops=loops)]

    async with nameserver(lambda _query: [], chain) as port:
        with at_most(seconds=5, mebibytes=24):
            answer = await _asked(port, use_tcp=True)
    assert answer.addresses == ()
    assert answer.status in ("ok", "timeout", "malformed")
    assert len(asked) == 1


async def test_an_answer_that_drips_over_tcp_ends_with_the_bound() -> None:
    """64 KiB announced, a byte now and then."""
    ended = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(2048)
        try:
            writer.write(b"\xff\xff")
            while True:
                writer.write(b"\0")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            ended.set()
        finally:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    with at_most(seconds=5, mebibytes=4):
        answer = await _asked(server.sockets[0].getsockname()[1], use_tcp=True)
    assert answer.status == "timeout"
    async with asyncio.timeout(5):
        await ended.wait()
    server.close()


async def test_a_flood_of_forgeries_does_not_hold_the_bound_up() -> None:
    """However fast they come: each lets the clock be looked at. Nor does it fill the memory."""
    over = asyncio.Event()

    async def flood(transport: asyncio.DatagramTransport, addr: tuple[str, int], forged: bytes) -> None:
        while not over.is_set():
            for _ in range(200):
                transport.sendto(forged, addr)
            await asyncio.sleep(0)

    class Flooding(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            query = dns.message.from_wire(data)
            forged = bytearray(reply(query, "10.6.6.6"))
            forged[0] ^= 0xFF
            assert isinstance(self.transport, asyncio.DatagramTransport)
            tasks.append(asyncio.create_task(flood(self.transport, addr, bytes(forged))))

    tasks: list[asyncio.Task[None]] = []
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Flooding, local_addr=("127.0.0.1", 0))
    with at_most(seconds=10, mebibytes=16):
        answer = await _asked(transport.get_extra_info("sockname")[1])
    over.set()
    await asyncio.gather(*tasks)
    transport.close()
    assert answer.status == "timeout"


async def test_thousands_of_addresses_are_cut() -> None:
    """In an answer or in a hosts file: what a rehearsal says stays small enough for its channel."""
    hosts = b"".join(b"10.%d.%d.1 many.test\n" % (number // 250, number % 250) for number in range(50_000))
    files = parse_files(hosts, b"nameserver 127.0.0.1\n", b"hosts: files dns\n", "node")
    many = tuple(f"10.{number // 250}.{number % 250}.2" for number in range(4000))

    async def say(nameserver: str, name: str, record: str, *_: object, **__: object) -> DnsAnswer:
        return DnsAnswer(nameserver=nameserver, name=name, record=record, status="ok", addresses=many)

    with at_most(seconds=10, mebibytes=32):
        async with ResolverSession(files, (), say) as session:
            resolution = await session.resolve("many.test")
    assert len(resolution.addresses) == len(resolution.hosts) == MOST_ADDRESSES
    assert all(len(answer.addresses) <= MOST_ADDRESSES for answer in resolution.dns)


# --- agents


def _vantage(proc: ProcFs | None = None) -> AuthorityVantage:
    settings = AgentSettings(
        agent=AgentSection(name="lxc103"),
        authority=AuthoritySection(directory="https://ca.x:9000/acme/acme/directory", root=RootPaths("/nowhere")),
    )
    return AuthorityVantage(settings, VantageSection(allow=("*.x",), process="no-such-ca"), SystemClock(), proc)


async def test_10_000_requests_of_an_agent_are_refused_but_for_a_few(tmp_path: Path) -> None:
    """Of one name, of 10,000 names, and of names that are nobody's."""
    vantage = _vantage(ProcFs(tmp_path))
    with at_most(seconds=60, mebibytes=32):
        for identifiers in (["a.x"] * 10_000, [f"n{at}.x" for at in range(10_000)], ["evil.example"] * 10_000):
            requests = [RehearsalRequest(identifier=one, token=TOKEN, digest=digest_for(TOKEN)) for one in identifiers]
            answers = await asyncio.gather(*map(vantage.rehearse, requests))
            assert {answer.outcome for answer in answers} == {RehearsalOutcome.UNAVAILABLE}
            passed_on = [answer for answer in answers if "no process" in (answer.reason or "")]
            assert len(passed_on) < 1500


@pytest.mark.parametrize("thumbprint", ["h" * 43, "certagent-rehearsal0", ""])
async def test_a_key_authorization_can_not_be_rehearsed(thumbprint: str) -> None:
    """Its own token, another account's thumbprint: nobody learns whether that is answered anywhere."""
    digest = hashlib.sha256(f"{TOKEN}.{thumbprint}".encode()).hexdigest()
    answer = await _vantage().rehearse(RehearsalRequest(identifier="a.x", token=TOKEN, digest=digest))
    assert "does not match a rehearsal's body" in (answer.reason or "")


async def test_a_rehearsals_own_token_may_be_answered_in_that_form() -> None:
    """By a stateless responder, which has no other: no CA gives out such a token, so nothing is learnt."""
    token = REHEARSAL_MARK + "t" * 43
    digest = hashlib.sha256(f"{token}.{'h' * 43}".encode()).hexdigest()
    answer = await _vantage().rehearse(RehearsalRequest(identifier="a.x", token=token, digest=digest))
    assert "digest" not in (answer.reason or "")


@pytest.mark.parametrize("token", ["../../../secret", "t" * 43 + "/../x", "t" * 43 + "\r\nHost: evil", "%2e%2e%2f" * 9])
async def test_another_path_than_the_challenges_cannot_be_asked_for(token: str) -> None:
    """The path is fixed; a token that is none is refused before anything is sent."""
    answer = await _vantage().rehearse(RehearsalRequest(identifier="a.x", token=token, digest=digest_for(token)))
    assert answer.reason == "the token is malformed"
