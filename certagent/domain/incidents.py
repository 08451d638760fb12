"""Incidents: one culprit and all its victims, computed from facts. Pure: no I/O, no clock, no store.

A finding of `error` or worse makes an incident; those with one culprit file make one together. A path finding that a
later rehearsal contradicts is capped at `warn` (DESIGN, rule 1) and makes none. What is merely a symptom of a known
culprit file, or of something wider that the collector concluded, makes none of its own either.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec

from certagent.domain.catalogue import Trait, addresses_of, explain_addresses, has_trait
from certagent.domain.findings import Culprit, Finding, Severity
from certagent.domain.rehearsals import AddressOwner, Rehearsal, RehearsalOutcome, describe_owner

REOPEN_WITHIN = timedelta(hours=1)
"""A culprit that comes back this soon after its incident was resolved reopens it: the same id, one more transition."""

COLLECTOR = "@collector"
"""Who speaks where the collector itself concludes something from what all agents said. No token has such a name."""

EXPIRING = "cert.expiring"
"""Under which the end of a certificate is kept, before and after it."""
_NEVER = datetime.max.replace(tzinfo=UTC)


class IncidentState(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class TransitionKind(StrEnum):
    """What became of an incident."""

    OPENED = "opened"
    REOPENED = "reopened"
    ACKNOWLEDGED = "acknowledged"
    REMINDED = "reminded"
    RESOLVED = "resolved"


class CulpritLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the culprit file, as it stood when it was last reported."""

    line: int | None
    text: str | None


class Victim(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that cannot be renewed because of the culprit. `expires_at` is null if none is on disk."""

    identifier: str
    node: str
    certificate: str
    expires_at: datetime | None = None


class PrecedingChange(msgspec.Struct, frozen=True, kw_only=True):
    """What changed last on the culprit's node before the incident opened: whole lines."""

    node: str
    file: str
    at: datetime
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What the facts say about one culprit now. `confirmed`: somebody who may accuse bears it out (rule 11)."""

    code: str
    severity: Severity
    culprit: Culprit
    lines: tuple[CulpritLine, ...]
    victims: tuple[Victim, ...]
    explanation: str
    fix: str | None
    confirmed: bool
    reporters: tuple[str, ...]
    owners: dict[str, AddressOwner] = {}


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """One culprit and all its victims; `owners` says whose addresses the explanation mentions.

    `opened_at` is that of the current opening. A resolved incident keeps what it said last. `change`: what preceded
    the opening, where it is known. `flaps`: how often it came back, each time soon after it was resolved.
    """

    id: str
    state: IncidentState
    code: str
    severity: Severity
    culprit: Culprit
    lines: tuple[CulpritLine, ...]
    victims: tuple[Victim, ...]
    explanation: str
    fix: str | None
    confirmed: bool
    reporters: tuple[str, ...]
    owners: dict[str, AddressOwner] = {}
    opened_at: datetime
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    resolved_at: datetime | None = None
    change: PrecedingChange | None = None
    flaps: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left."""
        return self.state is IncidentState.RESOLVED

    def parties(self) -> frozenset[str]:
        """The nodes that may read it: the culprit's and the victims'."""
        nodes = {victim.node for victim in self.victims}
        return frozenset(nodes | {self.culprit.node} if self.culprit.node else nodes)


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """An active finding as it is held: whose token reported it, for which scope, when."""

    agent: str
    scope: str
    at: datetime
    finding: Finding


class KnownRehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """The latest rehearsal of an identifier. `brokered`: it went through the collector itself, nobody's word for it."""

    at: datetime
    brokered: bool
    rehearsal: Rehearsal


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """What is known beside the findings: address -> owner, identifier -> certificates, node -> role, rehearsals."""

    authorities: frozenset[str] = frozenset()
    owners: Mapping[str, AddressOwner] = {}
    roles: Mapping[str, str | None] = {}
    victims: Mapping[str, tuple[Victim, ...]] = {}
    rehearsals: Mapping[str, KnownRehearsal] = {}


def key_of(agent: str, finding: Finding) -> str:
    """What makes two findings one incident: the culprit's file, else node, code and identifier; never a line."""
    node = accused_by(agent, finding)
    if finding.culprit is not None and finding.culprit.file is not None:
        return f"file:{node}:{finding.culprit.file}"
    if has_trait(finding.code, Trait.LIFETIME):  # it goes on when the certificate dies
        return f"code:{node}:{EXPIRING}"
    if has_trait(finding.code, Trait.NODE_WIDE):
        return f"code:{node}:{finding.code}"
    return f"code:{node}:{finding.code}:{finding.identifier or ''}"


def is_of_a_node(key: str) -> bool:
    """Whether what has that key is said of a node as a whole, for several identifiers at once."""
    return key.startswith("code:") and key.count(":") == 2


def effective_severity(sighting: Sighting, fleet: Fleet) -> Severity:
    """The finding's severity, at most `warn` if a later rehearsal of its identifier passed all the same."""
    finding = sighting.finding
    known = fleet.rehearsals.get(finding.identifier or "")
    outlived = known is not None and known.rehearsal.outcome is RehearsalOutcome.PASSED and known.at > sighting.at
    return finding.severity.capped_at(Severity.WARN) if outlived and _concerns_path(finding) else finding.severity


def is_borne_out(sighting: Sighting, fleet: Fleet) -> bool:
    """Rule 11: whether the accusation comes from the accused node, the authority, or a brokered rehearsal."""
    if sighting.agent == COLLECTOR or sighting.agent in fleet.authorities:
        return True
    if accused_by(sighting.agent, sighting.finding) == sighting.agent:
        return True
    known = fleet.rehearsals.get(sighting.finding.identifier or "")
    if known is None or not known.brokered:
        return False
    culprit, ends_at = sighting.finding.culprit or Culprit(), sighting.finding.detail.get("chain_ends_at")
    if known.rehearsal.outcome is not RehearsalOutcome.FAILED:
        return known.rehearsal.shows_chain(culprit.node, culprit.file, ends_at)
    return _saw(known.rehearsal, culprit, fleet)


def group_findings(sightings: Iterable[Sighting], fleet: Fleet) -> dict[str, Candidate]:
    """The cases that the findings make, by key. Give every finding about an identifier, or none."""
    standing = [s for s in sightings if effective_severity(s, fleet).at_least(Severity.ERROR)]
    explained = {s.finding.identifier for s in standing if _explains(s.finding)} - {None}
    ended = {s.finding.identifier for s in standing if has_trait(s.finding.code, Trait.ENDS_LIFE)}
    groups: dict[str, list[Sighting]] = {}
    for sighting in standing:
        if not _is_symptom(sighting.finding, explained, ended):
            groups.setdefault(key_of(sighting.agent, sighting.finding), []).append(sighting)
    return {key: _describe(group, fleet) for key, group in groups.items()}


def transition_incident(
    key: str, known: Incident | None, case: Candidate | None, now: datetime
) -> tuple[Incident | None, TransitionKind | None]:
    """The incident as it now stands, and its transition if it made one."""
    if case is not None and _is_mere_accusation(known, case):
        case = None
    if case is None:
        if known is None or known.state is IncidentState.RESOLVED:
            return known, None
        return msgspec.structs.replace(known, state=IncidentState.RESOLVED, resolved_at=now), TransitionKind.RESOLVED
    if known is not None and known.state is not IncidentState.RESOLVED:
        return msgspec.structs.replace(known, **msgspec.structs.asdict(case)), None
    back_soon = known is not None and known.resolved_at is not None and now - known.resolved_at < REOPEN_WITHIN
    identity, flaps = (known.id, known.flaps + 1) if known is not None and back_soon else (_identity(key, now), 0)
    opened = Incident(id=identity, state=IncidentState.OPEN, opened_at=now, flaps=flaps, **msgspec.structs.asdict(case))
    return opened, TransitionKind.REOPENED if back_soon else TransitionKind.OPENED


def _is_mere_accusation(known: Incident | None, case: Candidate) -> bool:
    """What was borne out and no longer is: it is over, and somebody's word alone neither keeps it open nor pages."""
    return known is not None and known.state is not IncidentState.RESOLVED and known.confirmed and not case.confirmed


def acknowledge(incident: Incident, by: str, now: datetime) -> Incident:
    """The incident with somebody's name on it; unchanged unless it is open."""
    if incident.state is not IncidentState.OPEN:
        return incident
    return msgspec.structs.replace(incident, state=IncidentState.ACKNOWLEDGED, acknowledged_at=now, acknowledged_by=by)


def _identity(key: str, opened_at: datetime) -> str:
    return hashlib.sha256(f"{key} {opened_at.isoformat()}".encode()).hexdigest()[:12]


def accused_by(agent: str, finding: Finding) -> str:
    """The node of the culprit; without one the agent speaks of its own."""
    return finding.culprit.node if finding.culprit is not None and finding.culprit.node else agent


def _concerns_path(finding: Finding) -> bool:
    return has_trait(finding.code, Trait.PATH) or has_trait(finding.code, Trait.SEEN_BY_CA)


def _explains(finding: Finding) -> bool:
    names_file = finding.culprit is not None and finding.culprit.file is not None and _concerns_path(finding)
    return names_file or has_trait(finding.code, Trait.EXPLAINS)


def _is_symptom(finding: Finding, explained: set[str | None], ended: set[str | None]) -> bool:
    """What dies, or cannot be reached, because of something that is known. It is said there when it dies."""
    is_end = has_trait(finding.code, Trait.LIFETIME)
    if is_end and finding.identifier in ended:
        return finding.culprit is None or finding.culprit.file is None
    concerned = _concerns_path(finding) or is_end
    return finding.identifier in explained and concerned and not _explains(finding)


def _saw(rehearsal: Rehearsal, culprit: Culprit, fleet: Fleet) -> bool:
    """Whether the rehearsal's own evidence leads to the culprit: its file, or a box that it met."""
    resolution = rehearsal.resolution
    resolved = (*resolution.addresses, *resolution.hosts) if resolution is not None else ()
    if culprit.file is not None:
        return culprit.node == rehearsal.node and culprit.file in {item.origin.file for item in resolved}
    met = {hop.address for attempt in rehearsal.attempts for hop in attempt.hops} | {item.address for item in resolved}
    boxes = {fleet.owners[address].node for address in met if address is not None and address in fleet.owners}
    return culprit.node in boxes | {rehearsal.node}


def _describe(group: list[Sighting], fleet: Fleet) -> Candidate:
    """In the words of those who may accuse, if there are any; whoever says the same is a victim all the same."""
    borne_out = [sighting for sighting in group if is_borne_out(sighting, fleet)]
    first = min(borne_out or group, key=lambda sighting: _precedence(sighting, fleet))
    leading = first.finding
    owners = {a: fleet.owners[a] for a in sorted(addresses_of(leading)) if a in fleet.owners}
    return Candidate(
        code=leading.code,
        severity=effective_severity(first, fleet),
        culprit=_enrich(leading.culprit or Culprit(), accused_by(first.agent, leading), fleet),
        lines=_lines(borne_out or group),
        victims=_victims(group, fleet),
        explanation=_explain(leading, owners),
        fix=leading.fix,
        confirmed=bool(borne_out),
        reporters=tuple(sorted({sighting.agent for sighting in group})),
        owners=owners,
    )


def _precedence(sighting: Sighting, fleet: Fleet) -> tuple[object, ...]:
    """Who speaks for the group: worst first, the culprit's own node first."""
    finding = sighting.finding
    return (
        effective_severity(sighting, fleet).rank,
        accused_by(sighting.agent, finding) != sighting.agent,
        finding.culprit.line or 0 if finding.culprit is not None else 0,
        finding.identifier or "",
        finding.code,
        sighting.agent,
    )


def _enrich(culprit: Culprit, node: str, fleet: Fleet) -> Culprit:
    """The culprit with its node, and the role of whose address it is (of the node, where no address is in play). An
    address of nobody's that is known has no node: least of all that of who speaks of it."""
    owner = fleet.owners.get(culprit.address or "")
    role = owner.role if owner is not None else culprit.role
    if role is None and culprit.address is None:
        role = fleet.roles.get(node)
    is_strange = culprit.address is not None and culprit.node is None
    return msgspec.structs.replace(culprit, node=None if is_strange else node, role=role)


def _explain(finding: Finding, owners: Mapping[str, AddressOwner]) -> str:
    labels = {address: describe_owner(owner) for address, owner in owners.items()}
    text = explain_addresses(finding, labels)
    address = finding.culprit.address if finding.culprit is not None else None
    if address not in labels or f"{address} ({labels[address]})" in text:
        return text
    return f"{text.rstrip()} The address is {address} ({labels[address]})."


def _lines(group: Sequence[Sighting]) -> tuple[CulpritLine, ...]:
    """The culprit's lines, each text once, numbered as last reported."""
    latest: dict[str | None, int | None] = {}
    for sighting in sorted(group, key=lambda s: s.at):
        culprit = sighting.finding.culprit
        if culprit is not None and (culprit.line is not None or culprit.text is not None):
            latest[culprit.text] = culprit.line
    lines = (CulpritLine(line=number, text=text) for text, number in latest.items())
    return tuple(sorted(lines, key=lambda line: (line.line or 0, line.text or "")))


def _victims(group: Sequence[Sighting], fleet: Fleet) -> tuple[Victim, ...]:
    """The certificates concerned, the one that dies first on top."""
    found: dict[tuple[str, str, str], Victim] = {}
    for identifier in {s.finding.identifier for s in group if s.finding.identifier}:
        for victim in fleet.victims.get(identifier, ()):
            found[victim.identifier, victim.node, victim.certificate] = victim
    return tuple(sorted(found.values(), key=_urgency))


def _urgency(victim: Victim) -> tuple[datetime, str, str]:
    return victim.expires_at or _NEVER, victim.node, victim.identifier
