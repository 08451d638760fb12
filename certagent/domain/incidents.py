"""Incidents: one culprit and all its victims, computed from facts. Pure: no I/O, no clock, no store.

A finding of `error` or worse makes an incident; those with one culprit file make one together. A path finding that a
later rehearsal contradicts is capped at `warn` (decision 1) and makes none, nor does what is merely a symptom of a
known cause. An accusation that nobody bears out explains nothing (`sightings`).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from certagent.domain.catalogue import Trait, addresses_of, has_trait, retell
from certagent.domain.explanations import Explanations, gather
from certagent.domain.findings import Culprit, Severity, TargetState
from certagent.domain.rehearsals import AddressOwner, describe_owner
from certagent.domain.sightings import (
    Fleet,
    Sighting,
    Victim,
    accused_by,
    effective_severity,
    is_at_address,
    is_borne_out,
    is_suspicion,
    key_of,
    own_key_of,
    victims_of,
)

REOPEN_WITHIN = timedelta(hours=1)
"""A culprit that comes back this soon after its incident was resolved reopens it: the same id, one more transition."""


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


class PrecedingChange(msgspec.Struct, frozen=True, kw_only=True):
    """What changed last on the culprit's node before the incident opened: whole lines."""

    node: str
    file: str
    at: datetime
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


class SourceLine(msgspec.Struct, frozen=True, kw_only=True):
    """The line of the provisioning code that writes a line of a node, as of a commit of the code. `text`: what it
    writes; `code`: the line itself, secrets left out."""

    file: str
    line: int
    text: str
    commit: str
    committed_at: datetime
    code: str | None = None


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What the facts say about one culprit now. `confirmed`: somebody who may accuse bears it out (decision 11).

    `suspected`: whom a node accuses whose own identifier fails, until somebody bears it out; `culprit` is then the node
    that fails. `target`: where a certificate is not as it should be, if it is about that. `keys`: of all that it is
    made of.
    """

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
    suspected: Culprit | None = None
    target: TargetState | None = None
    keys: frozenset[str] = frozenset()


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """One culprit and all its victims; `owners` says whose addresses the explanation mentions.

    `opened_at` is that of the current opening. A resolved incident keeps what it said last. `change`: what preceded
    the opening, where it is known. `flaps`: how often it came back, each time soon after it was resolved.
    `written_by`: the provisioning code that writes its lines, where a checkout of it is known; it is never kept.
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
    suspected: Culprit | None = None
    target: TargetState | None = None
    written_by: tuple[SourceLine, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left."""
        return self.state is IncidentState.RESOLVED

    def parties(self) -> frozenset[str]:
        """The nodes that may read it: the culprit's and the victims'."""
        nodes = {victim.node for victim in self.victims}
        return frozenset(nodes | {self.culprit.node} if self.culprit.node else nodes)


def group_findings(sightings: Iterable[Sighting], fleet: Fleet) -> dict[str, Candidate]:
    """The cases that the findings make, by key. Give every finding about an identifier, or none."""
    standing = [s for s in sightings if effective_severity(s, fleet).at_least(Severity.ERROR)]
    accusations = _by_key(standing)
    explanations = Explanations.of(accusations.values(), fleet)
    groups = gather([sighting for sighting in standing if not explanations.cover(sighting)], fleet)
    cases: dict[str, Candidate] = {}
    for key, group in groups.items():
        for own_key, part in _separate(key, group, fleet).items():
            cases[own_key] = _describe(part, fleet)
    return cases


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
        return msgspec.structs.replace(known, **_said_in(case)), None
    back_soon = known is not None and known.resolved_at is not None and now - known.resolved_at < REOPEN_WITHIN
    identity, flaps = (known.id, known.flaps + 1) if known is not None and back_soon else (_identity(key, now), 0)
    opened = Incident(id=identity, state=IncidentState.OPEN, opened_at=now, flaps=flaps, **_said_in(case))
    return opened, TransitionKind.REOPENED if back_soon else TransitionKind.OPENED


def _said_in(case: Candidate) -> dict[str, Any]:
    """As the incident says it."""
    said = msgspec.structs.asdict(case)
    del said["keys"]
    return said


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


class Successors:
    """Under which key an incident goes on whose own key nothing has any more: its findings were taken in there, the
    same certificate at the same target is wrong for another reason now, something else goes wrong for it at the same
    address, or the file on that node is found that makes it go wrong there."""

    def __init__(self, candidates: Mapping[str, Candidate]) -> None:
        self._by_part: dict[tuple[str | None, object], str] = {}
        for key, candidate in sorted(candidates.items()):
            for part in (*candidate.keys, *_parts(candidate.culprit, candidate.target, candidate.victims)):
                self._by_part.setdefault((candidate.culprit.node, part), key)

    def find(self, key: str, incident: Incident) -> str | None:
        """That key, if there is one."""
        culprit = incident.culprit if is_at_address(key) else msgspec.structs.replace(incident.culprit, address=None)
        parts = (key, *_parts(culprit, incident.target, incident.victims))
        found = (self._by_part.get((incident.culprit.node, part)) for part in parts)
        return next((other for other in found if other is not None), None)


def _parts(culprit: Culprit, target: TargetState | None, victims: Sequence[Victim]) -> Iterator[tuple[str, ...]]:
    """By which two incidents of a node are the same one: the certificate at a target, or at an address."""
    if target is not None:
        yield "target", target.certificate, target.name
    if culprit.address is not None:
        yield from ((culprit.address, victim.node, victim.certificate) for victim in victims)


def _by_key(sightings: Iterable[Sighting]) -> dict[str, list[Sighting]]:
    groups: dict[str, list[Sighting]] = {}
    for sighting in sightings:
        groups.setdefault(key_of(sighting.agent, sighting.finding), []).append(sighting)
    return groups


def _separate(key: str, group: list[Sighting], fleet: Fleet) -> dict[str, list[Sighting]]:
    """One incident if anybody bears it out; else each suspicion is its own node's: one, whatever it says of the same
    identifier."""
    if any(is_borne_out(sighting, fleet) for sighting in group):
        return {key: group}
    parts: dict[str, list[Sighting]] = {}
    own_keys: dict[tuple[str, str | None], str] = {}
    for sighting in sorted(group, key=lambda one: _precedence(one, fleet)):
        own_key = own_key_of(sighting.agent, sighting.finding) if is_suspicion(sighting, fleet) else None
        if own_key is not None:
            own_key = own_keys.setdefault((sighting.agent, sighting.finding.identifier), own_key)
        parts.setdefault(own_key or key, []).append(sighting)
    return parts


def _describe(group: list[Sighting], fleet: Fleet) -> Candidate:
    """In the words of those who may accuse, if there are any; whoever says the same is a victim all the same."""
    borne_out = [sighting for sighting in group if is_borne_out(sighting, fleet)]
    first = min(borne_out or group, key=lambda sighting: _precedence(sighting, fleet))
    is_suspected = is_suspicion(first, fleet)
    leading = first.finding
    owners = {a: fleet.owners[a] for a in sorted(addresses_of(leading)) if a in fleet.owners}
    culprit = _enrich(leading.culprit or Culprit(), accused_by(first.agent, leading), fleet)
    explanation, fix = _words_for(first, owners, is_suspected=is_suspected)
    return Candidate(
        code=leading.code,
        severity=effective_severity(first, fleet),
        culprit=Culprit(node=first.agent, role=fleet.roles.get(first.agent)) if is_suspected else culprit,
        lines=() if is_suspected else _lines(borne_out or group),
        victims=victims_of(group, fleet),
        explanation=explanation,
        fix=fix,
        confirmed=bool(borne_out) or is_suspected,
        reporters=tuple(sorted({sighting.agent for sighting in group})),
        owners=owners,
        suspected=culprit if is_suspected else None,
        target=None if is_suspected else leading.target,
        keys=frozenset(key_of(sighting.agent, sighting.finding) for sighting in group),
    )


def _precedence(sighting: Sighting, fleet: Fleet) -> tuple[object, ...]:
    """Who speaks for the group: worst first, the culprit's own node first, whoever quotes a journal or a log first."""
    finding = sighting.finding
    return (
        effective_severity(sighting, fleet).rank,
        accused_by(sighting.agent, finding) != sighting.agent,
        has_trait(finding.code, Trait.CONSEQUENCE),
        finding.culprit is None or finding.culprit.file is None,
        finding.target is None or finding.target.retry_at is None,
        finding.culprit.line or 0 if finding.culprit is not None else 0,
        not finding.facts.get("said"),
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


def _words_for(sighting: Sighting, owners: Mapping[str, AddressOwner], *, is_suspected: bool) -> tuple[str, str | None]:
    """(explanation, fix), with whose addresses they mention."""
    finding = sighting.finding
    labels = {address: describe_owner(owner) for address, owner in owners.items()}
    text, fix = retell(finding, sighting.agent, labels, situation="suspected" if is_suspected else None)
    address = finding.culprit.address if finding.culprit is not None else None
    if address not in labels or f"{address} ({labels[address]})" in text:
        return text, fix
    return f"{text.rstrip()} The address is {address} ({labels[address]}).", fix


def _lines(group: Sequence[Sighting]) -> tuple[CulpritLine, ...]:
    """The culprit's lines, each text once, numbered as last reported."""
    latest: dict[str | None, int | None] = {}
    for sighting in sorted(group, key=lambda s: s.at):
        culprit = sighting.finding.culprit
        if culprit is not None and (culprit.line is not None or culprit.text is not None):
            latest[culprit.text] = culprit.line
    lines = (CulpritLine(line=number, text=text) for text, number in latest.items())
    return tuple(sorted(lines, key=lambda line: (line.line or 0, line.text or "")))
