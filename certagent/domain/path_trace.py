"""Paths: how the CA should reach the responder of an identifier, and how it does, hop by hop. Pure.

http-01 and tls-alpn-01 have four steps: the CA, how it resolves the name, the machine that it asks (on port 80 or 443),
and the responder that holds the token. Redirects add machines. For dns-01 the CA asks its nameserver for the record.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from certagent.domain.challenge_steps import STEPS, ChallengeSteps, answer_words, challenge_of
from certagent.domain.dns01_record import TxtLookup, record_name
from certagent.domain.findings import Culprit, Finding
from certagent.domain.probe_errors import DnsStatus
from certagent.domain.rehearsals import (
    AddressOwner,
    ChallengeType,
    Hop,
    Rehearsal,
    RehearsalOutcome,
    Resolution,
    ResolvedAddress,
    deciding,
)

_RECORD_UNSEEN = (DnsStatus.NXDOMAIN, DnsStatus.NODATA)
"""What a nameserver rightly says of a record that nobody presents."""


class HopState(StrEnum):
    """Whether a hop does its part. `UNKNOWN`: nobody has looked, or nothing got that far."""

    OK = "ok"
    BROKEN = "broken"
    UNKNOWN = "unknown"


class PathHop(msgspec.Struct, frozen=True, kw_only=True):
    """One step. `kind`: "authority", "client" (who asks in its place), "hosts", "dns", "server" or "responder";
    `detail`: what happens there."""

    kind: str
    label: str
    node: str | None = None
    role: str | None = None
    address: str | None = None
    detail: str = ""
    state: HopState = HopState.OK
    culprit: bool = False


class PathFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known: `responder` is the node that has the identifier's certificate, `findings` stand now, worst first.

    `rehearsal` is the latest one, or null; give none if a finding is newer than it.
    """

    identifier: str
    authority: str | None = None
    responder: str | None = None
    owners: Mapping[str, AddressOwner] = {}
    roles: Mapping[str, str | None] = {}
    rehearsal: Rehearsal | None = None
    findings: tuple[Finding, ...] = ()


def authority_hop(facts: PathFacts) -> PathHop:
    """The CA itself."""
    return PathHop(
        kind="authority",
        label="CA",
        node=facts.authority,
        role=role_of(facts, facts.authority),
        detail=f"asks for the challenge of {facts.identifier}",
    )


def record_hop(facts: PathFacts, lookup: TxtLookup | None, *, planted: bool) -> PathHop:
    """dns-01: the nameserver that the CA asks for the record, and what it says; as it should where nobody asked."""
    name = record_name(facts.identifier)
    server = lookup.answers[-1].nameserver if lookup is not None and lookup.answers else None
    if lookup is None or (lookup.error is None and (lookup.matched or not planted)):
        return dns_hop(facts, server, f"has the record {name}")
    said = f"record {name}: {lookup.error or 'another text'}"
    state = HopState.OK if not planted and lookup.error in _RECORD_UNSEEN else HopState.BROKEN
    culprit = state is HopState.BROKEN and is_culprit(facts, server)
    return dns_hop(facts, server, said, state, culprit=culprit)


def dns_hop(
    facts: PathFacts, nameserver: str | None, detail: str, state: HopState = HopState.OK, *, culprit: bool = False
) -> PathHop:
    """The nameserver and what it says."""
    owner = owner_of(facts, nameserver)
    return PathHop(
        kind="dns",
        label="DNS",
        node=owner.node if owner else None,
        role=owner.role if owner else None,
        address=nameserver,
        detail=detail,
        state=state,
        culprit=culprit,
    )


def responder_hop(facts: PathFacts, state: HopState, detail: str) -> PathHop:
    """The agent that holds the token."""
    return PathHop(
        kind="responder",
        label="responder",
        node=facts.responder,
        role=role_of(facts, facts.responder),
        detail=detail,
        state=state,
    )


def resolution_hop(
    facts: PathFacts, resolution: Resolution | None, used: ResolvedAddress | None, passed: bool
) -> PathHop:
    """How the name was resolved: the hosts line or the nameserver that decided."""
    if resolution is None or used is None:
        error = resolution.error if resolution is not None else None
        server = resolution.dns[0].nameserver if resolution is not None and resolution.dns else None
        return dns_hop(facts, server, error or "no address", HopState.BROKEN, culprit=is_culprit(facts, server))
    if used.origin.source == "hosts":
        return _hosts_hop(facts, resolution, used, passed)
    wrong = not passed and any(finding.code == "dns.address_not_ours" for finding in facts.findings)
    state = HopState.BROKEN if wrong else HopState.OK
    return dns_hop(facts, used.origin.nameserver, f"{facts.identifier} is {used.address}", state, culprit=wrong)


def _hosts_hop(facts: PathFacts, resolution: Resolution, used: ResolvedAddress, passed: bool) -> PathHop:
    answers = {address for reply in resolution.dns for address in reply.addresses}
    wrong = not passed and used.address not in answers
    return PathHop(
        kind="hosts",
        label=f"{used.origin.file}:{used.origin.line}",
        node=facts.authority,
        role=role_of(facts, facts.authority),
        address=used.address,
        detail=used.origin.text or f"{facts.identifier} is {used.address}",
        state=HopState.BROKEN if wrong else HopState.OK,
        culprit=wrong,
    )


def server_hop(facts: PathFacts, hop: Hop, does_its_part: bool) -> PathHop:
    """A box that was asked, and what it answered."""
    owner = owner_of(facts, hop.address)
    said = answer_words(hop)
    detail = f"port {hop.port}: {said} to {hop.location}" if hop.location else f"port {hop.port}: {said}"
    served = hop.status is not None and hop.status < 300 and not does_its_part
    return PathHop(
        kind="server",
        label=(owner.role or owner.node) if owner else hop.server or "unknown box",
        node=owner.node if owner else None,
        role=owner.role if owner else None,
        address=hop.address,
        detail=f"{detail} with something else" if served else detail,
        state=HopState.OK if does_its_part else HopState.BROKEN,
        culprit=not does_its_part and is_culprit(facts, hop.address),
    )


def is_culprit(facts: PathFacts, address: str | None) -> bool:
    """Whether a standing finding blames that address, and no file."""
    return address is not None and any(
        finding.culprit is not None and finding.culprit.file is None and finding.culprit.address == address
        for finding in facts.findings
    )


def owner_of(facts: PathFacts, address: str | None) -> AddressOwner | None:
    """Whose address it is, by the inventories or by what came with the rehearsal."""
    if address is None:
        return None
    owner = facts.rehearsal.owners.get(address) if facts.rehearsal is not None else None
    return facts.owners.get(address, owner)


def role_of(facts: PathFacts, node: str | None) -> str | None:
    """What the node serves."""
    return facts.roles.get(node) if node is not None else None


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """The intended and the actual way to one identifier, and what is to be changed. `suspected`: whom the responder's
    node accuses and nobody else, where no node is known to be the culprit."""

    identifier: str
    intended: tuple[PathHop, ...]
    actual: tuple[PathHop, ...]
    broken: bool
    culprit: Culprit | None = None
    suspected: Culprit | None = None


def trace(facts: PathFacts) -> Path:
    """Both ways, from the facts."""
    intended = _intended(facts)
    actual = _actual(facts, intended)
    broken = any(hop.state is HopState.BROKEN for hop in actual)
    culprit = _culprit(facts) if broken else None
    return Path(identifier=facts.identifier, intended=intended, actual=actual, broken=broken, culprit=culprit)


def addresses_met(rehearsal: Rehearsal) -> set[str]:
    """Every IP address that occurs in a rehearsal."""
    found = {hop.address for attempt in (*rehearsal.attempts, *rehearsal.direct) for hop in attempt.hops}
    found |= {connection.address for connection in rehearsal.stale}
    found |= {answer.nameserver for answer in rehearsal.txt.answers} if rehearsal.txt is not None else set()
    resolution = rehearsal.resolution
    if resolution is not None:
        found |= {item.address for item in (*resolution.addresses, *resolution.hosts)}
        found |= {item.origin.nameserver for item in resolution.addresses}
        found |= {reply.nameserver for reply in resolution.dns}
        found |= {address for reply in resolution.dns for address in reply.addresses}
    return {address for address in found if address is not None}


def _intended(facts: PathFacts) -> tuple[PathHop, ...]:
    steps = _steps(facts)
    end = responder_hop(facts, HopState.OK, steps.responds)
    if steps.port is None:
        return authority_hop(facts), record_hop(facts, None, planted=True), end
    address = _intended_address(facts)
    resolution = facts.rehearsal.resolution if facts.rehearsal is not None else None
    replies = resolution.dns if resolution is not None else ()
    nameserver = next((reply.nameserver for reply in replies if address in reply.addresses), None)
    owner = owner_of(facts, address)
    node = owner.node if owner is not None else facts.responder
    role = owner.role if owner is not None else role_of(facts, facts.responder)
    return (
        authority_hop(facts),
        dns_hop(facts, nameserver, f"{facts.identifier} is {address or 'known there'}"),
        PathHop(
            kind="server",
            label=role or node or "its node",
            node=node,
            role=role,
            address=address,
            detail=steps.passes_on,
        ),
        end,
    )


def _steps(facts: PathFacts) -> ChallengeSteps:
    shown = challenge_of([finding.code for finding in facts.findings])
    return STEPS.get(facts.rehearsal.challenge if facts.rehearsal is not None else shown, STEPS[ChallengeType.HTTP01])


def _intended_address(facts: PathFacts) -> str | None:
    """DNS's answer if it leads to the responder, or if there is nothing against it; else the responder's own."""
    resolution = facts.rehearsal.resolution if facts.rehearsal is not None else None
    answers = [address for reply in resolution.dns for address in reply.addresses] if resolution is not None else []
    answers += [str(address) for finding in facts.findings for address in finding.detail.get("dns", ())]
    own = sorted(address for address, owner in facts.owners.items() if owner.node == facts.responder)
    accused = {finding.culprit.address for finding in facts.findings if finding.culprit and not finding.culprit.file}
    leading = [address for address in answers if address in own]
    trusted = [address for address in answers if address not in accused]
    return next(iter((*leading, *trusted, *own)), None)


def _actual(facts: PathFacts, intended: tuple[PathHop, ...]) -> tuple[PathHop, ...]:
    if facts.rehearsal is not None and facts.rehearsal.outcome is not RehearsalOutcome.UNAVAILABLE:
        return _rehearsed(facts, facts.rehearsal)
    if facts.findings:
        return _concluded(facts, intended)
    return tuple(msgspec.structs.replace(hop, state=HopState.UNKNOWN) for hop in intended)


def _rehearsed(facts: PathFacts, rehearsal: Rehearsal) -> tuple[PathHop, ...]:
    """What the rehearsal went through. Once the name has led astray, no box does its part, whatever it answers."""
    passed = rehearsal.outcome is RehearsalOutcome.PASSED
    steps = _steps(facts)
    state, seen = (HopState.OK, steps.came) if passed else (HopState.UNKNOWN, steps.missed)
    end = responder_hop(facts, state, seen)
    if steps.port is None:
        return authority_hop(facts), record_hop(facts, rehearsal.txt, planted=True), end
    attempt = deciding(rehearsal.attempts)
    hops = attempt.hops if attempt is not None else ()
    used = address_used(rehearsal.resolution, hops[0].address if hops else None)
    resolved = resolution_hop(facts, rehearsal.resolution, used, passed)
    led_right = resolved.state is not HopState.BROKEN
    servers = tuple(
        server_hop(facts, hop, passed or (led_right and number < len(hops))) for number, hop in enumerate(hops, 1)
    )
    return (authority_hop(facts), resolved, *servers, end)


def _concluded(facts: PathFacts, intended: tuple[PathHop, ...]) -> tuple[PathHop, ...]:
    """No rehearsal: what the findings alone say. Behind the first broken hop nothing is known."""
    finding = facts.findings[0]
    culprit = finding.culprit or Culprit()
    unreached = responder_hop(facts, HopState.UNKNOWN, "not reached")
    if culprit.file is None:
        broken = finding.explanation
        asked = msgspec.structs.replace(intended[-2], state=HopState.BROKEN, detail=broken, culprit=True)
        return (*intended[:-2], asked, unreached)
    return (authority_hop(facts), *_through_file(facts, culprit, finding.explanation), unreached)


def _through_file(facts: PathFacts, culprit: Culprit, explanation: str) -> tuple[PathHop, ...]:
    """The file that is to blame, and the box that it leads to; no box is asked by dns-01."""
    owner, port = owner_of(facts, culprit.address), _steps(facts).port
    file = (
        PathHop(
            kind="hosts",
            label=f"{culprit.file}:{culprit.line}" if culprit.line is not None else culprit.file or "",
            node=culprit.node,
            role=role_of(facts, culprit.node),
            address=culprit.address,
            detail=culprit.text or explanation,
            state=HopState.BROKEN,
            culprit=True,
        ),
    )
    if port is None:
        return file
    return (
        *file,
        PathHop(
            kind="server",
            label=(owner.role or owner.node) if owner else "another box",
            node=owner.node if owner else None,
            role=owner.role if owner else None,
            address=culprit.address,
            detail=f"is asked on port {port} instead",
            state=HopState.BROKEN,
        ),
    )


def address_used(resolution: Resolution | None, address: str | None) -> ResolvedAddress | None:
    """Where the address that was asked came from."""
    addresses = resolution.addresses if resolution is not None else ()
    return next((item for item in addresses if item.address == address), addresses[0] if addresses else None)


def _culprit(facts: PathFacts) -> Culprit | None:
    """The worst finding's, a file before anything else."""
    known = [finding.culprit for finding in facts.findings if finding.culprit is not None]
    return next((one for one in known if one.file is not None), known[0] if known else None)
