"""A name asked with nothing planted, by each challenge: real sockets on loopback."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dns.message
import dns.rcode
import dns.rdatatype
import msgspec

from certagent.domain.resolution.file_formats import Nameserver, ResolvConf
from certagent.domain.resolution.files import ResolverFiles, parse_files
from certagent.vantage.http01_probe import FetchOptions
from certagent.vantage.rehearsal_limits import RehearsalLimits
from certagent.vantage.unplanted_probe import UnplantedProbe, UnplantedResult
from tests.certificates import Authority
from tests.fakes.nameserver import nameserver

NAME = "app.lan.test"
LIMITS = RehearsalLimits(allow=(NAME,), may_connect=lambda _address: True)


def _files(dns_port: int = 1) -> ResolverFiles:
    """The name leads to loopback by a hosts line; the nameserver is on a port of its own."""
    conf = ResolvConf(nameservers=(Nameserver(1, "nameserver 127.0.0.1", f"127.0.0.1:{dns_port}"),))
    return msgspec.structs.replace(parse_files(f"127.0.0.1 {NAME}\n".encode(), None, None, "here"), resolv_conf=conf)


async def _probe(challenge: str, port: int, files: ResolverFiles) -> UnplantedResult:
    options = FetchOptions(http_port=port, tls_port=port)
    return await UnplantedProbe(files, (), LIMITS, options).run(NAME, challenge)


@asynccontextmanager
async def _listening(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """Somebody who counts connections, and says 404 to all of them."""
    met: list[str] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append("connection")
        await reader.readline()
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nServer: there\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], met


async def test_http_01_is_asked_by_http() -> None:
    """Who answers there, and with what."""
    async with _listening() as (port, _):
        seen = await _probe("http-01", port, _files())
    assert [hop.status for attempt in seen.attempts for hop in attempt.hops] == [404]
    assert seen.record is None


async def test_tls_alpn_01_is_asked_by_a_handshake(tmp_path: Path) -> None:
    """An ordinary web server ends TLS itself: it is there, and that is all that is known."""
    pair = Authority().issue(NAME)
    (tmp_path / "pair.pem").write_bytes(pair.key_pem + pair.chain_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    async with _listening(context) as (port, _):
        seen = await _probe("tls-alpn-01", port, _files())
    (hop,) = seen.attempts[-1].hops
    assert (hop.port, hop.status, hop.is_answered, hop.certificate_names) == (port, None, True, (NAME,))


async def test_dns_01_asks_no_box_but_a_nameserver_for_the_record() -> None:
    """Where the name leads does not matter."""
    asked: list[str] = []

    def answer(query: dns.message.Message) -> list[bytes]:
        question = query.question[0]
        asked.append(f"{question.name} {dns.rdatatype.to_text(question.rdtype)}")
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.NXDOMAIN)
        return [response.to_wire()]

    async with nameserver(answer) as dns_port, _listening() as (port, met):
        seen = await _probe("dns-01", port, _files(dns_port))
    assert met == []
    assert seen.attempts == ()
    assert f"_acme-challenge.{NAME}. TXT" in asked
    assert seen.record is not None
    assert seen.record.error == "nxdomain"
