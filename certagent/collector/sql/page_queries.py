"""What the pages and the metrics show beside the API's lists: totals, what expires when, one node. Reads only."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, func, or_, select

from certagent.collector.records import Counts, FleetTotals, NodeDetail, TokenRole, WatchedFile
from certagent.collector.sql import fleet_queries
from certagent.collector.sql.api_queries import find_agent, read_certificate
from certagent.collector.sql.schema import (
    IS_UNRESOLVED,
    agents,
    certificates,
    findings,
    incidents,
    is_pending,
    outbox,
    reports,
    scopes,
)
from certagent.collector.sql.statements import chunks, decode_incident
from certagent.domain.findings import Severity
from certagent.domain.fleet import DISPUTED
from certagent.domain.incidents import Incident
from certagent.domain.reports import FileChange, Report, RunKind
from certagent.domain.sightings import COLLECTOR, KINDS, Sighting
from certagent.domain.survival import CertificateLife, ManagedLife

_NEVER = datetime.max.replace(tzinfo=UTC)
_FILE = "file:"
_MOST_SIGHTINGS = 200
_MOST_DISPUTES = 50
_MOST_READ = 400  # reports of one agent that are searched for a timeline
_UNDELIVERED = outbox.c.given_up & (outbox.c.attempts > 0)

_AUTHORITY = select(agents.c.name).where(agents.c.token_role == TokenRole.AUTHORITY).limit(1)

_decode_report = msgspec.json.Decoder(Report).decode


class _Victim(msgspec.Struct, frozen=True):
    node: str
    certificate: str


class _Concern(msgspec.Struct, frozen=True):
    """What of an incident's document says how urgent it is."""

    severity: Severity
    confirmed: bool
    victims: tuple[_Victim, ...] = ()


class _Upkeep(msgspec.Struct, frozen=True):
    """What of a certificate's document says who renews it, and when."""

    manage: bool = True
    due_at: datetime | None = None


_decode_upkeep = msgspec.json.Decoder(_Upkeep).decode
_decode_concern = msgspec.json.Decoder(_Concern).decode


def fleet_totals(connection: Connection, now: datetime) -> FleetTotals:
    """The whole fleet in numbers."""
    count = select(func.count())
    unresolved = _unresolved(connection).values()
    concerns = [concern for concern in unresolved if concern.confirmed]
    at_risk = _victims_of(concerns)
    has_expired, by_end = certificates.c.expires_at <= now, certificates.c.expires_at
    expired = list(_lives(connection, select(certificates).where(has_expired).order_by(by_end)))
    living = _lives(connection, select(certificates).where(by_end > now).order_by(by_end))
    next_to_expire = next(living, None)
    those_left = () if next_to_expire is None or not at_risk else chain((next_to_expire,), living)
    return FleetTotals(
        nodes=connection.execute(count.select_from(agents)).scalar_one(),
        has_authority=connection.execute(_AUTHORITY).first() is not None,
        certificates=connection.execute(count.select_from(certificates)).scalar_one(),
        incidents=len(concerns),
        unconfirmed=len(unresolved) - len(concerns),
        at_risk=at_risk,
        expired=len(expired),
        expired_alone=sum((life.node, life.certificate) not in at_risk for life in expired),
        first_expired=next(iter(expired), None),
        next_at_risk=next((life for life in those_left if (life.node, life.certificate) in at_risk), None),
        next_to_expire=next_to_expire,
    )


def find_at_risk(connection: Connection) -> frozenset[tuple[str, str]]:
    """(node, certificate) of all victims of confirmed, unresolved incidents."""
    return _victims_of(concern for concern in _unresolved(connection).values() if concern.confirmed)


def list_urgent(connection: Connection, limit: int) -> list[Incident]:
    """Confirmed, unresolved incidents by which of their certificates expires first; without one, by severity."""
    confirmed = {identity: concern for identity, concern in _unresolved(connection).items() if concern.confirmed}
    ends = find_ends(connection, _victims_of(confirmed.values()))

    def urgency(item: tuple[str, _Concern]) -> tuple[datetime, int, str]:
        identity, concern = item
        known = (ends.get((victim.node, victim.certificate)) for victim in concern.victims)
        return min((end for end in known if end is not None), default=_NEVER), concern.severity.rank, identity

    first = [identity for identity, _ in sorted(confirmed.items(), key=urgency)[:limit]]
    rows = connection.execute(select(incidents.c.id, incidents.c.document).where(incidents.c.id.in_(first)))
    found = {row.id: decode_incident(row.document) for row in rows}
    return [found[identity] for identity in first]


def find_ends(connection: Connection, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], datetime]:
    """When those certificates, (node, name) each, expire: those of them that are on disk."""
    ends: dict[tuple[str, str], datetime] = {}
    for piece in chunks({node for node, _ in wanted}):
        query = select(certificates).where(certificates.c.agent.in_(piece), certificates.c.expires_at.is_not(None))
        ends.update(((life.node, life.certificate), life.expires_at) for life in _lives(connection, query))
    return ends


def list_lifetimes(connection: Connection) -> list[CertificateLife]:
    """Of every certificate on disk, when it expires; one that has expired stays."""
    return list(_lives(connection, select(certificates).where(certificates.c.expires_at.is_not(None))))


def list_managed(connection: Connection) -> tuple[list[ManagedLife], int]:
    """Every certificate on disk that certagent renews, and how many there are that do not need this CA, because other
    clients renew them."""
    columns = certificates.c.agent, certificates.c.name, certificates.c.expires_at, certificates.c.document
    found, others = [], 0
    for node, name, expires_at, document in connection.execute(select(*columns).where(columns[2].is_not(None))):
        upkeep = _decode_upkeep(document)
        if upkeep.manage:
            life = CertificateLife(expires_at=expires_at, node=node, certificate=name)
            found.append(ManagedLife(life=life, due_at=upkeep.due_at))
        else:
            others += 1
    return found, others


def count_for_metrics(connection: Connection) -> Counts:
    """How much there is of what, for the metrics."""
    unresolved = select(incidents.c.document).where(IS_UNRESOLVED)
    known = (decode_incident(document) for document in connection.execute(unresolved).scalars())
    is_message = outbox.c.summed_in.is_(None) | (outbox.c.summed_in == outbox.c.number)
    waiting = is_pending(outbox.c) & is_message
    by_channel = select(outbox.c.channel, func.count()).group_by(outbox.c.channel)
    return Counts(
        incidents=Counter((incident.code, str(incident.state)) for incident in known),
        waiting=_pairs(connection, by_channel.where(waiting)),
        given_up=_pairs(connection, by_channel.where(_UNDELIVERED)),
        last_seen=_pairs(connection, select(agents.c.name, agents.c.last_seen)),
    )


def find_node(connection: Connection, name: str) -> NodeDetail | None:
    """All that is known of one node."""
    agent = find_agent(connection, name)
    if agent is None:
        return None
    query = select(certificates).where(certificates.c.agent == name).order_by(certificates.c.name)
    return NodeDetail(
        agent=agent,
        certificates=tuple(read_certificate(row) for row in connection.execute(query)),
        files=tuple(_files_of(connection, name)),
        sightings=tuple(_sightings_at(connection, name)),
    )


def list_disputes(connection: Connection) -> list[Sighting]:
    """What nodes claim that is not theirs, as the collector found it in its last round."""
    of_collector = (findings.c.agent == COLLECTOR) & findings.c.key.endswith(f":{DISPUTED}")
    query = select(findings).where(of_collector).order_by(findings.c.number).limit(_MOST_DISPUTES)
    return [fleet_queries.sighting_of(row) for row in connection.execute(query)]


def list_timeline(
    connection: Connection, agent: str, certificate: str, names: Iterable[str], limit: int
) -> list[Report]:
    """The agent's latest reports about that certificate or those identifiers of it, the latest first."""
    wanted = set(names)
    query = select(reports.c.document).where(reports.c.agent == agent, reports.c.kind != RunKind.INVENTORY)
    found = []
    for document in connection.execute(query.order_by(reports.c.number.desc()).limit(_MOST_READ)).scalars():
        report = _decode_report(document)
        if report.certificate == certificate or wanted & report.verdicts.keys():
            found.append(report)
    return found[:limit]


def _files_of(connection: Connection, agent: str) -> Iterator[WatchedFile]:
    """Every file that the agent has reported on, and its latest change if a report of it is still kept."""
    changed = _changes_of(connection, agent)
    checked = select(scopes.c.scope, scopes.c.at).where(scopes.c.agent == agent, scopes.c.scope.startswith(_FILE))
    for row in connection.execute(checked.order_by(scopes.c.scope)):
        path = row.scope.removeprefix(_FILE)
        at, change = changed.get(path, (None, None))
        yield WatchedFile(file=path, checked_at=row.at, changed_at=at, change=change)


def _changes_of(connection: Connection, agent: str) -> dict[str, tuple[datetime, FileChange]]:
    query = select(reports.c.document).where(reports.c.agent == agent, reports.c.kind == RunKind.WATCH)
    found: dict[str, tuple[datetime, FileChange]] = {}
    for document in connection.execute(query.order_by(reports.c.number.desc()).limit(_MOST_READ)).scalars():
        report = _decode_report(document)
        for change in report.changes:
            found.setdefault(change.file, (report.started_at, change))
    return found


def _sightings_at(connection: Connection, name: str) -> list[Sighting]:
    """The findings by the node and about its files, worst first."""
    about_it = or_(*(findings.c.key.startswith(f"{kind}:{name}:", autoescape=True) for kind in KINDS))
    query = select(findings).where(or_(findings.c.agent == name, about_it)).limit(_MOST_SIGHTINGS)
    sightings = fleet_queries.read_sightings(connection.execute(query))
    return sorted(sightings, key=lambda sighting: sighting.finding.severity.rank)


def _victims_of(concerns: Iterable[_Concern]) -> frozenset[tuple[str, str]]:
    return frozenset((victim.node, victim.certificate) for concern in concerns for victim in concern.victims)


def _unresolved(connection: Connection) -> dict[str, _Concern]:
    """By the incidents' ids."""
    query = select(incidents.c.id, incidents.c.document).where(IS_UNRESOLVED)
    return {row.id: _decode_concern(row.document) for row in connection.execute(query)}


def _lives(connection: Connection, query: Select[Any]) -> Iterator[CertificateLife]:
    """Of those certificates, without their documents."""
    columns = certificates.c.agent, certificates.c.name, certificates.c.expires_at
    for node, name, expires_at in connection.execute(query.with_only_columns(*columns)):
        yield CertificateLife(expires_at=expires_at, node=node, certificate=name)


def _pairs(connection: Connection, query: Select[Any]) -> dict[str, Any]:
    return {row[0]: row[1] for row in connection.execute(query)}
