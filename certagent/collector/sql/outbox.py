"""The outbox: which channel is told of a transition, and when. Written with the transition, sent by couriers later.

A message that is not due yet is taken back together with the one that would contradict it: what is over before
anybody was told is not mentioned. Messages about one incident leave in their order.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, insert, select, update

from certagent.collector.sql.schema import incidents, outbox, transitions
from certagent.collector.sql.statements import decode_incident, text_of
from certagent.domain.alerting import Alerting
from certagent.domain.incidents import Incident, IncidentState, TransitionKind

OPENINGS = (TransitionKind.OPENED, TransitionKind.REOPENED)
_TAKEN_BACK = "taken back before it was due"


def record_transition(
    connection: Connection, incident: Incident, kind: TransitionKind, by: str | None, now: datetime
) -> int:
    """Add to the incident's history; answers the transition's number."""
    row = {"incident": incident.id, "kind": kind, "at": now, "by": by, "document": text_of(incident)}
    number: int = connection.execute(insert(transitions).values(row).returning(transitions.c.number)).scalar_one()
    return number


def announce(
    connection: Connection, incident: Incident, kind: TransitionKind, number: int, alerting: Alerting, now: datetime
) -> None:
    """Put the transition of that number into the outbox, for everybody who is told of such an incident."""
    told = _told(incident, alerting)
    back = {name for name in told if _take_back(connection, incident, kind, name, now)}
    _put(connection, incident, number, [name for name in told if name not in back], alerting, now)


def remind(connection: Connection, alerting: Alerting, now: datetime) -> int:
    """Say again what nobody has acknowledged for as long as its rule says; answers of how many incidents.

    Only where nothing about it waits to be sent: nobody wants what was said in vain ten times over.
    """
    spoken = (*OPENINGS, TransitionKind.REMINDED)
    latest = (
        select(transitions.c.incident, func.max(transitions.c.at).label("at"))
        .where(transitions.c.kind.in_(spoken))
        .group_by(transitions.c.incident)
        .subquery()
    )
    query = (
        select(incidents.c.document, latest.c.at)
        .join(latest, latest.c.incident == incidents.c.id)
        .where(incidents.c.state == IncidentState.OPEN, incidents.c.announced)
    )
    count = 0
    for row in connection.execute(query).all():
        incident = decode_incident(row.document)
        pause = alerting.rule_for(incident.code).repeat_every
        if not pause or now - row.at < pause:
            continue
        told = [name for name in _told(incident, alerting) if not _waiting(connection, incident, name)]
        if told:
            number = record_transition(connection, incident, TransitionKind.REMINDED, None, now)
            _put(connection, incident, number, told, alerting, now)
            count += 1
    return count


def _told(incident: Incident, alerting: Alerting) -> Sequence[str]:
    return alerting.rule_for(incident.code).channels(alerting.channels)


def _put(
    connection: Connection, incident: Incident, number: int, told: Sequence[str], alerting: Alerting, now: datetime
) -> None:
    due_at = alerting.due_at(incident, now.astimezone())
    rows = [
        {"transition": number, "channel": channel, "attempts": 0, "due_at": due_at, "given_up": False}
        for channel in told
    ]
    if rows:
        connection.execute(insert(outbox), rows)


def pending(channel: str) -> Select[tuple[object, ...]]:
    """The messages that wait for the channel: of each incident the first, the one that is due first on top."""
    ahead, of = outbox.alias(), transitions.alias()
    earlier = (
        exists()
        .where(of.c.number == ahead.c.transition, of.c.incident == transitions.c.incident)
        .where(ahead.c.channel == channel, ahead.c.number < outbox.c.number, _waits(ahead.c))
    )
    return (
        select(outbox, transitions.c.kind, transitions.c.document)
        .join(transitions, transitions.c.number == outbox.c.transition)
        .where(outbox.c.channel == channel, _waits(outbox.c), ~earlier)
        .order_by(outbox.c.due_at, outbox.c.number)
    )


def _waits(columns: object) -> ColumnElement[bool]:
    return and_(columns.sent_at.is_(None), columns.given_up.is_(False))  # type: ignore[attr-defined]


def _take_back(connection: Connection, incident: Incident, kind: TransitionKind, channel: str, now: datetime) -> bool:
    """Whether a message that this one contradicts was still waiting for its time, and both need not be sent.

    A reminder goes as well; but who was told of the opening itself is told of the end.
    """
    contrary = (TransitionKind.RESOLVED,) if kind in OPENINGS else OPENINGS
    waiting = [
        row
        for row in _waiting(connection, incident, channel)
        if row.kind in (*contrary, TransitionKind.REMINDED) and row.attempts == 0 and row.due_at > now
    ]
    if waiting:
        statement = update(outbox).where(outbox.c.number.in_([row.number for row in waiting]))
        connection.execute(statement.values(given_up=True, failure=_TAKEN_BACK))
    return any(row.kind in contrary for row in waiting)


def _waiting(connection: Connection, incident: Incident, channel: str) -> Sequence[Any]:
    """The messages about the incident that the channel has not had."""
    query = (
        select(outbox.c.number, outbox.c.attempts, outbox.c.due_at, transitions.c.kind)
        .join(transitions, transitions.c.number == outbox.c.transition)
        .where(transitions.c.incident == incident.id, outbox.c.channel == channel, _waits(outbox.c))
    )
    return connection.execute(query).all()
