"""The rows of an incident: itself, whom it concerns, its history, and the messages about it in the outbox."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, update

from certagent.collector.sql.schema import incidents, outbox, parties, transitions
from certagent.collector.sql.statements import Transaction, chunks, text_of
from certagent.domain.incidents import Incident, TransitionKind

_SUSPICION_WAITS = timedelta(seconds=15)  # whose fault it is may be said in a moment: then one message is enough


class Opened(msgspec.Struct, frozen=True):
    """An incident that was not there, and how it came to be. `wait`: how long its message waits at least; None: there
    is none."""

    key: str
    incident: Incident
    kind: TransitionKind
    wait: timedelta | None


def insert_opened(transaction: Transaction, opened: Sequence[Opened]) -> None:
    """All rows of them: a report may open a thousand, so each table takes one statement for all."""
    if not opened:
        return
    connection = transaction.connection
    rows = [incident_row(one.key, one.incident, announced=one.wait is not None) for one in opened]
    connection.execute(insert(incidents), rows)
    concerned = [row for one in opened for row in _party_rows(one.incident, one.incident.parties())]
    if concerned:
        connection.execute(insert(parties), concerned)
    history = [_transition_row(transaction, one.incident, one.kind) for one in opened]
    statement = insert(transitions).returning(transitions.c.incident, transitions.c.number)
    numbers = {row.incident: row.number for row in connection.execute(statement, history)}
    messages = [row for one in opened for row in _opening_messages(transaction, one, numbers[one.incident.id])]
    if messages:
        connection.execute(insert(outbox), messages)


def incident_row(key: str, incident: Incident, *, announced: bool) -> dict[str, Any]:
    """The row of an incident."""
    named = {"key": key, "id": incident.id, "state": incident.state, "opened_at": incident.opened_at}
    return named | {"announced": announced, "document": text_of(incident)}


def replace_incident(
    transaction: Transaction, key: str, before: Incident, incident: Incident, *, announced: bool
) -> None:
    """Let the incident take the place of what it was."""
    values = incident_row(key, incident, announced=announced)
    transaction.connection.execute(update(incidents).where(incidents.c.id == incident.id).values(values))
    wanted, present = incident.parties(), before.parties()
    for piece in chunks(present - wanted):
        gone = delete(parties).where(parties.c.incident == incident.id, parties.c.agent.in_(piece))
        transaction.connection.execute(gone)
    if rows := _party_rows(incident, wanted - present):
        transaction.connection.execute(insert(parties), rows)


def delete_incident(transaction: Transaction, incident: Incident) -> None:
    """As if it had not been."""
    numbers = select(transitions.c.number).where(transitions.c.incident == incident.id)
    transaction.connection.execute(delete(outbox).where(outbox.c.transition.in_(numbers)))
    for table, column in ((transitions, transitions.c.incident), (parties, parties.c.incident)):
        transaction.connection.execute(delete(table).where(column == incident.id))
    transaction.connection.execute(delete(incidents).where(incidents.c.id == incident.id))


def record_transition(transaction: Transaction, incident: Incident, kind: TransitionKind, by: str | None = None) -> int:
    """Add to the incident's history; answers the transition's number."""
    statement = insert(transitions).returning(transitions.c.number)
    row = _transition_row(transaction, incident, kind, by)
    number: int = transaction.connection.execute(statement, row).scalar_one()
    return number


def enqueue(
    transaction: Transaction, incident: Incident, number: int, channels: Sequence[str], wait: timedelta = timedelta(0)
) -> None:
    """Put the transition of that number into the outbox for those channels; it is sent after `wait` at the earliest."""
    if rows := _message_rows(transaction, incident, number, channels, wait):
        transaction.connection.execute(insert(outbox), rows)
    transaction.alerts = True


def channels_of(transaction: Transaction, incident: Incident) -> Sequence[str]:
    """Where the incident's rule wants its messages sent."""
    return transaction.alerting.rule_for(incident.code).channels(transaction.alerting.channels)


def node_of(incident: Incident) -> str:
    """Among whose messages one about the incident counts: the culprit's, or that of who reported it."""
    return incident.culprit.node or next(iter(incident.reporters), "")


def _opening_messages(transaction: Transaction, opened: Opened, number: int) -> list[dict[str, Any]]:
    if opened.wait is None:
        return []
    transaction.alerts = True
    channels = channels_of(transaction, opened.incident)
    return _message_rows(transaction, opened.incident, number, channels, opened.wait)


def _message_rows(
    transaction: Transaction, incident: Incident, number: int, channels: Sequence[str], wait: timedelta
) -> list[dict[str, Any]]:
    due_at = max(transaction.alerting.due_at(incident, transaction.now.astimezone()), transaction.now + wait)
    if incident.suspected is not None and not incident.is_over:
        due_at = max(due_at, transaction.now + _SUSPICION_WAITS)
    about = {"transition": number, "node": node_of(incident), "rank": incident.severity.rank}
    return [about | {"channel": channel, "attempts": 0, "due_at": due_at, "given_up": False} for channel in channels]


def _transition_row(
    transaction: Transaction, incident: Incident, kind: TransitionKind, by: str | None = None
) -> dict[str, Any]:
    return {"incident": incident.id, "kind": kind, "at": transaction.now, "by": by, "document": text_of(incident)}


def _party_rows(incident: Incident, agents: frozenset[str]) -> list[dict[str, Any]]:
    return [{"agent": agent, "incident": incident.id} for agent in sorted(agents)]
