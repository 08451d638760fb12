"""What waits in the outbox for a channel, and what came of it. `incident_writer` put it there with the transition.

Messages about one incident leave in their order. The nodes take turns: the one that got the fewest messages within the
hour comes first, and what would be too many becomes one sum.

Who sends a message claims it before, for so long that its attempt has ended by then, and settles it only under its own
claim: a collector that was frozen meanwhile, and whose message another has taken over, changes nothing any more.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import Connection, Row, Select, String, and_, bindparam, case, func, literal, or_, select, update

from certagent.collector.records import Delivery, MessageSum
from certagent.collector.sql.incident_writer import OPENINGS, is_untouched
from certagent.collector.sql.schema import IS_UNRESOLVED, incidents, is_pending, outbox, transitions
from certagent.collector.sql.source_queries import with_sources
from certagent.collector.sql.statements import Instant, Transaction, chunks, decode_incident
from certagent.domain.fleet_snapshot import FailingChannel
from certagent.domain.incidents import Incident, TransitionKind

COUNTED_FOR = timedelta(hours=1)
"""For so long a message counts among those of its node."""
SUM_EVERY = timedelta(minutes=10)
"""Between two sums of one node."""
LATE_AFTER = timedelta(minutes=2)
"""A message that is due is on its way by then, also when the collector that sent it is gone."""
_MOST_NAMED = 5
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def next_delivery(connection: Connection, channel: str, now: datetime) -> Delivery | None:
    """The message for that channel that leaves next, or that is due first, of those that nobody is sending."""
    row = connection.execute(_NEXT, _asked(channel, now)).one_or_none()
    return _read_delivery(connection, row) if row is not None else None


def claim_delivery(transaction: Transaction, channel: str, lasting: timedelta) -> Delivery | None:
    """The message that leaves next, if it is due: for so long it is the caller's to send. Its `claim` settles it."""
    asked = _asked(channel, transaction.now, due=transaction.now)
    row = transaction.connection.execute(_NEXT_FOR_US, asked).one_or_none()
    if row is None:
        return None
    claim: dict[str, Any] = {"claim": uuid4().hex, "claimed_until": transaction.now + lasting}
    transaction.connection.execute(update(outbox).where(outbox.c.number == row.number).values(claim))
    return msgspec.structs.replace(_read_delivery(transaction.connection, row), **claim)


def record_attempt(
    transaction: Transaction, number: int, *, failure: str | None, retry_at: datetime | None, claim: str | None = None
) -> bool:
    """Note of a message, and of all that it sums up, that it was sent (no failure), is to be tried again at `retry_at`,
    or is given up. Only under the claim that it has (None: nobody's), and where nothing of the kind is noted yet:
    answers whether that was so."""
    values = {
        "attempts": outbox.c.attempts + 1,
        "failure": failure,
        "sent_at": transaction.now if failure is None else None,
        "given_up": failure is not None and retry_at is None,
        "due_at": retry_at or transaction.now,
        "claim": None,
        "claimed_until": None,
    }
    ours = update(outbox).where(outbox.c.number == number, outbox.c.claim == claim, is_pending(outbox.c))
    if not transaction.connection.execute(ours.values(values)).rowcount:
        return False
    summed = update(outbox).where(outbox.c.summed_in == number, outbox.c.number != number, is_pending(outbox.c))
    transaction.connection.execute(summed.values(values))
    return True


def release_claims(connection: Connection) -> None:
    """Whoever had claimed a message is gone: on a database that has one collector, which starts."""
    claimed = update(outbox).where(is_pending(outbox.c), outbox.c.claim.is_not(None))
    connection.execute(claimed.values(claim=None, claimed_until=None))


def _read_delivery(connection: Connection, row: Row[Any]) -> Delivery:
    return Delivery(
        number=row.number,
        channel=row.channel,
        kind=TransitionKind(row.kind),
        incident=with_sources(connection, decode_incident(row.document)),
        attempts=row.attempts,
        made_at=row.at,
        due_at=row.due_at,
        sum=_read_sum(connection, row) if row.summed_in is not None else None,
    )


def list_announced(connection: Connection, channel: str) -> list[Incident]:
    """The unresolved incidents whose opening the channel has received, as they are now."""
    unresolved: dict[str, str] = {row.id: row.document for row in connection.execute(_UNRESOLVED)}
    told: set[str] = set()
    for piece in chunks(unresolved):
        rows = connection.execute(_OPENINGS_OF, {"channel": channel, "ids": piece})
        told.update(row.incident for row in rows if row.was_sent)
    return [decode_incident(document) for identity, document in unresolved.items() if identity in told]


def list_failing(connection: Connection, channels: Collection[str]) -> Iterator[FailingChannel]:
    """Those of the channels that accepted nothing since a message was made that they refuse, or was given up.

    A message that is refused while later ones are accepted says nothing about the channel, until it is given up.
    """
    for channel in sorted(channels):
        last = connection.execute(_LAST_SENT, {"channel": channel}).scalar() or _LONG_AGO
        rows = {row.number: row for query in _REFUSED for row in connection.execute(query, _asked(channel, last))}
        if rows:
            first, latest = rows[min(rows)], rows[max(rows)]
            yield FailingChannel(
                name=channel,
                since=max(first.at, last),
                failure=latest.failure,
                gave_up=any(row.given_up for row in rows.values()),
            )


def is_any_late(connection: Connection, channels: Collection[str], now: datetime) -> bool:
    """Whether a message is due for so long that nobody seems to send it, or no channel accepts anything."""
    if any(
        connection.execute(_NEXT_DUE, _asked(channel, now, due=now - LATE_AFTER)).first() is not None
        for channel in channels
    ):
        return True
    failing = [channel for channel in list_failing(connection, channels) if channel.since <= now - LATE_AFTER]
    return bool(failing) and len(failing) == len(channels)


# --- sums -------------------------------------------------------------------------------------------------------------


def find_excess(connection: Connection, channel: str, now: datetime, most: int) -> dict[str, int]:
    """Node -> how many messages about it may still leave one by one within the hour, where more than those are due."""
    due = _count_by_node(connection, _DUE_BY_NODE, channel, now)
    if not due:
        return {}
    sent = _count_by_node(connection, _SENT_BY_NODE, channel, now)
    allowed = {node: max(0, most - sent[node]) for node in due}
    return {node: allowed[node] for node, count in due.items() if count > allowed[node]}


def sum_up(transaction: Transaction, channel: str, most: int) -> None:
    """Let one message of each node say in a sum what would be more than `most` within an hour.

    The worst and oldest leave one by one. What may be on its way already, a sum or any other message, is not summed
    up; the next sum of that node is due a while after it.
    """
    now = transaction.now
    for node, allowed in find_excess(transaction.connection, channel, now, most).items():
        rows = transaction.connection.execute(_DUE_OF_NODE, _asked(channel, now, node=node)).all()
        excess = [row.number for row in rows[allowed:] if row.is_untouched]
        if excess:
            _put_into_sum(transaction, channel, node, excess)


def _put_into_sum(transaction: Transaction, channel: str, node: str, numbers: Sequence[int]) -> None:
    leads = select(outbox, is_untouched(outbox.c).label("is_untouched")).where(
        outbox.c.channel == channel, outbox.c.node == node, outbox.c.summed_in == outbox.c.number
    )
    known = transaction.connection.execute(leads.order_by(outbox.c.due_at.desc()).limit(1)).one_or_none()
    if known is not None and known.due_at > transaction.now and known.is_untouched and known.sent_at is None:
        lead, due_at = known.number, known.due_at
    else:
        lead, due_at = numbers[0], transaction.now if known is None else max(transaction.now, known.due_at + SUM_EVERY)
    for piece in chunks(numbers):
        statement = update(outbox).where(outbox.c.number.in_(piece))
        transaction.connection.execute(statement.values(summed_in=lead, due_at=due_at))


def _read_sum(connection: Connection, lead: Any) -> MessageSum:
    query = (
        select(transitions.c.number, transitions.c.incident, transitions.c.kind)
        .join(outbox, outbox.c.transition == transitions.c.number)
        .where(outbox.c.summed_in == lead.number)
        .order_by(outbox.c.rank, outbox.c.number)
    )
    latest: dict[str, TransitionKind] = {}
    openings: dict[str, int] = {}
    for row in connection.execute(query):
        latest[row.incident] = TransitionKind(row.kind)
        openings[row.incident] = row.number
    is_over = Counter(kind is TransitionKind.RESOLVED for kind in latest.values())
    worst = [number for identity, number in openings.items() if latest[identity] is not TransitionKind.RESOLVED]
    found = select(transitions.c.number, transitions.c.document).where(transitions.c.number.in_(worst[:_MOST_NAMED]))
    documents = {row.number: row.document for row in connection.execute(found)}
    return MessageSum(
        node=lead.node,
        opened=is_over[False],
        resolved=is_over[True],
        worst=tuple(decode_incident(documents[number]) for number in worst[:_MOST_NAMED]),
    )


def _count_by_node(connection: Connection, query: Select[Any], channel: str, now: datetime) -> Counter[str]:
    return Counter({row[0]: row[1] for row in connection.execute(query, _asked(channel, now))})


# --- the statements: made once, as senders ask every other second ----------------------------------------------------


def _asked(channel: str, now: datetime, **more: object) -> dict[str, object]:
    return {"channel": channel, "now": now, "counted_from": now - COUNTED_FOR, **more}


_CHANNEL, _NODE = (bindparam(name, type_=String()) for name in ("channel", "node"))
_NOW, _DUE, _COUNTED_FROM = (bindparam(name, type_=Instant()) for name in ("now", "due", "counted_from"))
_OF_CHANNEL = outbox.c.channel == _CHANNEL
_IS_DUE_ALONE = and_(is_pending(outbox.c), outbox.c.summed_in.is_(None), outbox.c.due_at <= _NOW)
_IS_MESSAGE = or_(outbox.c.summed_in.is_(None), outbox.c.summed_in == outbox.c.number)
"""Whether it leaves itself: it is in no sum, or is the message that says it."""
_BY_NODE = select(outbox.c.node, func.count().label("count")).where(_OF_CHANNEL).group_by(outbox.c.node)
_DUE_BY_NODE = _BY_NODE.where(_IS_DUE_ALONE)
_SENT_BY_NODE = _BY_NODE.where(outbox.c.sent_at > _COUNTED_FROM, _IS_MESSAGE)
_DUE_OF_NODE = (
    select(outbox.c.number, is_untouched(outbox.c).label("is_untouched"))
    .where(_OF_CHANNEL, outbox.c.node == _NODE, _IS_DUE_ALONE)
    .order_by("is_untouched", outbox.c.rank, outbox.c.due_at, outbox.c.number)
)
_LAST_SENT = select(func.max(outbox.c.sent_at)).where(_OF_CHANNEL)
_TRIED = (
    select(outbox.c.number, outbox.c.failure, outbox.c.given_up, transitions.c.at)
    .join(transitions, transitions.c.number == outbox.c.transition)
    .where(_OF_CHANNEL, outbox.c.sent_at.is_(None), outbox.c.attempts > 0)
)
_REFUSED = (
    _TRIED.where(is_pending(outbox.c), transitions.c.at > _NOW),
    _TRIED.where(outbox.c.given_up, outbox.c.due_at > _NOW),
)
"""After the message that was sent last."""
_UNRESOLVED = select(incidents.c.id, incidents.c.document).where(IS_UNRESOLVED)
_OPENINGS_OF = (  # by the incidents alone: without statistics SQLite would rather go through all that was ever sent
    select(transitions.c.incident, and_(_OF_CHANNEL, outbox.c.sent_at.is_not(None)).label("was_sent"))
    .join(outbox, outbox.c.transition == transitions.c.number)
    .where(transitions.c.incident.in_(bindparam("ids", expanding=True)), transitions.c.kind.in_(OPENINGS))
)


def _pending() -> Select[Any]:
    """The messages for the channel, the next one on top: of each incident only the first, and every sum."""
    waiting, its_transition = outbox.alias(), transitions.alias()
    first = (  # found for all incidents at once: one look for each message would cost a storm its square
        select(func.min(waiting.c.number))
        .join(its_transition, its_transition.c.number == waiting.c.transition)
        .where(waiting.c.channel == _CHANNEL, is_pending(waiting.c))
        .group_by(its_transition.c.incident)
    )
    sent = _SENT_BY_NODE.subquery()
    return (
        select(outbox, transitions.c.kind, transitions.c.at, transitions.c.document)
        .join(transitions, transitions.c.number == outbox.c.transition)
        .outerjoin(sent, sent.c.node == outbox.c.node)
        .where(_OF_CHANNEL, is_pending(outbox.c))
        .where(or_(outbox.c.claimed_until.is_(None), outbox.c.claimed_until <= _NOW))
        .where(
            or_(outbox.c.summed_in == outbox.c.number, and_(outbox.c.summed_in.is_(None), outbox.c.number.in_(first)))
        )
        .order_by(
            case((outbox.c.due_at > _NOW, outbox.c.due_at), else_=literal(_LONG_AGO, Instant)),
            func.coalesce(sent.c.count, 0),
            outbox.c.rank,
            outbox.c.due_at,
            outbox.c.number,
        )
        .limit(1)
    )


_NEXT = _pending()
_NEXT_DUE = _NEXT.where(outbox.c.due_at <= _DUE)
_NEXT_FOR_US = _NEXT_DUE.with_for_update(of=outbox, skip_locked=True)
