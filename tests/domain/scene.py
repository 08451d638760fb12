"""A path and everything that can be seen of it, for conclusions: good as it stands, changed by keyword."""

from datetime import UTC, datetime, timedelta

import msgspec

from certagent.domain.diagnosis.evidence import DirectoryCheck, Evidence, ResponderCheck
from certagent.domain.dns01_record import Publication, TxtAnswer, TxtLookup
from certagent.domain.observations import ListeningSocket, NodeObservation, PastRehearsal, WebServerObservation
from certagent.domain.rehearsals import (
    AddressOwner,
    Attempt,
    DnsAnswer,
    Hop,
    Origin,
    Provisioner,
    Rehearsal,
    RehearsalOutcome,
    Resolution,
    ResolvedAddress,
)

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
NAME, NODE = "app.lan.test", "lxc102"
OWN, OTHER, CA, NOBODY, V6 = "10.0.0.12", "10.0.0.153", "10.0.0.10", "10.0.0.78", "fd00::12"
DNS, SECOND = "10.0.0.2", "10.0.0.3"
RESOLV_CONF = "/etc/resolv.conf"
OWNERS = {
    OWN: AddressOwner(node=NODE, role="traefik"),
    OTHER: AddressOwner(node="lxc101", role="gateway"),
    DNS: AddressOwner(node="lxc101", role="gateway"),
    CA: AddressOwner(node="lxc103", role="authority"),
}
CONFIGURED = Provisioner(file="/etc/ca.json", lines={"provisioners": 11, "allow": 8, "names": 6})
GOOD_CA = DirectoryCheck(url="https://ca.lan.test:9000/acme/acme/directory", address=CA, status=200)
RECORD, ZONE, PRIMARY = f"_acme-challenge.{NAME}.", "lan.test.", "10.0.0.50"


def nameserver(address: str = DNS, line: int = 2) -> Origin:
    """A line of resolv.conf."""
    text = f"nameserver {address}"
    return Origin(source="resolv.conf", file=RESOLV_CONF, line=line, text=text, nameserver=address)


def said(*addresses: str, server: str = DNS, status: str = "ok", record: str = "A") -> DnsAnswer:
    """What a nameserver answered."""
    return DnsAnswer(nameserver=server, name=f"{NAME}.", record=record, status=status, addresses=addresses)


def told(address: str, asked: str = f"{NAME}.") -> ResolvedAddress:
    """An address out of DNS."""
    return ResolvedAddress(address=address, origin=Origin(source="dns", nameserver=DNS, asked=asked))


def pinned(address: str, line: int = 9) -> ResolvedAddress:
    """An address out of a hosts line."""
    text = f"{address} {NAME}"
    return ResolvedAddress(address=address, origin=Origin(source="hosts", file="/etc/hosts", line=line, text=text))


GOOD = Resolution(name=NAME, addresses=(told(OWN),), dns=(said(OWN),), nameservers=(nameserver(),))


def names(**changes: object) -> Resolution:
    """How the name resolves."""
    return msgspec.structs.replace(GOOD, **changes)


def nowhere(error: str, **changes: object) -> Resolution:
    """A name without address; `error` is what the only nameserver said."""
    status = "ok" if error == "nodata" else error
    return names(**{"addresses": (), "dns": (said(status=status),), "error": error, **changes})


def hop(address: str = OWN, status: int | None = None, **changes: object) -> Hop:
    """One fetch."""
    seen = Hop(url=f"http://{NAME}/", name=NAME, address=address, status=status, server="nginx" if status else None)
    return msgspec.structs.replace(seen, **changes)


def scene(resolution: Resolution = GOOD, *hops: Hop, passed: bool | None = None, **changes: object) -> Evidence:
    """Evidence about one identifier: what is good, but for what is given. Of hops, the token comes at none."""
    address = resolution.addresses[0].address if resolution.addresses else ""
    is_good = passed if passed is not None else not hops and bool(address)
    chain = hops or ((hop(address, 200 if is_good else 404),) if address else ())
    rehearsal = Rehearsal(
        identifier=NAME,
        outcome=RehearsalOutcome.PASSED if is_good else RehearsalOutcome.FAILED,
        at=NOW,
        node="lxc103",
        resolution=resolution,
        attempts=(Attempt(hops=chain, matched=is_good),) if chain else (),
        owners=OWNERS,
    )
    of_rehearsal = {key: one for key, one in changes.items() if key in Rehearsal.__struct_fields__}
    rest = {key: one for key, one in changes.items() if key not in of_rehearsal}
    evidence = Evidence(
        identifier=NAME,
        node=NODE,
        addresses=(OWN,),
        rehearsal=msgspec.structs.replace(rehearsal, **of_rehearsal),
        responder=ResponderCheck(listen="127.0.0.1:5002", answered=True),
        directory=(GOOD_CA,),
    )
    return msgspec.structs.replace(evidence, **rest)


def directory(error: str | None, **changes: object) -> tuple[DirectoryCheck, ...]:
    """The CA's directory, looked at by name."""
    return (msgspec.structs.replace(GOOD_CA, error=error, status=None, **changes),)


def gateway(**changes: object) -> Evidence:
    """A failed rehearsal at this node, and what its web server's configuration says."""
    return scene(GOOD, hop(OWN, 404), gateways=(WebServerObservation(**{"server": "nginx", **changes}),))  # type: ignore[arg-type]


def responder(port: int = 5002, *, answered: bool = False, ours: bool = False) -> Evidence:
    """The responder of this node, and who listens on a port here."""
    here = NodeObservation(listeners=(ListeningSocket("127.0.0.1", port, "python3", ours),))
    check = ResponderCheck(listen="127.0.0.1:5002", answered=answered)
    return scene(here=here, responder=check, **({} if answered else {"passed": False}))  # type: ignore[arg-type]


def looks(*seen: tuple[str, str | None], apart: timedelta = timedelta(seconds=5)) -> tuple[PastRehearsal, ...]:
    """The last rehearsals: (address, trouble) of each."""
    return tuple(
        PastRehearsal(at=NOW + number * apart, addresses=(address,), trouble=trouble)
        for number, (address, trouble) in enumerate(seen)
    )


def handshake(seen: Hop, responder: ResponderCheck | None = None) -> Evidence:
    """tls-alpn-01: one handshake."""
    check = responder or ResponderCheck(listen="0.0.0.0:443", answered=True, challenge="tls-alpn-01")
    is_good = seen.alpn is not None and seen.alpn.is_good
    shaken = msgspec.structs.replace(seen, port=443)
    return scene(GOOD, shaken, passed=is_good, challenge="tls-alpn-01", responder=check)


def published(answer: TxtAnswer | None = None, **changes: object) -> Evidence:
    """dns-01: the record written (or not), and what the CA's nameserver says of it."""
    has_it = TxtAnswer(nameserver=PRIMARY, name=RECORD, status="ok", records=1, matched=True, is_own=True)
    taken = Publication(server=PRIMARY, name=RECORD, zone=ZONE, key_name="k", serial=9, servers=(has_it,))
    publication = msgspec.structs.replace(taken, **changes)
    answer = answer or TxtAnswer(nameserver=DNS, name=RECORD, status="ok", records=1, matched=True)
    check = ResponderCheck(listen=f"{PRIMARY}:53", answered=True, challenge="dns-01", publication=publication)
    txt = TxtLookup(name=RECORD, answers=(answer,), error=None if answer.records else "nodata")
    return scene(passed=txt.matched, challenge="dns-01", responder=check, attempts=(), txt=txt)


def unpublished(**changes: object) -> TxtAnswer:
    """The CA's nameserver says that there is no record."""
    seen = TxtAnswer(nameserver=DNS, name=RECORD, status="nxdomain", zone=ZONE, serial=7, negative_for=42)
    return msgspec.structs.replace(seen, **changes)
