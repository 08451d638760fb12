"""Hops: the single steps of a path, each from what was seen of it. Pure. `domain.paths` puts them together."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from certagent.domain.findings import Finding
from certagent.domain.rehearsals import AddressOwner, Hop, Rehearsal, Resolution, ResolvedAddress

_ERRORS = {
    "refused": "connection refused",
    "timeout": "no answer: packets are dropped",
    "no_route": "no route",
    "reset": "connection cut",
    "tls": "speaks TLS, not HTTP",
    "protocol": "does not speak HTTP",
    "redirect_offsite": "redirects off the fleet: not followed",
    "redirect_proxied": "redirects to where the CA goes through its HTTPS_PROXY: not followed",
    "redirect_loop": "redirects in a circle",
    "unresolved": "redirects to a name without an address",
}


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
    told = {address for reply in resolution.dns for address in reply.addresses}
    wrong = not passed and used.address not in told
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
    said = _ERRORS.get(hop.error, hop.error) if hop.error else f"answers {hop.status}"
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
    told = facts.rehearsal.owners.get(address) if facts.rehearsal is not None else None
    return facts.owners.get(address, told)


def role_of(facts: PathFacts, node: str | None) -> str | None:
    """What the node serves."""
    return facts.roles.get(node) if node is not None else None
