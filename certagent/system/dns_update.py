"""TXT records: asked for on the wire, and written by dynamic update (RFC 2136, RFC 8945). Bounded; decides nothing."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update
import msgspec

from certagent.domain.dns01_record import TxtAnswer
from certagent.system import dns as wire
from certagent.system.zones import soa_of

_TSIG_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (dns.tsig.PeerBadKey, "BADKEY"),
    (dns.tsig.PeerBadSignature, "BADSIG"),
    (dns.tsig.PeerBadTime, "BADTIME"),
    (dns.tsig.PeerBadTruncation, "BADTRUNC"),
    (dns.tsig.BadKey, "BADKEY"),
    (dns.tsig.BadSignature, "BADSIG"),
    (dns.tsig.BadTime, "BADTIME"),
    (dns.message.UnknownTSIGKey, "BADKEY"),
)


class TsigKey(msgspec.Struct, frozen=True):
    """A key by name (RFC 8945), its secret and algorithm ("hmac-sha256", ...)."""

    name: str
    secret: bytes
    algorithm: str

    def __repr__(self) -> str:
        return f"TsigKey({self.name!r}, {self.algorithm!r})"


async def ask_txt(
    nameserver: str,
    name: str,
    wanted: str,
    timeout: timedelta,
    *,
    port: int = wire.PORT,
    use_tcp: bool = False,
) -> TxtAnswer:
    """Whether the wanted text is among the TXT records of an absolute name. Never raises."""
    status, response = await wire.ask_whole(nameserver, name, "TXT", timeout, port, use_tcp)
    if response is None:
        return TxtAnswer(nameserver=nameserver, name=name, status=status)
    texts = [b"".join(rdata.strings) for rdata in _records(response, dns.rdatatype.TXT)]
    ttls = [rrset.ttl for rrset in response.answer]
    soa = soa_of(response)
    return TxtAnswer(
        nameserver=nameserver,
        name=name,
        status=status,
        records=len(texts),
        matched=wanted.encode() in texts,
        ttl=min(ttls) if ttls else None,
        zone=soa.name.to_text() if soa else None,
        serial=soa[0].serial if soa else None,
        negative_for=min(soa.ttl, soa[0].minimum) if soa and not texts else None,
        is_own=bool(response.flags & dns.flags.AA),
    )


class UpdateAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an update. `error`: null, "unreachable", "tsig" or "rcode"; `rcode` says which ("REFUSED",
    "NOTAUTH", "BADKEY", "BADTIME", ...)."""

    error: str | None = None
    rcode: str | None = None
    detail: str = ""


async def update_txt(
    server: str,
    zone: str,
    name: str,
    change: tuple[Sequence[str], Sequence[str]],
    *,
    key: TsigKey,
    seconds: float,
    port: int,
) -> UpdateAnswer:
    """Add and remove these texts, in one update over TCP. Never raises.

    Nobody may keep what is added (TTL 0): a rehearsal's record must not stand in the way of the order's.
    """
    keyname = dns.name.from_text(key.name)
    keyring = {keyname: dns.tsig.Key(keyname, key.secret, key.algorithm)}
    message = dns.update.UpdateMessage(zone, keyring=keyring, keyname=keyname)
    where = dns.name.from_text(name)
    for text in change[1]:
        message.delete(where, "TXT", f'"{text}"')
    for text in change[0]:
        message.add(where, 0, "TXT", f'"{text}"')
    return await asyncio.to_thread(_send, message, server, seconds, port)


def _send(message: dns.update.UpdateMessage, server: str, seconds: float, port: int) -> UpdateAnswer:
    try:
        response = dns.query.tcp(message, server, timeout=seconds, port=port)
    except tuple(kind for kind, _ in _TSIG_ERRORS) as error:
        rcode = next(name for kind, name in _TSIG_ERRORS if isinstance(error, kind))
        return UpdateAnswer(error="tsig", rcode=rcode, detail=str(error))
    except (OSError, EOFError, dns.exception.DNSException) as error:
        return UpdateAnswer(error="unreachable", detail=str(error) or type(error).__name__)
    if response.rcode() != dns.rcode.NOERROR:
        return UpdateAnswer(error="rcode", rcode=dns.rcode.to_text(response.rcode()))
    return UpdateAnswer()


def _records(response: dns.message.Message, kind: dns.rdatatype.RdataType) -> list[Any]:
    """All of that type in the answer, whoever's they are: CNAMEs are the nameserver's business, as for Go."""
    return [rdata for rrset in response.answer if rrset.rdtype == kind for rdata in rrset]
