"""What the pages and the metrics show beside the API's lists: totals, what expires when, one node. Reads only."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, func, literal, or_, select, tuple_

from certagent.collector.records import Counts, FleetTotals, NodeDetail, Page, WatchedFile
from certagent.collector.sql import fleet_queries
from certagent.collector.sql.api_queries import cursor_of, find_agent, page_of, read_agent, read_certificate
from certagent.collector.sql.schema import agents, certificates, findings, incidents, outbox, reports, scopes
from certagent.collector.sql.statements import Instant, decode_incident
from certagent.domain.incidents import IncidentState, Sighting
from certagent.domain.reports import FileChange, Report, RunKind
from certagent.domain.survival import CertificateLife

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_FILE = "file:"
_MOST_SIGHTINGS = 200
_MOST_READ = 400  # reports of one agent that are searched for a timeline
_UNDELIVERED = outbox.c.given_up & (outbox.c.attempts > 0)

_decode_report = msgspec.json.Decoder(Report).decode


def fleet_totals(connection: Connection) -> FleetTotals:
    """How many nodes and certificates there are."""
    nodes, known = (
        connection.execute(select(func.count()).select_from(table)).scalar_one() for table in (agents, certificates)
    )
    return FleetTotals(nodes=nodes, certificates=known)


def list_lifetimes(connection: Connection) -> list[CertificateLife]:
    """Of every certificate on disk, when it expires; one that has expired stays."""
    query = select(certificates.c.agent, certificates.c.name, certificates.c.expires_at)
    rows = connection.execute(query.where(certificates.c.expires_at.is_not(None)))
    return [CertificateLife(expires_at=row.expires_at, node=row.agent, certificate=row.name) for row in rows]


def count_for_metrics(connection: Connection) -> Counts:
    """How much there is of what, for the metrics."""
    unresolved = select(incidents.c.document).where(incidents.c.state != IncidentState.RESOLVED)
    known = (decode_incident(document) for document in connection.execute(unresolved).scalars())
    waiting = outbox.c.sent_at.is_(None) & outbox.c.given_up.is_(False)
    by_channel = select(outbox.c.channel, func.count()).group_by(outbox.c.channel)
    return Counts(
        incidents=Counter((incident.code, str(incident.state)) for incident in known),
        waiting=_pairs(connection, by_channel.where(waiting)),
        given_up=_pairs(connection, by_channel.where(_UNDELIVERED)),
        last_seen=_pairs(connection, select(agents.c.name, agents.c.last_seen)),
    )


def list_expiring_first(connection: Connection, after: str | None, limit: int) -> Page:
    """`KnownCertificate`s, expiring first; one without a certificate on disk before all others."""
    ends = func.coalesce(certificates.c.expires_at, literal(_LONG_AGO, Instant))
    query = select(certificates).order_by(ends, certificates.c.agent, certificates.c.name)
    if after is not None:
        moment, agent, name = cursor_of(after, datetime, str, str)
        position = tuple_(ends, certificates.c.agent, certificates.c.name)
        query = query.where(position > tuple_(literal(moment, Instant), literal(agent), literal(name)))
    return page_of(
        connection,
        query,
        limit,
        read_certificate,
        lambda row: (row.expires_at or _LONG_AGO, row.agent, row.name),
    )


def list_silent_first(connection: Connection, after: str | None, limit: int) -> Page:
    """`KnownAgent`s, longest silent first."""
    query = select(agents).order_by(agents.c.last_seen, agents.c.name)
    if after is not None:
        moment, name = cursor_of(after, datetime, str)
        position = tuple_(agents.c.last_seen, agents.c.name)
        query = query.where(position > tuple_(literal(moment, Instant), literal(name)))
    return page_of(connection, query, limit, read_agent, lambda row: (row.last_seen, row.name))


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
    about_it = or_(*(findings.c.key.startswith(f"{kind}:{name}:", autoescape=True) for kind in ("file", "code")))
    query = select(findings).where(or_(findings.c.agent == name, about_it)).limit(_MOST_SIGHTINGS)
    sightings = [fleet_queries.sighting_of(row) for row in connection.execute(query)]
    return sorted(sightings, key=lambda sighting: sighting.finding.severity.rank)


def _pairs(connection: Connection, query: Select[Any]) -> dict[str, Any]:
    return {row[0]: row[1] for row in connection.execute(query)}
