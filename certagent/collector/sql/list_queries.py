"""The pages' lists, filtered and sorted, with a way on and a way back from wherever one is. Reads only.

A cursor is the position of a row, as in `api_queries`; a wrong one raises ValueError.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, func, literal, or_, select, tuple_

from certagent.collector.sql.api_queries import cursor_of, read_agent, read_certificate
from certagent.collector.sql.page_queries import find_at_risk, find_ends
from certagent.collector.sql.schema import addresses, agents, certificates, identifiers, incidents
from certagent.collector.sql.statements import Instant, decode_incident
from certagent.domain.findings import Severity
from certagent.domain.incidents import IncidentState

_LONG_AGO, _NEVER = datetime(1970, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_MOST_RESOLVED = 5_000  # of which a list is made

Read = Callable[[Row[Any]], Any]


class ListPage(msgspec.Struct, frozen=True):
    """Some of a list, the cursors of the rows after them and before them (null: there are none)."""

    items: list[Any]
    next: str | None
    previous: str | None


class IncidentFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which incidents, in which order. `zone`: a victim's; `node`: culprit's or victim's; `code`, `q`: a part of it."""

    state: Literal["unresolved", "open", "acknowledged", "unconfirmed", "resolved", "all"] = "unresolved"
    severity: Literal["", "fatal", "error"] = ""
    code: str = ""
    node: str = ""
    zone: str = ""
    q: str = ""
    sort: Literal["urgency", "opened"] = "urgency"


class CertificateFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which certificates, in which order. `missing`: without a file on disk."""

    state: Literal["", "expired", "at_risk", "valid", "missing"] = ""
    node: str = ""
    zone: str = ""
    q: str = ""
    sort: Literal["expiry", "name", "node"] = "expiry"


class NodeFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which nodes, in which order. `q`: a part of the name, the role or an address."""

    state: Literal["", "connected", "silent"] = ""
    q: str = ""
    sort: Literal["seen", "name"] = "seen"


class _Party(msgspec.Struct, frozen=True):
    identifier: str
    node: str
    certificate: str


class _Accused(msgspec.Struct, frozen=True):
    node: str | None = None
    file: str | None = None


class _Summary(msgspec.Struct, frozen=True):
    """What of an incident's document a list is made by."""

    id: str
    state: IncidentState
    code: str
    severity: Severity
    confirmed: bool
    opened_at: datetime
    culprit: _Accused
    victims: tuple[_Party, ...] = ()


_decode_summary = msgspec.json.Decoder(_Summary).decode
_Key = tuple[Any, ...]


def list_incidents_by(
    connection: Connection, wanted: IncidentFilter, limit: int, after: str | None = None, before: str | None = None
) -> ListPage:
    """`Incident`s; by urgency: those that are not over by which of their certificates expires first, then the others,
    the latest first."""
    chosen = [one for one in _summaries(connection, wanted) if _is_wanted(one, wanted)]
    ends = find_ends(connection, {(victim.node, victim.certificate) for one in chosen for victim in one.victims})

    def key(summary: _Summary) -> _Key:
        opened = -summary.opened_at.timestamp()
        if wanted.sort == "opened":
            return opened, summary.id
        known = (ends.get((victim.node, victim.certificate)) for victim in summary.victims)
        end = min((end for end in known if end is not None), default=_NEVER)
        is_over = summary.state is IncidentState.RESOLVED
        return is_over, opened if is_over else end.timestamp(), summary.severity.rank, summary.id

    kinds = (float, str) if wanted.sort == "opened" else (bool, float, int, str)
    found = sorted((key(one), one.id) for one in chosen)
    start, end = _bounds([item[0] for item in found], kinds, limit, after, before)
    shown = [identity for _, identity in found[start:end]]
    rows = connection.execute(select(incidents.c.id, incidents.c.document).where(incidents.c.id.in_(shown)))
    documents = {row.id: decode_incident(row.document) for row in rows}
    return ListPage(
        items=[documents[identity] for identity in shown],
        next=_cursor(found[end - 1][0]) if shown and end < len(found) else None,
        previous=_cursor(found[start][0]) if shown and start else None,
    )


def list_certificates_by(
    connection: Connection,
    wanted: CertificateFilter,
    now: datetime,
    limit: int,
    after: str | None = None,
    before: str | None = None,
) -> ListPage:
    """`KnownCertificate`s; by expiry: one without a certificate on disk comes before all others."""
    ends = func.coalesce(certificates.c.expires_at, literal(_LONG_AGO, Instant), type_=Instant)
    agent, name = certificates.c.agent, certificates.c.name
    orders: dict[str, tuple[ColumnElement[Any], ...]] = {
        "expiry": (ends, agent, name),
        "name": (name, agent),
        "node": (agent, name),
    }
    query = select(certificates, ends.label("ends")).where(*_conditions(wanted, now))
    at_risk = find_at_risk(connection) if wanted.state == "at_risk" else None
    positions: dict[str, Callable[[Row[Any]], _Key]] = {
        "expiry": lambda row: (row.ends, row.agent, row.name),
        "name": lambda row: (row.name, row.agent),
        "node": lambda row: (row.agent, row.name),
    }
    walk = _Walk(
        columns=orders[wanted.sort],
        kinds=(datetime, str, str) if wanted.sort == "expiry" else (str, str),
        position=positions[wanted.sort],
        read=read_certificate,
        keep=None if at_risk is None else lambda row: (row.agent, row.name) in at_risk,
    )
    return walk.page(connection, query, limit, after, before)


def list_nodes_by(
    connection: Connection,
    wanted: NodeFilter,
    connected: frozenset[str],
    limit: int,
    after: str | None = None,
    before: str | None = None,
) -> ListPage:
    """`KnownAgent`s; by `seen`: the longest silent first."""
    query = select(agents)
    if wanted.q:
        having = select(addresses.c.agent).where(holds(addresses.c.address, wanted.q))
        query = query.where(
            or_(holds(agents.c.name, wanted.q), holds(agents.c.role, wanted.q), agents.c.name.in_(having))
        )
    by_name = wanted.sort == "name"
    columns: tuple[ColumnElement[Any], ...] = (agents.c.name,) if by_name else (agents.c.last_seen, agents.c.name)
    walk = _Walk(
        columns=columns,
        kinds=(str,) if by_name else (datetime, str),
        position=(lambda row: (row.name,)) if by_name else (lambda row: (row.last_seen, row.name)),
        read=read_agent,
        keep=None if not wanted.state else lambda row: (row.name in connected) == (wanted.state == "connected"),
    )
    return walk.page(connection, query, limit, after, before)


def holds(column: ColumnElement[Any], part: str) -> ColumnElement[bool]:
    """Whether the text has that part, in capitals or not."""
    return func.lower(column).contains(part.lower(), autoescape=True)


def is_in_zone(column: ColumnElement[Any], zone: str) -> ColumnElement[bool]:
    """Whether the name is the zone's own or one below it."""
    name = zone.lower().strip(".")
    return or_(column == name, column.endswith(f".{name}", autoescape=True))


class _Walk(msgspec.Struct, frozen=True, kw_only=True):
    """A list in an order that no two rows share. `keep`: which rows belong to it, where the database cannot tell."""

    columns: tuple[ColumnElement[Any], ...]
    kinds: tuple[type, ...]
    position: Callable[[Row[Any]], _Key]
    read: Read
    keep: Callable[[Row[Any]], bool] | None

    def page(
        self, connection: Connection, query: Select[Any], limit: int, after: str | None, before: str | None
    ) -> ListPage:
        """The first rows, those after a cursor, or those before one."""
        back = before is not None and after is None
        cursor = before if back else after
        if cursor is not None:
            values = cursor_of(cursor, *self.kinds)
            there = tuple_(*(literal(value, column.type) for value, column in zip(values, self.columns, strict=True)))
            query = query.where(tuple_(*self.columns) < there if back else tuple_(*self.columns) > there)
        ordered = query.order_by(*((column.desc() for column in self.columns) if back else self.columns))
        if self.keep is None:
            ordered = ordered.limit(limit + 1)
        rows = list(islice(self._kept(connection, ordered), limit + 1))
        has_more, rows = len(rows) > limit, rows[:limit]
        if back:
            rows.reverse()
        comes_on, goes_back = (bool(rows), has_more) if back else (has_more, cursor is not None)
        return ListPage(
            items=[self.read(row) for row in rows],
            next=_cursor(self.position(rows[-1])) if rows and comes_on else None,
            previous=_cursor(self.position(rows[0])) if rows and goes_back else None,
        )

    def _kept(self, connection: Connection, query: Select[Any]) -> Iterator[Row[Any]]:
        rows = connection.execute(query)
        return iter(rows) if self.keep is None else filter(self.keep, rows)


def _conditions(wanted: CertificateFilter, now: datetime) -> Iterator[ColumnElement[bool]]:
    ends = certificates.c.expires_at
    states = {"expired": ends <= now, "valid": ends > now, "missing": ends.is_(None)}
    if wanted.state in states:
        yield states[wanted.state]
    if wanted.node:
        yield certificates.c.agent == wanted.node
    of_it = (identifiers.c.agent == certificates.c.agent) & (identifiers.c.certificate == certificates.c.name)
    if wanted.zone:
        yield select(identifiers.c.agent).where(of_it, is_in_zone(identifiers.c.identifier, wanted.zone)).exists()
    if wanted.q:
        named = select(identifiers.c.agent).where(of_it, holds(identifiers.c.identifier, wanted.q)).exists()
        yield or_(holds(certificates.c.name, wanted.q), named)


def _summaries(connection: Connection, wanted: IncidentFilter) -> Iterator[_Summary]:
    """Of the states that are wanted: all that are not over, the latest of the others."""
    over = incidents.c.state == IncidentState.RESOLVED
    if wanted.state != "resolved":
        for document in connection.execute(select(incidents.c.document).where(~over)).scalars():
            yield _decode_summary(document)
    if wanted.state in ("resolved", "all"):
        latest = select(incidents.c.document).where(over).order_by(incidents.c.opened_at.desc()).limit(_MOST_RESOLVED)
        for document in connection.execute(latest).scalars():
            yield _decode_summary(document)


def _is_wanted(summary: _Summary, wanted: IncidentFilter) -> bool:
    if wanted.state in ("open", "acknowledged") and summary.state != wanted.state:
        return False
    if wanted.state == "unconfirmed" and summary.confirmed:
        return False
    names = {victim.identifier for victim in summary.victims}
    nodes = {victim.node for victim in summary.victims} | {summary.culprit.node or ""}
    zone = wanted.zone.lower().strip(".")
    texts = (
        summary.code,
        summary.culprit.file or "",
        *names,
        *nodes,
        *(victim.certificate for victim in summary.victims),
    )
    return (
        (not wanted.severity or summary.severity == wanted.severity)
        and wanted.code.lower() in summary.code
        and (not wanted.node or wanted.node in nodes)
        and (not zone or any(name == zone or name.endswith(f".{zone}") for name in names))
        and (not wanted.q or any(wanted.q.lower() in text.lower() for text in texts))
    )


def _bounds(
    keys: Sequence[_Key], kinds: tuple[type, ...], limit: int, after: str | None, before: str | None
) -> tuple[int, int]:
    """From where to where in the sorted keys."""
    if after is not None:
        start = bisect_right(keys, cursor_of(after, *kinds))
    elif before is not None:
        start = max(0, bisect_left(keys, cursor_of(before, *kinds)) - limit)
        return start, min(bisect_left(keys, cursor_of(before, *kinds)), len(keys))
    else:
        start = 0
    return start, min(start + limit, len(keys))


def _cursor(position: _Key) -> str:
    return msgspec.json.encode(position).hex()
