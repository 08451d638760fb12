"""What can be seen of a path, built for tests: good as it stands, changed by keyword.

The nodes are the lab's: lxc101 is the gateway (10.0.0.153) and has the nameserver, lxc102 is Traefik (10.0.0.12) and
wants the certificate, lxc103 is the CA's (10.0.0.10). Only here the nameserver has an address for itself, so that a
test tells it from the gateway.
"""

from datetime import UTC, datetime, timedelta

import msgspec

from certagent.config.policy_files import load_policy
from certagent.domain.diagnosis import conclude
from certagent.domain.diagnosis.evidence import DirectoryCheck, Evidence, ResponderCheck
from certagent.domain.dns01_record import Publication, TxtAnswer, TxtLookup
from certagent.domain.findings import Culprit, Finding, Severity, Vantage
from certagent.domain.observations import ListeningSocket, NodeObservation, PastRehearsal, WebServerObservation
from certagent.domain.policy import Judgement, judged
from certagent.domain.rehearsals import (
    ACME_TLS,
    AddressOwner,
    AlpnAnswer,
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
TRAEFIK, NGINX = "traefik.internal.thinkheads.ai", "nginx.internal.thinkheads.ai"
NAME, NODE = TRAEFIK, "lxc102"
OWN, OTHER, CA, NOBODY, V6 = "10.0.0.12", "10.0.0.153", "10.0.0.10", "10.0.0.78", "fd00::12"
"""The addresses of this node, of the gateway, of the CA, of no node, and this node's second one."""
DNS, SECOND = "10.0.0.2", "10.0.0.3"
HOSTS_FILE, RESOLV_CONF = "/etc/hosts", "/etc/resolv.conf"
LINE = f"{OTHER} {NAME}"
"""The founding failure, as it stands in the hosts file beside the CA."""
OWNERS = {
    OWN: AddressOwner(node=NODE, role="traefik"),
    OTHER: AddressOwner(node="lxc101", role="gateway"),
    DNS: AddressOwner(node="lxc101", role="gateway"),
    CA: AddressOwner(node="lxc103", role="authority"),
}
CONFIGURED = Provisioner(file="/etc/ca.json", lines={"provisioners": 11, "allow": 8, "names": 6})
GOOD_CA = DirectoryCheck(url="https://ca.internal.thinkheads.ai:9000/acme/acme/directory", address=CA, status=200)
GOOD_HANDSHAKE = AlpnAnswer(protocol=ACME_TLS, is_alone=True, extension="ours")
RECORD, ZONE, PRIMARY = f"_acme-challenge.{NAME}.", "internal.thinkheads.ai.", "10.0.0.50"
POLICY = load_policy(None)


def nameserver(address: str = DNS, line: int = 2) -> Origin:
    """A line of resolv.conf."""
    text = f"nameserver {address}"
    return Origin(source="resolv.conf", file=RESOLV_CONF, line=line, text=text, nameserver=address)


def dns_says(*addresses: str, server: str = DNS, status: str = "ok", record: str = "A") -> DnsAnswer:
    """What a nameserver answered."""
    return DnsAnswer(nameserver=server, name=f"{NAME}.", record=record, status=status, addresses=addresses)


def by_dns(address: str, asked: str | None = f"{NAME}.", server: str = DNS) -> ResolvedAddress:
    """An address out of DNS."""
    return ResolvedAddress(address=address, origin=Origin(source="dns", nameserver=server, asked=asked))


def by_hosts(address: str, line: int = 9, name: str = NAME) -> ResolvedAddress:
    """An address out of a hosts line."""
    origin = Origin(source="hosts", file=HOSTS_FILE, line=line, text=f"{address} {name}")
    return ResolvedAddress(address=address, origin=origin)


GOOD = Resolution(name=NAME, addresses=(by_dns(OWN),), dns=(dns_says(OWN),), nameservers=(nameserver(),))


def make_resolution(**changes: object) -> Resolution:
    """How the name resolves."""
    return msgspec.structs.replace(GOOD, **changes)


def unresolved(error: str, **changes: object) -> Resolution:
    """A name without address; `error` is what the only nameserver said."""
    status = "ok" if error == "nodata" else error
    return make_resolution(**{"addresses": (), "dns": (dns_says(status=status),), "error": error, **changes})


def make_hop(address: str = OWN, status: int | None = None, **changes: object) -> Hop:
    """One fetch."""
    seen = Hop(url=f"http://{NAME}/", name=NAME, address=address, status=status, server="nginx" if status else None)
    return msgspec.structs.replace(seen, **changes)


def make_handshake(address: str = OWN, alpn: AlpnAnswer | None = None, **changes: object) -> Hop:
    """One handshake of tls-alpn-01."""
    seen = Hop(url=f"acme-tls://{NAME}:443", name=NAME, address=address, port=443, alpn=alpn)
    return msgspec.structs.replace(seen, **changes)


def attempts_of(*hops: Hop, matched: bool = False) -> tuple[Attempt, ...]:
    """One attempt over these hops; of none, no attempt."""
    return (Attempt(hops=hops, matched=matched),) if hops else ()


def make_rehearsal(
    resolution: Resolution | None = GOOD, *hops: Hop, passed: bool = False, **changes: object
) -> Rehearsal:
    """What the agent beside the CA saw over these hops."""
    seen = Rehearsal(
        identifier=NAME,
        outcome=RehearsalOutcome.PASSED if passed else RehearsalOutcome.FAILED,
        at=NOW,
        node="lxc103",
        resolution=resolution,
        attempts=attempts_of(*hops, matched=passed),
        owners=OWNERS,
    )
    return msgspec.structs.replace(seen, **changes)


def unavailable(reason: str | None = None, **changes: object) -> Rehearsal:
    """A rehearsal that nobody could make, or that shows nothing of the token."""
    seen = make_rehearsal(None, outcome=RehearsalOutcome.UNAVAILABLE, reason=reason)
    return msgspec.structs.replace(seen, **changes)


def make_evidence(resolution: Resolution = GOOD, *hops: Hop, passed: bool | None = None, **changes: object) -> Evidence:
    """Evidence about one identifier: what is good, but for what is given. Of hops, the token comes at none."""
    address = resolution.addresses[0].address if resolution.addresses else ""
    is_good = passed if passed is not None else not hops and bool(address)
    chain = hops or ((make_hop(address, 200 if is_good else 404),) if address else ())
    of_rehearsal = {key: changes.pop(key) for key in set(changes) & set(Rehearsal.__struct_fields__)}
    seen = make_rehearsal(resolution, *chain, passed=is_good)
    evidence = bare_evidence(
        msgspec.structs.replace(seen, **of_rehearsal),
        responder=ResponderCheck(listen="127.0.0.1:5002", answered=True),
        directory=(GOOD_CA,),
    )
    return msgspec.structs.replace(evidence, **changes)


def bare_evidence(rehearsal: Rehearsal | None, **changes: object) -> Evidence:
    """A rehearsal, and nothing else that anybody looked at."""
    evidence = Evidence(
        identifier=rehearsal.identifier if rehearsal else NAME, node=NODE, addresses=(OWN,), rehearsal=rehearsal
    )
    return msgspec.structs.replace(evidence, **changes)


def conclude_by_code(evidence: Evidence) -> dict[str, Finding]:
    """What is concluded."""
    return {finding.code: finding for finding in conclude(evidence)}


def judge(evidence: Evidence) -> Judgement:
    """What the packaged policy makes of it."""
    return judged(POLICY, evidence.identifier, conclude(evidence), evidence.rehearsal)


def directory(error: str | None, **changes: object) -> tuple[DirectoryCheck, ...]:
    """The CA's directory, looked at by name."""
    return (msgspec.structs.replace(GOOD_CA, error=error, status=None, **changes),)


def of_web_server(**changes: object) -> Evidence:
    """A failed rehearsal at this node, and what its web server's configuration says."""
    return make_evidence(GOOD, make_hop(OWN, 404), gateways=(WebServerObservation(**{"server": "nginx", **changes}),))  # type: ignore[arg-type]


def of_responder(port: int = 5002, *, answered: bool = False, ours: bool = False) -> Evidence:
    """The responder of this node, and who listens on a port here."""
    here = NodeObservation(listeners=(ListeningSocket("127.0.0.1", port, "python3", ours),))
    check = ResponderCheck(listen="127.0.0.1:5002", answered=answered)
    return make_evidence(here=here, responder=check, **({} if answered else {"passed": False}))  # type: ignore[arg-type]


def past_rehearsals(
    *seen: tuple[str, str | None], apart: timedelta = timedelta(seconds=5)
) -> tuple[PastRehearsal, ...]:
    """The last rehearsals: (address, trouble) of each."""
    return tuple(
        PastRehearsal(at=NOW + number * apart, addresses=(address,), trouble=trouble)
        for number, (address, trouble) in enumerate(seen)
    )


def of_handshake(seen: Hop, responder: ResponderCheck | None = None) -> Evidence:
    """tls-alpn-01: one handshake."""
    check = responder or ResponderCheck(listen="0.0.0.0:443", answered=True, challenge="tls-alpn-01")
    is_good = seen.alpn is not None and seen.alpn.is_good
    return make_evidence(GOOD, seen, passed=is_good, challenge="tls-alpn-01", responder=check)


def of_publication(answer: TxtAnswer | None = None, **changes: object) -> Evidence:
    """dns-01: the record written (or not), and what the CA's nameserver says of it."""
    has_it = TxtAnswer(nameserver=PRIMARY, name=RECORD, status="ok", records=1, matched=True, is_own=True)
    taken = Publication(server=PRIMARY, name=RECORD, zone=ZONE, key_name="k", serial=9, servers=(has_it,))
    publication = msgspec.structs.replace(taken, **changes)
    answer = answer or TxtAnswer(nameserver=DNS, name=RECORD, status="ok", records=1, matched=True)
    check = ResponderCheck(listen=f"{PRIMARY}:53", answered=True, challenge="dns-01", publication=publication)
    txt = TxtLookup(name=RECORD, answers=(answer,), error=None if answer.records else "nodata")
    return make_evidence(passed=txt.matched, challenge="dns-01", responder=check, attempts=(), txt=txt)


def unpublished(**changes: object) -> TxtAnswer:
    """The CA's nameserver says that there is no record."""
    seen = TxtAnswer(nameserver=DNS, name=RECORD, status="nxdomain", zone=ZONE, serial=7, negative_for=42)
    return msgspec.structs.replace(seen, **changes)


def make_finding(
    code: str,
    explanation: str = "That is so.",
    *,
    severity: Severity = Severity.FATAL,
    vantage: Vantage = Vantage.AUTHORITY,
    reporter: str = "lxc103",
    **changes: object,
) -> Finding:
    """A finding of nobody in particular, by the agent beside the CA unless another is named."""
    finding = Finding(code=code, severity=severity, vantage=vantage, reporter=reporter, explanation=explanation)
    return msgspec.structs.replace(finding, **changes)


def shadow(identifier: str = NAME, *, reporter: str = "lxc103", line: int = 7, address: str = OTHER) -> Finding:
    """The founding failure: a hosts line beside the CA decides."""
    return make_finding(
        "dns.hosts_shadow.authority",
        f"The CA on lxc103 goes to {address} for {identifier}, because line {line} of /etc/hosts says so.",
        identifier=identifier,
        reporter=reporter,
        culprit=Culprit(node="lxc103", file=HOSTS_FILE, line=line, text=f"{address} {identifier}", address=address),
        fix=f"Remove line {line} of /etc/hosts on lxc103",
        detail={"hosts": address, "dns": [OWN]},
    )


def refused(address: str = OWN, node: str | None = NODE, identifier: str = NAME) -> Finding:
    """Nobody listens where the CA asks."""
    return make_finding(
        "net.refused",
        f"The CA does not get through to {address} port 80 for {identifier}.",
        identifier=identifier,
        culprit=Culprit(node=node, address=address),
        fix=f"From the CA's node, reach {address} port 80.",
    )


def rehearse_traefik(outcome: RehearsalOutcome, *, at: datetime | None = None, poisoned: bool = False) -> Rehearsal:
    """What the CA's side saw just now: through the founding line, or as the gateway's nameserver says."""
    line = by_hosts(OTHER, 7)
    used = line if poisoned else by_dns(OWN, None, server=OTHER)
    passed = outcome is RehearsalOutcome.PASSED
    resolution = Resolution(
        name=NAME, addresses=(used,), hosts=(line,) if poisoned else (), dns=(dns_says(OWN, server=OTHER),)
    )
    hop = make_hop(used.address, 200 if passed else 404)
    return make_rehearsal(resolution, hop, passed=passed, outcome=outcome, at=at or datetime.now(UTC), owners={})
