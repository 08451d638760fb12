"""One question on the wire, against real sockets: good answers, hostile ones, none."""

import asyncio
import socket
from datetime import timedelta

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from certagent.domain.diagnosis import conclude
from certagent.domain.rehearsals import DnsAnswer
from certagent.domain.resolution.file_formats import Nameserver, ResolvConf
from certagent.domain.resolution.files import ResolverFiles
from certagent.system.dns import ask
from certagent.vantage.ca_resolver import ResolverSession
from tests.evidence import make_evidence
from tests.fakes.nameserver import nameserver, reply

NAME = "app.internal.thinkheads.ai."
BOUND = timedelta(seconds=0.4)


async def asked(port: int, record: str = "A", name: str = NAME) -> DnsAnswer:
    """The answer of that nameserver, within a short bound."""
    return await ask("127.0.0.1", name, record, BOUND, port)


@pytest.mark.parametrize(
    ("rcode", "status"),
    [(dns.rcode.NXDOMAIN, "nxdomain"), (dns.rcode.SERVFAIL, "servfail"), (dns.rcode.REFUSED, "refused"),
     (dns.rcode.NOTIMP, "notimp"), (dns.rcode.FORMERR, "formerr"), (dns.rcode.NOERROR, "ok")],
)  # fmt: skip
async def test_response_codes(rcode: int, status: str) -> None:
    """In the words of `DnsAnswer`."""
    async with nameserver(lambda query: [reply(query, rcode=rcode)]) as port:
        answer = await asked(port)
    assert (answer.status, answer.addresses) == (status, ())


async def test_addresses_come_in_the_order_of_the_answer() -> None:
    """All of them, and those of the other family with them, as Go takes them."""
    async with nameserver(lambda query: [reply(query, "10.0.0.13", "10.0.0.12", "2001:db8::1")]) as port:
        assert (await asked(port)).addresses == ("10.0.0.13", "10.0.0.12", "2001:db8::1")


async def test_only_the_other_family_is_no_data() -> None:
    """An A in the answer to an AAAA question is none."""
    async with nameserver(lambda query: [reply(query, "10.0.0.13")]) as port:
        assert (await asked(port, "AAAA")).addresses == ()


async def test_a_closed_port_is_known_at_once() -> None:
    """No waiting for a bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    began_at = asyncio.get_running_loop().time()
    assert (await asked(port)).status == "unreachable"
    assert asyncio.get_running_loop().time() - began_at < BOUND.total_seconds()


async def test_silence_ends_with_the_bound() -> None:
    """As a timeout."""
    async with nameserver(lambda _query: []) as port:
        assert (await asked(port)).status == "timeout"


async def test_a_lost_packet_is_sent_again() -> None:
    """Within the bound."""
    heard: list[int] = []

    def deaf_once(query: dns.message.Message) -> list[bytes]:
        heard.append(query.id)
        return [reply(query, "10.0.0.12")] if len(heard) > 1 else []

    async with nameserver(deaf_once) as port:
        answer = await ask("127.0.0.1", NAME, "A", timedelta(seconds=5), port)
    assert answer.status == "ok"
    assert len(set(heard)) == 1


async def test_forged_answers_are_not_answers() -> None:
    """Another id, another question, no response, noise: all passed over until the right one comes."""

    def forge(query: dns.message.Message) -> list[bytes]:
        other_id = bytearray(reply(query, "10.6.6.6"))
        other_id[0] ^= 0xFF
        other_question = dns.message.make_response(dns.message.make_query("evil.test.", "A", id=query.id)).to_wire()
        return [bytes(other_id), other_question, query.to_wire(), b"x", b"", reply(query, "10.0.0.12")]

    async with nameserver(forge) as port:
        assert (await asked(port)).addresses == ("10.0.0.12",)


async def test_an_answer_that_cannot_be_read_is_malformed() -> None:
    """The right header and question, then nonsense."""
    async with nameserver(lambda query: [reply(query, "10.0.0.12")[:-9]]) as port:
        assert (await asked(port)).status == "malformed"


async def test_an_answer_cut_short_is_asked_for_again_over_tcp() -> None:
    """64 KB of it, too."""
    many = [f"10.{number // 250}.{number % 250}.1" for number in range(3000)]

    def whole(query: dns.message.Message) -> list[bytes]:
        wire = reply(query, *many)
        return [len(wire).to_bytes(2, "big"), wire]

    async with nameserver(lambda query: [reply(query, flags=dns.flags.TC)], whole) as port:
        answer = await ask("127.0.0.1", NAME, "A", timedelta(seconds=10), port)
    assert len(answer.addresses) == 3000


@pytest.mark.parametrize("said", [b"", b"\x00", b"\x00\x05x", b"\x00\x04xxxx"])
async def test_a_broken_stream_is_trouble_and_no_traceback(said: bytes) -> None:
    """Closed too early, or nonsense."""
    async with nameserver(lambda query: [reply(query, flags=dns.flags.TC)], lambda _query: [said]) as port:
        assert (await asked(port)).status in ("tcp_blocked", "malformed")


async def test_tcp_that_is_blocked_is_trouble() -> None:
    """Nobody listens there."""
    async with nameserver(lambda query: [reply(query, flags=dns.flags.TC)]) as port:
        assert (await asked(port)).status == "tcp_blocked"


async def test_a_server_that_knows_nothing_and_asks_nobody_is_lame() -> None:
    """NOERROR without answer, authority or recursion."""

    def lame(query: dns.message.Message) -> list[bytes]:
        response = dns.message.make_response(query, recursion_available=False)
        response.use_edns(False)
        return [response.to_wire()]

    async with nameserver(lame) as port:
        assert (await asked(port)).status == "lame"


@pytest.mark.parametrize("name", ["l" * 64 + ".test.", "a..test.", "x." * 130])
async def test_a_question_that_cannot_be_written_is_malformed(name: str) -> None:
    """Not sent, not raised."""
    assert (await asked(9, name=name)).status == "malformed"


async def test_a_nameserver_without_a_route_is_unreachable() -> None:
    """A scope that does not exist, for one."""
    assert (await ask("fe80::1%nowhere", NAME, "A", BOUND)).status == "unreachable"


@pytest.mark.parametrize(
    ("rcode", "code"),
    [(dns.rcode.NXDOMAIN, "dns.nxdomain"), (dns.rcode.SERVFAIL, "dns.servfail"), (dns.rcode.REFUSED, "dns.refused"),
     (dns.rcode.NOERROR, "dns.nodata")],
)  # fmt: skip
async def test_a_nameservers_answer_becomes_a_finding(rcode: int, code: str) -> None:
    """From the wire to the code: looked up as the CA does it, and concluded."""
    async with nameserver(lambda query: [reply(query, rcode=rcode)]) as port:
        only = Nameserver(2, "nameserver 127.0.0.1", f"127.0.0.1:{port}")
        async with ResolverSession(ResolverFiles(resolv_conf=ResolvConf(nameservers=(only,)))) as session:
            resolution = await session.resolve(NAME)
    assert [finding.code for finding in conclude(make_evidence(resolution))] == [code]
