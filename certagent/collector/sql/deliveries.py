"""What waits in the outbox for a channel, and what came of it. `incident_writer` put it there with the transition.

Messages about one incident leave in their order.
"""

from datetime import datetime

from sqlalchemy import Connection, Select, exists, select, update

from certagent.collector.records import Delivery
from certagent.collector.sql.incident_writer import OPENINGS, is_pending
from certagent.collector.sql.schema import incidents, outbox, transitions
from certagent.collector.sql.statements import Transaction, decode_incident
from certagent.domain.incidents import Incident, IncidentState, TransitionKind


def next_delivery(connection: Connection, channel: str) -> Delivery | None:
    """The message for that channel that is due first."""
    row = connection.execute(_pending(channel).limit(1)).one_or_none()
    if row is None:
        return None
    return Delivery(
        number=row.number,
        channel=channel,
        kind=TransitionKind(row.kind),
        incident=decode_incident(row.document),
        attempts=row.attempts,
        made_at=row.at,
        due_at=row.due_at,
    )


def record_attempt(transaction: Transaction, number: int, *, failure: str | None, retry_at: datetime | None) -> None:
    """Note of a message that it was sent (no failure), is to be tried again at `retry_at`, or is given up."""
    values = {
        "attempts": outbox.c.attempts + 1,
        "failure": failure,
        "sent_at": transaction.now if failure is None else None,
        "given_up": failure is not None and retry_at is None,
        "due_at": retry_at or transaction.now,
    }
    transaction.connection.execute(update(outbox).where(outbox.c.number == number).values(values))


def list_announced(connection: Connection, channel: str) -> list[Incident]:
    """The unresolved incidents whose opening the channel has received, as they are now."""
    sent = (
        select(transitions.c.incident)
        .join(outbox, outbox.c.transition == transitions.c.number)
        .where(outbox.c.channel == channel, outbox.c.sent_at.is_not(None), transitions.c.kind.in_(OPENINGS))
    )
    unresolved = incidents.c.state != IncidentState.RESOLVED
    query = select(incidents.c.document).where(unresolved, incidents.c.id.in_(sent))
    return [decode_incident(document) for document in connection.execute(query).scalars()]


def _pending(channel: str) -> Select[tuple[object, ...]]:
    """The messages for the channel: of each incident the first, the one that is due first on top."""
    ahead, its_transition = outbox.alias(), transitions.alias()
    earlier = (
        exists()
        .where(its_transition.c.number == ahead.c.transition, its_transition.c.incident == transitions.c.incident)
        .where(ahead.c.channel == channel, ahead.c.number < outbox.c.number, is_pending(ahead.c))
    )
    return (
        select(outbox, transitions.c.kind, transitions.c.at, transitions.c.document)
        .join(transitions, transitions.c.number == outbox.c.transition)
        .where(outbox.c.channel == channel, is_pending(outbox.c), ~earlier)
        .order_by(outbox.c.due_at, outbox.c.number)
    )
