"""DNS on the wire: one question to one nameserver, bounded. Decides nothing.

A connected socket, so that a closed port is known at once. UDP first, TCP when the answer was cut short; answers with
another id or another question are not answers (Go, net/dnsclient_unix.go). A lost packet is sent again
within the bound.
"""

import asyncio
import contextlib
import socket
from datetime import timedelta

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from certagent.domain.rehearsals import DnsAnswer
from certagent.system.socket_addresses import socket_address

PORT = 53

_PAYLOAD = 1232  # what Go announces and reads
_ASK_AGAIN_AFTER = 0.8  # seconds; one lost packet is no silence
_RCODES = {
    dns.rcode.NOERROR: "ok",
    dns.rcode.NXDOMAIN: "nxdomain",
    dns.rcode.SERVFAIL: "servfail",
    dns.rcode.REFUSED: "refused",
}


class _TcpBlockedError(Exception):
    """An answer over UDP was cut short, and nothing comes over TCP."""


class _MalformedError(Exception):
    """An answer to our question that cannot be read to its end."""


async def ask(
    nameserver: str, name: str, record: str, timeout: timedelta, port: int = PORT, use_tcp: bool = False
) -> DnsAnswer:
    """Ask for "A" or "AAAA" of an absolute name. Never raises: see `DnsAnswer.status` for what can come of it.

    Beside the listed ones: "malformed" (neither question nor answer can be read), "lame" (a server that knows nothing
    and asks nobody), "tcp_blocked" (its answer over UDP was cut short,
    and TCP fails), and in lower case any other response code ("formerr", "notimp").
    """
    status, response = await ask_whole(nameserver, name, record, timeout, port, use_tcp)
    addresses = _addresses(response, record) if response is not None else ()
    return _answer(nameserver, name, record, status, addresses)


async def ask_whole(
    nameserver: str, name: str, record: str, timeout: timedelta, port: int = PORT, use_tcp: bool = False
) -> tuple[str, dns.message.Message | None]:
    """(status as `ask` has it, the whole answer where there is one) for a record of any type. Never raises."""
    try:
        query = _query(name, record)
        response = await _exchange(query, nameserver, port, use_tcp, timeout.total_seconds())
    except _TcpBlockedError:
        return "tcp_blocked", None
    except TimeoutError:
        return "timeout", None
    except OSError:
        return "unreachable", None
    except (_MalformedError, dns.exception.DNSException):
        return "malformed", None
    return _status(response), response


def _answer(nameserver: str, name: str, record: str, status: str, addresses: tuple[str, ...] = ()) -> DnsAnswer:
    return DnsAnswer(nameserver=nameserver, name=name, record=record, status=status, addresses=addresses)


def _query(name: str, record: str) -> dns.message.QueryMessage:
    """The name's labels as they are: a backslash escapes nothing here."""
    labels = [label.encode() for label in name.removesuffix(".").split(".")]
    query = dns.message.make_query(dns.name.Name([*labels, b""]), record)
    query.use_edns(edns=0, payload=_PAYLOAD)
    return query


async def _exchange(
    query: dns.message.QueryMessage, nameserver: str, port: int, use_tcp: bool, seconds: float
) -> dns.message.Message:
    async with asyncio.timeout(seconds) as bound:
        if use_tcp:
            return await _over_tcp(query, nameserver, port)
        response = await _over_udp(query, nameserver, port)
    if not response.flags & dns.flags.TC:
        return response
    try:
        async with asyncio.timeout_at(bound.when()):
            return await _over_tcp(query, nameserver, port)
    except (TimeoutError, OSError) as error:
        raise _TcpBlockedError from error


async def _over_udp(query: dns.message.QueryMessage, nameserver: str, port: int) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    family, where = socket_address(nameserver, port)
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as connection:
        await loop.sock_connect(connection, where)
        while True:
            await loop.sock_sendall(connection, query.to_wire())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ASK_AGAIN_AFTER):
                    return await _receive(query, connection)


async def _receive(query: dns.message.QueryMessage, connection: socket.socket) -> dns.message.Message:
    while True:
        wire = await asyncio.get_running_loop().sock_recv(connection, 65535)
        if _is_answer(query, wire):
            return _parse(wire)
        await asyncio.sleep(0)  # a flood of forgeries must not keep the bound in time from coming


async def _over_tcp(query: dns.message.QueryMessage, nameserver: str, port: int) -> dns.message.Message:
    reader, writer = await asyncio.open_connection(nameserver, port)
    try:
        wire = query.to_wire()
        writer.write(len(wire).to_bytes(2, "big") + wire)
        length = int.from_bytes(await reader.readexactly(2), "big")
        wire = await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError from error
    finally:
        writer.close()
    if not _is_answer(query, wire):
        raise _MalformedError
    return _parse(wire)


def _is_answer(query: dns.message.QueryMessage, wire: bytes) -> bool:
    if _is_plain_answer(query, wire):
        return True
    try:
        response = dns.message.from_wire(wire, question_only=True)
    except (dns.exception.DNSException, ValueError):
        return False
    is_response = bool(response.flags & dns.flags.QR) and response.id == query.id
    return is_response and len(response.question) > 0 and response.question[0] == query.question[0]


def _is_plain_answer(query: dns.message.Message, wire: bytes) -> bool:
    """As nearly all are: of the same number, to the one question as it was written. Without reading the rest."""
    (question,) = query.question
    asked = question.name.to_wire() or b""
    asked += question.rdtype.to_bytes(2, "big") + question.rdclass.to_bytes(2, "big")
    is_response = len(wire) > 12 and wire[2] & 0xF8 == 0x80 and wire[4:6] == b"\0\1"  # RFC 1035 section 4.1.1
    return is_response and wire[:2] == query.id.to_bytes(2, "big") and wire.startswith(asked, 12)


def _parse(wire: bytes) -> dns.message.Message:
    try:
        return dns.message.from_wire(wire, ignore_trailing=True, one_rr_per_rrset=True)
    except (dns.exception.DNSException, ValueError) as error:
        raise _MalformedError from error


def _status(response: dns.message.Message) -> str:
    code = response.rcode()
    knows = response.flags & (dns.flags.AA | dns.flags.RA)
    has_more = bool(response.additional) or response.edns >= 0
    if code == dns.rcode.NOERROR and not knows and not response.answer and not has_more:
        return "lame"
    return _RCODES.get(code) or dns.rcode.to_text(code).lower()


def _addresses(response: dns.message.Message, record: str) -> tuple[str, ...]:
    """All addresses of the answer, whoever's they are: like Go, which leaves CNAMEs to the nameserver. None, if
    none of them is of the record that was asked for."""
    wanted = (dns.rdatatype.A, dns.rdatatype.AAAA)
    found = [rdata for rrset in response.answer if rrset.rdtype in wanted for rdata in rrset]
    is_there = any(rdata.rdtype == dns.rdatatype.from_text(record) for rdata in found)
    return tuple(rdata.address for rdata in found) if is_there else ()
