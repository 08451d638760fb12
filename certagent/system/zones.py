"""Which zone a name is in and which servers have it, asked of one server (RFC 1034). Bounded; never raises."""

import asyncio
import ipaddress
from datetime import timedelta

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import msgspec

from certagent.system import dns as wire
from certagent.system.libc import addresses_of


class ZoneAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What one server says. `status` as of `TxtAnswer`; `zone` is absolute, null where the server cannot say.

    `is_own`: the server has that zone itself. `delegated_to`: it only knows that others have it (a zone cut); `zone` is
    then theirs.
    """

    status: str
    zone: str | None = None
    serial: int | None = None
    is_own: bool = False
    delegated_to: tuple[str, ...] = ()


async def find_zone(server: str, name: str, timeout: timedelta, port: int = wire.PORT) -> ZoneAnswer:
    """The zone that a name (absolute, it need not exist) is in: the owner of the SOA that the answer carries."""
    status, response = await wire.ask_whole(server, name, "SOA", timeout, port)
    if response is None:
        return ZoneAnswer(status=status)
    soa = soa_of(response)
    if soa is not None:
        is_own = bool(response.flags & dns.flags.AA)
        return ZoneAnswer(status=status, zone=soa.name.to_text().lower(), serial=soa[0].serial, is_own=is_own)
    cut = [rrset for rrset in response.authority if rrset.rdtype == dns.rdatatype.NS]
    if not cut:
        return ZoneAnswer(status=status)
    others = tuple(rdata.target.to_text() for rrset in cut for rdata in rrset)
    return ZoneAnswer(status=status, zone=cut[0].name.to_text().lower(), delegated_to=others)


async def servers_of(server: str, zone: str, timeout: timedelta, port: int = wire.PORT) -> tuple[str, ...]:
    """The addresses of the zone's servers, `server` first. Names of them come from its own answers, else from libc."""
    _, response = await wire.ask_whole(server, zone, "NS", timeout, port)
    if response is None:
        return (server,)
    addresses: list[str] = []
    for name in (rdata.target.to_text() for rrset in response.answer for rdata in rrset if rrset.rdtype == _NS):
        addresses += _glue(response, name) or await _addresses_of(server, name, timeout, port)
    return tuple(dict.fromkeys((server, *(address for address in addresses if not _is_loopback(address)))))


def soa_of(response: dns.message.Message) -> dns.rrset.RRset | None:
    """The SOA of an answer, or of what says that there is none (RFC 2308 section 3)."""
    sections = (*response.answer, *response.authority)
    return next((rrset for rrset in sections if rrset.rdtype == dns.rdatatype.SOA), None)


_NS = dns.rdatatype.NS


def _glue(response: dns.message.Message, name: str) -> list[str]:
    kinds = (dns.rdatatype.A, dns.rdatatype.AAAA)
    return [
        rdata.address
        for rrset in response.additional
        if rrset.rdtype in kinds and rrset.name.to_text() == name
        for rdata in rrset
    ]


async def _addresses_of(server: str, name: str, timeout: timedelta, port: int) -> list[str]:
    answer = await wire.ask(server, name, "A", timeout, port)
    if answer.addresses:
        return list(answer.addresses)
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            return await addresses_of(name)
    except (OSError, UnicodeError):
        return []


def _is_loopback(address: str) -> bool:
    """A server that is called localhost is so for itself, not for us."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
