"""Forgetting what is over, by age and a little at a time. What stands is kept, however old it is."""

from datetime import datetime

from sqlalchemy import Connection, delete, select

from certagent.collector.sql.schema import changes, incidents, outbox, parties, reports, transitions
from certagent.domain.incidents import IncidentState

_AT_ONCE = 2_000  # reports; a longer transaction would hold up those who report


def prune_reports(connection: Connection, before: datetime) -> int:
    """Some of the reports and changes that are older; answers how many reports: fewer than asked for means all."""
    old = select(reports.c.number).where(reports.c.received_at < before).limit(_AT_ONCE)
    connection.execute(delete(changes).where(changes.c.at < before))
    return connection.execute(delete(reports).where(reports.c.number.in_(old))).rowcount


def prune_incidents(connection: Connection, before: datetime) -> int:
    """Incidents that were resolved before, with their history and messages; answers how many."""
    ended = (
        select(incidents.c.id)
        .join(transitions, transitions.c.incident == incidents.c.id)
        .where(incidents.c.state == IncidentState.RESOLVED, incidents.c.opened_at < before)
        .where(transitions.c.at < before)
    )
    alive = select(transitions.c.incident).where(transitions.c.at >= before)
    gone = list(connection.execute(ended.where(incidents.c.id.not_in(alive)).distinct().limit(_AT_ONCE)).scalars())
    numbers = select(transitions.c.number).where(transitions.c.incident.in_(gone))
    connection.execute(delete(outbox).where(outbox.c.transition.in_(numbers)))
    for table in (transitions, parties):
        connection.execute(delete(table).where(table.c.incident.in_(gone)))
    return connection.execute(delete(incidents).where(incidents.c.id.in_(gone))).rowcount


def is_finished(count: int) -> bool:
    """Whether nothing is left after a step that did so many."""
    return count < _AT_ONCE
