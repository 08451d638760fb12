"""The fetch as the CA does it, against real servers on loopback, where only a test may fetch."""

import asyncio
import gzip
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from certagent.domain.rehearsals import Attempt, Origin, RehearsalOutcome, RehearsalRequest, ResolvedAddress, body_for
from certagent.domain.resolution.address_order import in_order_of_trial
from certagent.domain.resolution.file_formats import parse_address
from certagent.domain.resolution.go import Lookup
from certagent.vantage.authority_vantage import judge
from certagent.vantage.dialer import Dialer
from certagent.vantage.http01_probe import FetchOptions, Http01Probe
from certagent.vantage.rehearsal_limits import RehearsalLimits, is_on_the_network
from tests.certificates import Authority

NAME, OTHER = "traefik.internal.thinkheads.ai", "other.internal.thinkheads.ai"
TOKEN = "t" * 43
BODY = body_for(TOKEN, "secret")
REQUEST = RehearsalRequest(identifier=NAME, token=TOKEN, digest=hashlib.sha256(BODY.encode()).hexdigest())

Handler = Callable[[str], bytes | Awaitable[bytes]]


def reply(status: str, body: str | bytes = "", **headers: str) -> bytes:
    """A whole HTTP answer. Header names with underscores for dashes."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *lines])
    return head.encode() + b"\r\n\r\n" + content


GOOD = reply("200 OK", BODY, Server="responder")


class Town:
    """Servers on one port of several loopback addresses, names that lead to them, and a fetch."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.requests: list[str] = []
        self.names: dict[str, tuple[str, ...]] = {}
        self.ports = {80, 443}
        self.http_port = 0
        self.lookups: list[str] = []
        self.fetching_for = 5.0
        self._stack = stack

    async def serve(
        self, answer: bytes | Handler, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> int:
        """A server that answers every request so, and then closes; its port."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                request = (await reader.read(65536)).decode("latin-1")
                if not request:
                    return  # connected beside another address, and not used
                self.requests.append(request)
                said = answer if isinstance(answer, bytes) else answer(request)
                writer.write(said if isinstance(said, bytes) else await said)
                await writer.drain()
            except ConnectionError:
                pass  # a rehearsal leaves when it has seen enough
            finally:
                writer.close()

        port = self.http_port if tls is None else 0
        server = await asyncio.start_server(talk, address, port, ssl=tls)
        self._stack.push_async_callback(_close, server)
        bound: int = server.sockets[0].getsockname()[1]
        if tls is None:
            self.http_port = bound
        self.ports.add(bound)
        return bound

    async def look_up(self, name: str) -> Lookup:
        """What the CA's resolver would say."""
        self.lookups.append(name)
        origin = Origin(source="dns", nameserver="10.0.0.153")
        found = tuple(ResolvedAddress(address=one, origin=origin) for one in self.names.get(name.rstrip("."), ()))
        return Lookup(name=name, order=("files", "dns"), addresses=found, error=None if found else "nxdomain")

    async def fetch(
        self,
        *addresses: str,
        strict_fqdn: bool = False,
        may_connect: Callable[[str], bool] = lambda _address: True,
        listens: Callable[[str, int], bool] = lambda _address, _port: True,
        connecting_for: float = 0.5,
        environment: Mapping[str, str] | None = None,
    ) -> tuple[Attempt, ...]:
        """Rehearse `NAME`, which leads to these addresses."""
        self.names[NAME] = addresses or ("127.0.0.1",)
        rules = RehearsalLimits(
            allow=("*.internal.thinkheads.ai",), ports=frozenset(self.ports), may_connect=may_connect
        )
        dialer = Dialer(may_connect, listens, timedelta(seconds=connecting_for))
        bound = timedelta(seconds=self.fetching_for)
        fetch = Http01Probe(self.look_up, rules, dialer, bound, environment)
        return await fetch.attempts(REQUEST, await self.look_up(NAME), FetchOptions(self.http_port, strict_fqdn))


async def _close(server: asyncio.Server) -> None:
    server.close()
    await server.wait_closed()


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    """An empty town; its servers close with the test."""
    async with AsyncExitStack() as stack:
        yield Town(stack)


def outcome(attempts: tuple[Attempt, ...]) -> RehearsalOutcome:
    """What the rehearsal makes of it."""
    return judge(attempts)[0]


async def test_a_planted_token_comes_back(town: Town) -> None:
    """With the Host, the agent, the path and the status of the real thing."""
    await town.serve(GOOD)
    (attempt,) = await town.fetch()
    assert attempt.matched
    assert (attempt.hops[0].status, attempt.hops[0].server) == (200, "responder")
    assert town.requests[0].startswith(f"GET /.well-known/acme-challenge/{TOKEN} HTTP/1.1\r\nHost: {NAME}:")
    assert "\r\nUser-Agent: Go-http-client/1.1\r\n" in town.requests[0]
    assert "Connection: close" in town.requests[0]
    assert outcome((attempt,)) is RehearsalOutcome.PASSED


@pytest.mark.parametrize(
    "answer",
    [
        reply("200 OK", f"\n {BODY}\r\n"),
        reply("200 OK", gzip.compress(BODY.encode()), Content_Encoding="gzip"),
        f"HTTP/1.0 200 OK\nServer: old\n\n{BODY}".encode(),
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + GOOD,
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{len(BODY):x}\r\n{BODY}\r\n0\r\n\r\n".encode(),
        reply("302 Found", BODY),
        reply("206 Partial Content", BODY),
    ],
    ids=["trimmed", "gzip", "old", "interim", "chunked", "redirect-without-location", "odd-status"],
)
async def test_every_form_that_the_ca_takes_passes(town: Town, answer: bytes) -> None:
    """The CA trims, unpacks, and takes any status below 400."""
    await town.serve(answer)
    (attempt,) = await town.fetch()
    assert attempt.matched


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (reply("404 Not Found", BODY, Server="nginx"), 404, None),
        (reply("502 Bad Gateway", Server="Caddy"), 502, None),
        (reply("200 OK", "<html>welcome</html>", Content_Type="text/html"), 200, None),
        (b"", None, "reset"),
        (b"\x15\x03\x01\x00\x02\x02\x16", None, "tls"),
        (b"SSH-2.0-OpenSSH\r\n", None, "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nshort", None, "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", None, "protocol"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", None, "protocol"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 40_000 + b"\r\n", None, "protocol"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", None, "protocol"),
        (reply("200 OK", b"not gzip", Content_Encoding="gzip"), None, "protocol"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + GOOD, None, "protocol"),
    ],
    ids=["404", "502", "catchall", "silent-close", "tls", "ssh", "short", "length", "header", "headers", "chunk",
         "packed", "interim"],
)  # fmt: skip
async def test_what_is_not_the_token_fails(town: Town, answer: bytes, status: int | None, error: str | None) -> None:
    """Each recorded shape of a wrong answer."""
    await town.serve(answer)
    attempts = await town.fetch()
    hop = attempts[-1].hops[-1]
    assert (hop.status, hop.error) == (status, error)
    assert outcome(attempts) is RehearsalOutcome.FAILED


@pytest.mark.parametrize("packed", [False, True])
async def test_an_endless_body_costs_64_kib(town: Town, packed: bool) -> None:
    """And no more, packed or not."""
    body = gzip.compress(bytes(50_000_000)) if packed else bytes(5_000_000)
    await town.serve(reply("200 OK", body, **({"Content_Encoding": "gzip"} if packed else {})))
    (attempt,) = await town.fetch()
    assert not attempt.matched
    assert attempt.hops[0].status == 200


async def test_a_slow_drip_ends(town: Town) -> None:
    """After the bound, as a timeout."""
    done = asyncio.Event()

    async def drip(_request: str) -> bytes:
        await done.wait()
        return b""

    await town.serve(drip)
    town.fetching_for = 0.3
    attempts = await town.fetch()
    done.set()
    assert attempts[0].hops[0].error == "timeout"


async def test_a_slow_chain_ends_as_a_whole(town: Town) -> None:
    """The bound is for all hops together."""

    async def slow(request: str) -> bytes:
        await asyncio.sleep(0.15)
        return reply("302 Found", Location=request.split()[1])

    await town.serve(slow)
    town.fetching_for = 0.4
    attempts = await town.fetch()
    assert attempts[0].hops[-1].error == "timeout"
    assert len(attempts[0].hops) <= 4


async def test_nobody_listens(town: Town) -> None:
    """Refused, with the kernel's own word for it."""
    await town.serve(GOOD, "127.0.0.2")
    attempts = await town.fetch("127.0.0.1")
    assert (attempts[0].hops[0].error, attempts[0].hops[0].errno) == ("refused", "ECONNREFUSED")
    assert attempts[0].hops[0].address == "127.0.0.1"


async def test_a_refusing_first_address_passes_on(town: Town) -> None:
    """As Go's dialer does; both attempts are told."""
    await town.serve(GOOD, "127.0.0.2")
    attempts = await town.fetch("127.0.0.1", "127.0.0.2")
    assert [attempt.hops[0].error for attempt in attempts] == ["refused", None]
    assert outcome(attempts) is RehearsalOutcome.PASSED


async def test_a_wrong_first_address_that_listens_wins(town: Town) -> None:
    """The second one is right, and is never asked."""
    await town.serve(reply("404 Not Found"), "127.0.0.1")
    await town.serve(GOOD, "127.0.0.2")
    attempts = await town.fetch("127.0.0.1", "127.0.0.2")
    assert [attempt.hops[0].address for attempt in attempts] == ["127.0.0.1"]
    assert outcome(attempts) is RehearsalOutcome.FAILED
    assert len(town.requests) == 1


@pytest.fixture
def blackhole() -> "list[socket.socket]":
    """Sockets to be closed at the end."""
    return []


def silent(sockets: list[socket.socket], port: int, address: str = "127.0.0.3") -> None:
    """A listener whose queue is full: the kernel drops what comes next."""
    listener = socket.socket()
    listener.bind((address, port))
    listener.listen(0)
    filler = socket.socket()
    filler.connect((address, port))
    sockets += [listener, filler]


async def test_a_silent_first_address_decides(town: Town, blackhole: list[socket.socket]) -> None:
    """Measured with Go 1.26: its dialer has no deadline, so a good second address does not help."""
    port = await town.serve(GOOD, "127.0.0.2")
    silent(blackhole, port)
    attempts = await town.fetch("127.0.0.3", "127.0.0.2", connecting_for=0.3)
    for one in blackhole:
        one.close()
    assert [attempt.hops[0].error for attempt in attempts] == ["timeout"]
    assert outcome(attempts) is RehearsalOutcome.FAILED


async def test_a_silent_ipv4_address_gives_way_to_ipv6(town: Town, blackhole: list[socket.socket]) -> None:
    """The other family gets its turn after 300 ms."""
    port = await town.serve(GOOD, "::1")
    silent(blackhole, port)
    attempts = await town.fetch("127.0.0.3", "::1", connecting_for=1)
    for one in blackhole:
        one.close()
    assert attempts[-1].hops[0].address == "::1"
    assert outcome(attempts) is RehearsalOutcome.PASSED


async def test_a_forbidden_address_hands_over_to_no_other_family(town: Town) -> None:
    """The CA would be connected there: that the other family would have been right says nothing."""
    await town.serve(GOOD, "127.0.0.2")
    attempts = await town.fetch("::1", "127.0.0.2", may_connect=lambda address: address != "::1")
    assert [attempt.hops[0].error for attempt in attempts] == ["forbidden"]
    assert outcome(attempts) is RehearsalOutcome.UNAVAILABLE
    assert town.requests == []


async def test_a_forbidden_fall_back_wins_where_the_first_family_is_slow(
    town: Town, blackhole: list[socket.socket]
) -> None:
    """After 300 ms its turn has come, and the CA would be connected at once; the first address comes after a second."""
    port = await town.serve(GOOD, "127.0.0.2")
    silent(blackhole, port)
    asyncio.get_running_loop().call_later(0.35, lambda: blackhole.append(blackhole[0].accept()[0]))
    town.fetching_for = 2
    attempts = await town.fetch("127.0.0.3", "::1", connecting_for=1.5, may_connect=lambda address: address != "::1")
    for one in blackhole:
        one.close()
    assert attempts[-1].hops[0].error == "forbidden"
    assert outcome(attempts) is RehearsalOutcome.UNAVAILABLE


async def test_a_redirect_whose_end_serves_the_token_passes(town: Town) -> None:
    """Every hop is told, and its name was resolved anew."""
    end = await town.serve(GOOD, "127.0.0.5")
    town.http_port = 0
    await town.serve(reply("301 Moved", Location=f"http://{OTHER}:{end}/x?y=%20z"), "127.0.0.6")
    town.names[OTHER] = ("127.0.0.5",)
    attempts = await town.fetch("127.0.0.6")
    assert [hop.status for hop in attempts[0].hops] == [301, 200]
    assert attempts[0].hops[1].name == OTHER
    assert town.lookups[-1] == OTHER
    assert town.requests[-1].startswith("GET /x?y=%20z HTTP/1.1")
    assert outcome(attempts) is RehearsalOutcome.PASSED


async def redirect_to_tls(town: Town, folder: Path, certificate_name: str = OTHER) -> None:
    """The challenge is redirected to https, and the token is there."""
    pair = Authority().issue(certificate_name)
    (folder / "pair.pem").write_bytes(pair.key_pem + pair.chain_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair.pem")
    port = await town.serve(GOOD, "127.0.0.2", tls=context)
    await town.serve(reply("308 Permanent Redirect", Location=f"https://{OTHER}:{port}/"))
    town.names[OTHER] = ("127.0.0.2",)


async def test_a_redirect_to_tls_is_followed_unverified_and_told(town: Town, tmp_path: Path) -> None:
    """The names of the certificate that was met there stand in the hop."""
    await redirect_to_tls(town, tmp_path, "somebody.else.example")
    (attempt,) = await town.fetch()
    assert attempt.matched
    assert attempt.hops[1].certificate_names == ("somebody.else.example",)


async def test_a_redirect_to_tls_where_nobody_speaks_it(town: Town) -> None:
    """An error of its own."""
    port = await town.serve(GOOD, "127.0.0.2")
    town.http_port = 0
    await town.serve(reply("302 Found", Location=f"https://{OTHER}:{port}/"))
    town.names[OTHER] = ("127.0.0.2",)
    (attempt,) = await town.fetch()
    assert attempt.hops[-1].error == "tls"


async def test_a_redirect_loop_ends_after_ten_requests(town: Town) -> None:
    """As the CA's client ends it."""
    await town.serve(lambda request: reply("302 Found", Location=request.split()[1]))
    attempts = await town.fetch()
    assert len(town.requests) == 10
    assert attempts[0].hops[-1].error == "redirect_loop"
    assert outcome(attempts) is RehearsalOutcome.FAILED


async def test_a_redirect_to_a_dead_end_fails(town: Town) -> None:
    """The end is a name without an address."""
    await town.serve(reply("302 Found", Location=f"http://{OTHER}/"))
    attempts = await town.fetch()
    assert (attempts[0].hops[-1].error, attempts[0].hops[-1].errno) == ("unresolved", "nxdomain")
    assert outcome(attempts) is RehearsalOutcome.FAILED


@pytest.mark.parametrize(
    "location",
    ["http://example.com/", "http://127.0.0.1/", f"http://{NAME}:8080/", "http://[::1]/", "//evil.example/x"],
)
async def test_a_redirect_off_the_allow_list_is_not_followed(town: Town, location: str) -> None:
    """Nobody knows how it would have ended: unavailable, not failed."""
    await town.serve(reply("302 Found", Location=location))
    town.names |= dict.fromkeys(("example.com", "evil.example", "127.0.0.1", "::1"), ("127.0.0.1",))
    attempts = await town.fetch()
    assert (attempts[0].hops[-1].error, attempts[0].hops[-1].location) == ("redirect_offsite", location)
    assert outcome(attempts) is RehearsalOutcome.UNAVAILABLE


async def test_a_redirect_to_a_name_without_an_address_fails(town: Town) -> None:
    """Off the allow-list it is not followed; that the CA does not get there either can be known all the same."""
    await town.serve(reply("302 Found", Location="http://nowhere.example/"))
    attempts = await town.fetch()
    assert [hop.error for hop in attempts[0].hops] == ["redirect_offsite", "unresolved"]
    assert outcome(attempts) is RehearsalOutcome.FAILED


async def test_the_cas_proxy_is_asked_in_its_place(town: Town) -> None:
    """The absolute form of the target, and the name's own Host; whatever the proxy says is what the CA gets."""
    await town.serve(lambda request: reply("200 OK", BODY) if request.startswith(f"GET http://{NAME}") else b"")
    town.names["proxy.lan.test"] = ("127.0.0.1",)
    attempts = await town.fetch(environment={"HTTP_PROXY": f"http://proxy.lan.test:{town.http_port}"})
    assert outcome(attempts) is RehearsalOutcome.PASSED
    assert f"\r\nHost: {NAME}" in town.requests[0]


async def test_a_proxy_that_is_not_there_fails(town: Town) -> None:
    """As it does for the CA."""
    town.names["proxy.lan.test"] = ("127.0.0.1",)
    attempts = await town.fetch(environment={"HTTP_PROXY": "http://proxy.lan.test:9"})
    assert [attempt.hops[0].error for attempt in attempts] == ["refused"]
    assert outcome(attempts) is RehearsalOutcome.FAILED


async def test_a_redirect_that_the_ca_follows_through_its_https_proxy_is_left_open(town: Town, tmp_path: Path) -> None:
    """What the straight way would have come to says nothing of the proxy's."""
    await redirect_to_tls(town, tmp_path)
    attempts = await town.fetch(environment={"HTTPS_PROXY": "http://proxy.lan.test:9"})
    assert [hop.error for hop in attempts[0].hops] == ["redirect_proxied"]
    assert judge(attempts) == (
        RehearsalOutcome.UNAVAILABLE,
        "the CA follows this redirect through its HTTPS_PROXY, which a rehearsal does not use",
    )


async def test_a_redirect_that_no_proxy_leaves_out_is_followed(town: Town, tmp_path: Path) -> None:
    """As the CA does then."""
    await redirect_to_tls(town, tmp_path)
    attempts = await town.fetch(environment={"HTTPS_PROXY": "http://proxy.lan.test:9", "NO_PROXY": OTHER})
    assert outcome(attempts) is RehearsalOutcome.PASSED


async def test_a_name_that_only_the_proxy_has_to_know_is_not_missing(town: Town) -> None:
    """Off the allow-list it is not followed; the CA itself would not look it up."""
    await town.serve(reply("302 Found", Location="https://nowhere.example/"))
    attempts = await town.fetch(environment={"HTTPS_PROXY": "http://proxy.lan.test:9"})
    assert [hop.error for hop in attempts[0].hops] == ["redirect_offsite"]
    assert outcome(attempts) is RehearsalOutcome.UNAVAILABLE


@pytest.mark.parametrize("location", ["gopher://x/", "http://[::bad/", "http://", "http://a:99999/"])
async def test_a_redirect_to_nonsense_fails(town: Town, location: str) -> None:
    """The CA's client fails on it as well."""
    await town.serve(reply("302 Found", Location=location))
    attempts = await town.fetch()
    assert attempts[0].hops[-1].error == "protocol"
    assert outcome(attempts) is RehearsalOutcome.FAILED


async def test_a_redirect_to_a_name_on_loopback_is_not_followed(town: Town) -> None:
    """The connected address counts, whatever its name is: DNS rebinding included."""
    await town.serve(reply("302 Found", Location=f"http://{OTHER}/"))
    town.names[OTHER] = ("127.0.0.9",)
    attempts = await town.fetch(may_connect=lambda address: address != "127.0.0.9")
    assert attempts[0].hops[-1].error == "forbidden"
    assert len(town.requests) == 1
    assert outcome(attempts) is RehearsalOutcome.UNAVAILABLE


async def test_loopback_is_not_fetched_from_but_known_to_be_refused(town: Town) -> None:
    """Where nothing listens the CA is refused: the socket table says so, without a connection."""
    await town.serve(GOOD)
    attempts = await town.fetch(may_connect=lambda _address: False, listens=lambda _address, _port: False)
    assert attempts[0].hops[0].error == "refused"
    assert outcome(attempts) is RehearsalOutcome.FAILED
    assert town.requests == []


async def test_loopback_with_a_listener_is_left_open(town: Town) -> None:
    """It may be the right one; a rehearsal must not look."""
    await town.serve(GOOD)
    attempts = await town.fetch(may_connect=lambda _address: False)
    assert attempts[0].hops[0].error == "forbidden"
    assert outcome(attempts) is RehearsalOutcome.UNAVAILABLE
    assert town.requests == []


async def test_an_address_with_a_strange_scope_is_left_open(town: Town) -> None:
    """Go takes any scope for one, so the line counts, and the rehearsal has to bear it."""
    await town.serve(GOOD)
    assert parse_address("fe80::1%%eth0") == "fe80::1%%eth0"
    assert in_order_of_trial(("fe80::1%%eth0", "10.0.0.12"), {"10.0.0.12": "10.0.0.10"})[-1] == "fe80::1%%eth0"
    attempts = await town.fetch("fe80::1%%eth0", "127.0.0.1", may_connect=is_on_the_network)
    assert [attempt.hops[0].error for attempt in attempts] == ["forbidden"]
    assert outcome(attempts) is RehearsalOutcome.UNAVAILABLE


async def test_a_strict_ca_asks_with_the_final_dot(town: Town) -> None:
    """--acme-strict-fqdn: `Host: name.`"""
    await town.serve(GOOD)
    await town.fetch(strict_fqdn=True)
    assert f"Host: {NAME}.:" in town.requests[0]


async def test_a_location_cannot_smuggle_a_header(town: Town) -> None:
    """Control characters and blanks are escaped in the next request."""
    await town.serve(
        lambda request: GOOD if "smuggled" in request else reply("302 Found", Location="/a b\x00smuggled: x")
    )
    attempts = await town.fetch()
    assert attempts[0].matched
    assert town.requests[1].startswith("GET /a%20b%00smuggled:%20x HTTP/1.1\r\n")
