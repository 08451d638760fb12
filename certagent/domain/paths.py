"""Paths: how the CA should reach the responder of an identifier, and how it does, hop by hop. Pure.

Both have four steps: the CA, how it resolves the name, the box that it asks on port 80, and the responder that holds
the token. Redirects add boxes. `to_mermaid` writes both as one flow chart.
"""

import msgspec

from certagent.domain.findings import Culprit
from certagent.domain.hops import (
    HopState,
    PathFacts,
    PathHop,
    authority_hop,
    dns_hop,
    owner_of,
    resolution_hop,
    responder_hop,
    role_of,
    server_hop,
)
from certagent.domain.rehearsals import (
    CHALLENGE_PATH,
    Rehearsal,
    RehearsalOutcome,
    Resolution,
    ResolvedAddress,
    deciding,
)


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """The intended and the actual way to one identifier, and what is to be changed."""

    identifier: str
    intended: tuple[PathHop, ...]
    actual: tuple[PathHop, ...]
    broken: bool
    culprit: Culprit | None = None


def trace(facts: PathFacts) -> Path:
    """Both ways, from the facts."""
    intended = _intended(facts)
    actual = _actual(facts, intended)
    broken = any(hop.state is HopState.BROKEN for hop in actual)
    return Path(
        identifier=facts.identifier,
        intended=intended,
        actual=actual,
        broken=broken,
        culprit=_culprit(facts) if broken else None,
    )


def addresses_met(rehearsal: Rehearsal) -> set[str]:
    """Every IP address that occurs in a rehearsal."""
    found = {hop.address for attempt in (*rehearsal.attempts, *rehearsal.direct) for hop in attempt.hops}
    found |= {connection.address for connection in rehearsal.stale}
    resolution = rehearsal.resolution
    if resolution is not None:
        found |= {item.address for item in (*resolution.addresses, *resolution.hosts)}
        found |= {item.origin.nameserver for item in resolution.addresses}
        found |= {reply.nameserver for reply in resolution.dns}
        found |= {address for reply in resolution.dns for address in reply.addresses}
    return {address for address in found if address is not None}


def to_mermaid(path: Path) -> str:
    """Both ways as a Mermaid flow chart; broken hops and the culprit are marked in words and colour."""
    lines = ["flowchart LR"]
    for title, lane, hops in (("Intended", "i", path.intended), ("Actual", "a", path.actual)):
        lines.append(f'  subgraph {title.lower()}["{title}: {path.identifier}"]')
        for number, hop in enumerate(hops):
            lines.append(f'    {lane}{number}["{_mermaid_text(hop)}"]{_mermaid_class(hop)}')
        lines += [f"    {lane}{number} --> {lane}{number + 1}" for number in range(len(hops) - 1)]
        lines.append("  end")
    lines.append("  classDef broken stroke:#c62828,stroke-width:2px")
    lines.append("  classDef culprit stroke:#c62828,stroke-width:4px")
    return "\n".join(lines) + "\n"


def _intended(facts: PathFacts) -> tuple[PathHop, ...]:
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
            detail=f"port 80 passes {CHALLENGE_PATH}",
        ),
        responder_hop(facts, HopState.OK, "serves the token"),
    )


def _intended_address(facts: PathFacts) -> str | None:
    """DNS's answer if it leads to the responder, or if there is nothing against it; else the responder's own."""
    resolution = facts.rehearsal.resolution if facts.rehearsal is not None else None
    told = [address for reply in resolution.dns for address in reply.addresses] if resolution is not None else []
    told += [str(address) for finding in facts.findings for address in finding.detail.get("dns", ())]
    own = sorted(address for address, owner in facts.owners.items() if owner.node == facts.responder)
    accused = {finding.culprit.address for finding in facts.findings if finding.culprit and not finding.culprit.file}
    leading = [address for address in told if address in own]
    trusted = [address for address in told if address not in accused]
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
    attempt = deciding(rehearsal.attempts)
    hops = attempt.hops if attempt is not None else ()
    used = address_used(rehearsal.resolution, hops[0].address if hops else None)
    resolved = resolution_hop(facts, rehearsal.resolution, used, passed)
    led_right = resolved.state is not HopState.BROKEN
    servers = tuple(
        server_hop(facts, hop, passed or (led_right and number < len(hops))) for number, hop in enumerate(hops, 1)
    )
    end = responder_hop(
        facts,
        HopState.OK if passed else HopState.UNKNOWN,
        "the token came back" if passed else "never asked: the token did not come",
    )
    return (authority_hop(facts), resolved, *servers, end)


def _concluded(facts: PathFacts, intended: tuple[PathHop, ...]) -> tuple[PathHop, ...]:
    """No rehearsal: what the findings alone say. Behind the first broken hop nothing is known."""
    finding = facts.findings[0]
    culprit = finding.culprit or Culprit()
    owner = owner_of(facts, culprit.address)
    if culprit.file is None:
        broken = finding.explanation
        server = msgspec.structs.replace(intended[2], state=HopState.BROKEN, detail=broken, culprit=True)
        return (*intended[:2], server, responder_hop(facts, HopState.UNKNOWN, "not reached"))
    return (
        authority_hop(facts),
        PathHop(
            kind="hosts",
            label=f"{culprit.file}:{culprit.line}" if culprit.line is not None else culprit.file,
            node=culprit.node,
            role=role_of(facts, culprit.node),
            address=culprit.address,
            detail=culprit.text or finding.explanation,
            state=HopState.BROKEN,
            culprit=True,
        ),
        PathHop(
            kind="server",
            label=(owner.role or owner.node) if owner else "another box",
            node=owner.node if owner else None,
            role=owner.role if owner else None,
            address=culprit.address,
            detail="is asked on port 80 instead",
            state=HopState.BROKEN,
        ),
        responder_hop(facts, HopState.UNKNOWN, "not reached"),
    )


def address_used(resolution: Resolution | None, address: str | None) -> ResolvedAddress | None:
    """Where the address that was asked came from."""
    addresses = resolution.addresses if resolution is not None else ()
    return next((item for item in addresses if item.address == address), addresses[0] if addresses else None)


def _culprit(facts: PathFacts) -> Culprit | None:
    """The worst finding's, a file before anything else."""
    known = [finding.culprit for finding in facts.findings if finding.culprit is not None]
    return next((one for one in known if one.file is not None), known[0] if known else None)


def _mermaid_text(hop: PathHop) -> str:
    place = ", ".join(part for part in (hop.node, hop.role, hop.address) if part)
    mark = {HopState.OK: "ok", HopState.BROKEN: "BROKEN", HopState.UNKNOWN: "not known"}[hop.state]
    lines = (hop.label, place, hop.detail, "CULPRIT" if hop.culprit else mark)
    return "<br/>".join(
        line.replace("&", "#amp;").replace("<", "#lt;").replace('"', "#quot;") for line in lines if line
    )


def _mermaid_class(hop: PathHop) -> str:
    if hop.culprit:
        return ":::culprit"
    return ":::broken" if hop.state is HopState.BROKEN else ""
