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
from certagent.domain.findings import Finding, Severity
from certagent.domain.incidents import Incident, Sighting, effective_severity
from certagent.domain.path_trace import Path, PathFacts, trace
from certagent.domain.rehearsals import RehearsalOutcome
from certagent.domain.reports import Resolver

_LEAST_SEVERITY = Severity.ERROR


class AgentView(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/agents`. `role`: what the node serves; `authority` also for an agent whose token says so."""

    name: str
    role: str | None
    addresses: tuple[str, ...]
    version: str
    last_seen: datetime
    connected: bool
    resolver: Resolver | None


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
    """A finding that an incident rests on: whose token reported it, when, and the finding."""

    agent: str
    at: datetime
    finding: Finding


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
    )


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
    return [EvidenceView(agent=sighting.agent, at=sighting.at, finding=sighting.finding) for sighting in sightings]


def show_incident(detail: IncidentDetail) -> IncidentView:
    """The incident as the API shows it."""
    fields = msgspec.structs.asdict(detail.incident)
    return IncidentView(**fields, transitions=detail.transitions, findings=show_evidence(detail.sightings))


def trace_path(identifier: str, known: PathEvidence) -> Path:
    """The path of one identifier, from what the store knows. A newer finding outweighs a rehearsal that passed."""
    fleet, victims = known.fleet, known.fleet.victims.get(identifier, ())
    grave = [sighting for sighting in known.sightings if effective_severity(sighting, fleet).at_least(_LEAST_SEVERITY)]
    rehearsal = known.rehearsal.rehearsal if known.rehearsal is not None else None
    if rehearsal is not None and rehearsal.outcome is RehearsalOutcome.PASSED and grave:
        rehearsal = None
    authority = rehearsal.node if rehearsal is not None and rehearsal.node else min(fleet.authorities, default=None)
    return trace(
        PathFacts(
            identifier=identifier,
            authority=authority,
            responder=victims[0].node if victims else None,
            owners=fleet.owners,
            roles=fleet.roles,
            rehearsal=rehearsal,
            findings=tuple(sighting.finding for sighting in sorted(grave, key=_precedence)),
        )
    )


def _precedence(sighting: Sighting) -> tuple[bool, int, datetime]:
    culprit = sighting.finding.culprit
    return culprit is None or culprit.file is None, sighting.finding.severity.rank, sighting.at
