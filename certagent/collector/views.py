"""What the API and the pages show of each thing. Shapes only."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from certagent.collector.records import (
    IncidentDetail,
    KnownAgent,
    KnownCertificate,
    PathEvidence,
    TokenRole,
    Transition,
)
from certagent.domain.catalogue import quote, retell
from certagent.domain.findings import Finding, Severity
from certagent.domain.incidents import Incident
from certagent.domain.path_trace import Path, PathFacts, trace
from certagent.domain.rehearsals import RehearsalOutcome
from certagent.domain.reports import Resolver
from certagent.domain.sightings import Fleet, Sighting, effective_severity, is_borne_out, is_suspicion

_LEAST_SEVERITY = Severity.ERROR


class AgentView(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/agents`. `role`: what the node serves; `authority` also for an agent whose token says so. `roots`:
    SHA-256 of the CA's roots that it trusts."""

    name: str
    role: str | None
    addresses: tuple[str, ...]
    version: str
    last_seen: datetime
    connected: bool
    resolver: Resolver | None
    roots: tuple[str, ...]


class NodeRoots(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/roots`: SHA-256 of the CA's roots that a node trusts; none of an agent that does not say."""

    node: str
    roots: tuple[str, ...]


class CertificateView(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/certificates`: `CertificateState` with the node that has it."""

    name: str
    node: str
    identifiers: tuple[str, ...]
    on_disk: Any
    served: dict[str, str | None]
    due_at: datetime | None
    last_outcome: str | None
    last_outcome_at: datetime | None
    manage: bool

    def is_served(self) -> bool | None:
        """Whether every proven address serves what is on disk; None if nothing is known of either."""
        if self.on_disk is None or not self.served:
            return None
        return all(fingerprint == self.on_disk.fingerprint for fingerprint in self.served.values())


class EvidenceView(msgspec.Struct, frozen=True, kw_only=True):
    """A finding that an incident rests on: whose token reported it, when, and the finding in our words. `said`: the
    report's own words in quotation marks, where they differ."""

    agent: str
    at: datetime
    finding: Finding
    said: str | None = None


class IncidentView(Incident, frozen=True, kw_only=True):
    """`GET /v1/incidents/{id}`: the incident with its history, and the findings that it rests on."""

    transitions: Sequence[Transition]
    findings: Sequence[EvidenceView]


def show_agent(agent: KnownAgent, *, connected: bool) -> AgentView:
    """The agent as the API shows it."""
    inventory = agent.inventory
    role = inventory.role if inventory is not None else None
    return AgentView(
        name=agent.name,
        role=role or ("authority" if agent.token_role is TokenRole.AUTHORITY else None),
        addresses=inventory.addresses if inventory is not None else (),
        version=inventory.version if inventory is not None else "",
        last_seen=agent.last_seen,
        connected=connected,
        resolver=inventory.resolver if inventory is not None else None,
        roots=inventory.roots if inventory is not None else (),
    )


def show_roots(agent: KnownAgent) -> NodeRoots:
    """The node's roots as the API shows them."""
    return NodeRoots(node=agent.name, roots=agent.inventory.roots if agent.inventory is not None else ())


def show_certificate(known: KnownCertificate) -> CertificateView:
    """The certificate as the API shows it."""
    state = known.certificate
    return CertificateView(
        name=state.name,
        node=known.node,
        identifiers=state.identifiers,
        on_disk=state.on_disk,
        served=state.served,
        due_at=state.due_at,
        last_outcome=state.last_outcome,
        last_outcome_at=state.last_outcome_at,
        manage=state.manage,
    )


def show_evidence(sightings: Sequence[Sighting]) -> list[EvidenceView]:
    """The findings behind an incident."""
    return [_show_sighting(sighting) for sighting in sightings]


def _show_sighting(sighting: Sighting) -> EvidenceView:
    finding, own_words = retold(sighting), sighting.finding.explanation
    said = str(quote(own_words)) if own_words != finding.explanation else None
    return EvidenceView(agent=sighting.agent, at=sighting.at, finding=finding, said=said)


def show_incident(detail: IncidentDetail) -> IncidentView:
    """The incident as the API shows it."""
    fields = msgspec.structs.asdict(detail.incident)
    return IncidentView(**fields, transitions=detail.transitions, findings=show_evidence(detail.sightings))


def trace_path(identifier: str, known: PathEvidence) -> Path:
    """The path of one identifier, from what the store knows. A newer finding outweighs a rehearsal that passed."""
    fleet, victims = known.fleet, known.fleet.victims.get(identifier, ())
    grave = [sighting for sighting in known.sightings if effective_severity(sighting, fleet).at_least(_LEAST_SEVERITY)]
    believed = [sighting for sighting in grave if is_borne_out(sighting, fleet) or is_suspicion(sighting, fleet)]
    rehearsal = known.rehearsal.rehearsal if known.rehearsal is not None else None
    if rehearsal is not None and rehearsal.outcome is RehearsalOutcome.PASSED and believed:
        rehearsal = None
    authority = rehearsal.node if rehearsal is not None and rehearsal.node else min(fleet.authorities, default=None)
    path = trace(
        PathFacts(
            identifier=identifier,
            authority=authority,
            responder=victims[0].node if victims else None,
            owners=fleet.owners,
            roles=fleet.roles,
            rehearsal=rehearsal,
            findings=tuple(_as_path_shows(sighting, fleet) for sighting in sorted(believed, key=_precedence)),
        )
    )
    if not path.broken or (path.culprit is not None and path.culprit.node is not None):
        return path
    accused = (one.finding.culprit for one in sorted(grave, key=_precedence) if is_suspicion(one, fleet))
    return msgspec.structs.replace(path, suspected=next((one for one in accused if one and one.node), None))


def retold(sighting: Sighting) -> Finding:
    """The finding in our words: who reads a page or a path takes them for certagent's."""
    explanation, fix = retell(sighting.finding, sighting.agent)
    return msgspec.structs.replace(sighting.finding, explanation=explanation, fix=fix)


def _as_path_shows(sighting: Sighting, fleet: Fleet) -> Finding:
    """In our words; who is merely suspected is no culprit."""
    finding = retold(sighting)
    return finding if is_borne_out(sighting, fleet) else msgspec.structs.replace(finding, culprit=None)


def _precedence(sighting: Sighting) -> tuple[bool, int, datetime]:
    culprit = sighting.finding.culprit
    return culprit is None or culprit.file is None, sighting.finding.severity.rank, sighting.at
