"""What the page asks of the tables beside the lists: counts, what dies when, one node, one certificate. Reads only."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec
from sqlalchemy import Connection, Row, func, literal, or_, select, tuple_

from certagent.collector.sql import fleet_queries
from certagent.collector.sql.api_queries import cursor_of, find_agent, page_of, read_agent, read_certificate
from certagent.collector.sql.schema import Instant, agents, certificates, findings, reports, scopes
from certagent.collector.store import FleetTotals, NodeFacts, Page, WatchedFile
from certagent.domain.incidents import Sighting
from certagent.domain.reports import FileChange, Report, RunKind

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_FILE = "file:"
_MOST_SIGHTINGS = 200
_MOST_LOOKED_AT = 400  # reports of one agent that are gone through for a timeline

_decode_report = msgspec.json.Decoder(Report).decode


def fleet_totals(connection: Connection) -> FleetTotals:
    """See `Store.stock`."""
    nodes, known = (
        connection.execute(select(func.count()).select_from(table)).scalar_one() for table in (agents, certificates)
    )
    return FleetTotals(nodes=nodes, certificates=known)


def list_soonest(connection: Connection, after: str | None, limit: int) -> Page:
    """Certificates, those that die first on top: one without a certificate on disk before all others."""
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


def list_silent(connection: Connection, after: str | None, limit: int) -> Page:
    """Agents, the longest silent on top."""
    query = select(agents).order_by(agents.c.last_seen, agents.c.name)
    if after is not None:
        moment, name = cursor_of(after, datetime, str)
        position = tuple_(agents.c.last_seen, agents.c.name)
        query = query.where(position > tuple_(literal(moment, Instant), literal(name)))
    return page_of(connection, query, limit, read_agent, lambda row: (row.last_seen, row.name))


def find_node(connection: Connection, name: str) -> NodeFacts | None:
    """See `Store.node`."""
    agent = find_agent(connection, name)
    if agent is None:
        return None
    owned = select(certificates).where(certificates.c.agent == name).order_by(certificates.c.name)
    return NodeFacts(
        agent=agent,
        certificates=tuple(read_certificate(row) for row in connection.execute(owned)),
        files=tuple(_files_of(connection, name)),
        sightings=tuple(_sightings_at(connection, name)),
    )


def list_timeline(
    connection: Connection, agent: str, certificate: str, names: Iterable[str], limit: int
) -> list[Report]:
    """See `Store.deeds`."""
    wanted = set(names)
    query = select(reports.c.document).where(reports.c.agent == agent, reports.c.kind != RunKind.INVENTORY)
    found = []
    for document in connection.execute(query.order_by(reports.c.number.desc()).limit(_MOST_LOOKED_AT)).scalars():
        report = _decode_report(document)
        if report.certificate == certificate or wanted & report.verdicts.keys():
            found.append(report)
    return found[:limit]


def _files_of(connection: Connection, agent: str) -> Iterator[WatchedFile]:
    """Every file that the agent has spoken for, and its latest change if the kept reports still tell it."""
    changed = _changes_of(connection, agent)
    looked = select(scopes.c.scope, scopes.c.at).where(scopes.c.agent == agent, scopes.c.scope.startswith(_FILE))
    for row in connection.execute(looked.order_by(scopes.c.scope)):
        path = row.scope.removeprefix(_FILE)
        at, change = changed.get(path, (None, None))
        yield WatchedFile(file=path, looked_at=row.at, changed_at=at, change=change)


def _changes_of(connection: Connection, agent: str) -> dict[str, tuple[datetime, FileChange]]:
    query = select(reports.c.document).where(reports.c.agent == agent, reports.c.kind == RunKind.WATCH)
    found: dict[str, tuple[datetime, FileChange]] = {}
    for document in connection.execute(query.order_by(reports.c.number.desc()).limit(_MOST_LOOKED_AT)).scalars():
        report = _decode_report(document)
        for change in report.changes:
            found.setdefault(change.file, (report.started_at, change))
    return found


def _sightings_at(connection: Connection, name: str) -> list[Sighting]:
    """What the node says, and what is said of its files; the worst first."""
    accusing = or_(*(findings.c.key.startswith(f"{kind}:{name}:", autoescape=True) for kind in ("file", "code")))
    query = select(findings).where(or_(findings.c.agent == name, accusing)).limit(_MOST_SIGHTINGS)
    rows: Iterable[Row[tuple[object, ...]]] = connection.execute(query)
    return sorted((fleet_queries.sighting_of(row) for row in rows), key=lambda one: one.finding.severity.rank)
