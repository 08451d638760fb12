"""From findings to incidents, their transitions and the messages about them, in the transaction that changed the
findings.

A message is one row in the outbox per channel; `deliveries` reads them later, and again after a crash. An incident
that nothing but an accusation supports (`confirmed` is false) is stored all the same, but alerts no channel.

A message that is not due yet is cancelled together with the one that would contradict it: what is over before anybody
was alerted is not mentioned.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, and_, select, update

from certagent.collector.records import Changes
from certagent.collector.sql import fleet_queries
from certagent.collector.sql.affected import find_affected
from certagent.collector.sql.claim_queries import find_holders
from certagent.collector.sql.incident_rows import (
    Opened,
    channels_of,
    delete_incident,
    enqueue,
    insert_opened,
    record_transition,
    replace_incident,
)
from certagent.collector.sql.preceding_changes import PrecedingChanges
from certagent.collector.sql.schema import findings, incidents, is_pending, outbox, transitions
from certagent.collector.sql.statements import Transaction, chunks, decode_incident, text_of
from certagent.domain.incidents import (
    Candidate,
    Incident,
    IncidentState,
    Successors,
    TransitionKind,
    group_findings,
    transition_incident,
)
from certagent.domain.incidents import acknowledge as acknowledged
from certagent.domain.sightings import COLLECTOR

OPENINGS = (TransitionKind.OPENED, TransitionKind.REOPENED)
_CANCELLED = "withdrawn before it was due"
_RELOAD_WAITS = timedelta(seconds=15)  # a file is right before its program has read it

_Served = tuple[str | None, str, str]
"""The culprit's node, and a victim's node and certificate."""


class _Known(msgspec.Struct, frozen=True):
    key: str
    incident: Incident
    announced: bool


def conclude_incidents(transaction: Transaction) -> Changes:
    """Bring the incidents up to the findings; answers all that the transaction changed."""
    were: Mapping[str, _Known] = {}
    ended: list[str] = []
    if transaction.dirty.concerns_incidents():
        affected = find_affected(transaction)
        sightings = fleet_queries.find_sightings(transaction.connection, affected.keys, affected.names)
        candidates = group_findings(sightings, fleet_queries.find_fleet(transaction.connection, sightings))
        were = _latest_incidents(transaction, affected.keys)
        ended = [key for key, one in were.items() if key not in candidates and _is_borne_out(one.incident)]
        known = dict(were)
        _continue(known, candidates)
        _conclude(transaction, affected.keys, known, candidates)
    return Changes(
        incidents=tuple(transaction.incidents),
        agents=frozenset(transaction.dirty.agents),
        judge_again=_judge_again(transaction, were, ended),
        alerts=transaction.alerts,
    )


def _conclude(
    transaction: Transaction, keys: Iterable[str], known: Mapping[str, _Known], candidates: Mapping[str, Candidate]
) -> None:
    """Write what becomes of the incident of each key."""
    opened: list[Opened] = []
    mended, preceding = _mended(known, candidates), PrecedingChanges(transaction)
    for key in sorted(keys):
        before = known.get(key)
        incident, transition = transition_incident(
            key, before.incident if before else None, candidates.get(key), transaction.now
        )
        if incident is None or (before is not None and (key, incident) == (before.key, before.incident)):
            continue
        if transition in OPENINGS:
            incident = msgspec.structs.replace(incident, change=preceding.before(incident))
        transaction.incidents.append(incident)
        wait = _wait(incident, transition, mended)
        if transition is not None and (before is None or before.incident.id != incident.id):
            opened.append(Opened(key, incident, transition, wait if incident.confirmed else None))
        elif before is not None:
            _go_on(transaction, key, before, incident, transition, wait)
    insert_opened(transaction, opened)


def _wait(incident: Incident, transition: TransitionKind | None, mended: frozenset[_Served]) -> timedelta:
    """What goes wrong at a server whose file was mended just now is told if it lasts: it may still have to read it."""
    is_passing = transition in OPENINGS and incident.culprit.file is None and not mended.isdisjoint(_served(incident))
    return _RELOAD_WAITS if is_passing else timedelta(0)


def _go_on(
    transaction: Transaction,
    key: str,
    before: _Known,
    incident: Incident,
    transition: TransitionKind | None,
    wait: timedelta,
) -> None:
    """Write an incident that was there, its transition and the messages."""
    was_announced = before.announced and transition not in OPENINGS
    is_news = _is_news(incident, transition, was_announced)
    replace_incident(transaction, key, before.incident, incident, announced=was_announced or is_news)
    if transition is not None:
        number = record_transition(transaction, incident, transition)
    elif is_news:
        number = _confirm_opening(transaction, incident)
    if transition is TransitionKind.RESOLVED and _was_none(transaction, incident):
        delete_incident(transaction, incident)
    elif is_news:
        _announce(transaction, incident, transition or TransitionKind.OPENED, number, wait)


def acknowledge_incident(transaction: Transaction, identity: str, by: str) -> Incident | None:
    """Put a name on an open incident; None if there is no such incident."""
    query = select(incidents.c.document).where(incidents.c.id == identity)
    row = transaction.connection.execute(query).one_or_none()
    if row is None:
        return None
    before = decode_incident(row.document)
    after = acknowledged(before, by, transaction.now)
    if after != before:
        values = {"state": after.state, "document": text_of(after)}
        transaction.connection.execute(update(incidents).where(incidents.c.id == identity).values(values))
        record_transition(transaction, after, TransitionKind.ACKNOWLEDGED, by)
        transaction.incidents.append(after)
    return after


def pending_messages(transaction: Transaction, incident: Incident, channel: str) -> Sequence[Any]:
    """The messages about the incident that the channel has not received."""
    is_wanted = and_(outbox.c.channel == channel, is_pending(outbox.c))
    query = (
        select(outbox.c.number, outbox.c.due_at, outbox.c.summed_in, transitions.c.kind)
        .add_columns(is_wanted.label("is_wanted"), is_untouched(outbox.c).label("is_untouched"))
        .join(transitions, transitions.c.number == outbox.c.transition)
        .where(transitions.c.incident == incident.id)
    )  # by the incident alone: without statistics SQLite would rather go through all that the channel has not received
    return [row for row in transaction.connection.execute(query) if row.is_wanted]


def is_untouched(columns: object) -> ColumnElement[bool]:
    """Whether no attempt to send a row of the outbox has begun: what it says has reached nobody."""
    return and_(columns.attempts == 0, columns.claim.is_(None))  # type: ignore[attr-defined]


def _continue(known: dict[str, _Known], candidates: Mapping[str, Candidate]) -> None:
    """Let what is open under a key that nothing has any more go on under the key that has taken it in."""
    successors = Successors(candidates)
    for key, before in sorted(known.items()):
        if before.incident.is_over or key in candidates:
            continue
        other = successors.find(key, before.incident)
        if other is not None and (other not in known or known[other].incident.is_over):
            known[other] = known.pop(key)


def _mended(known: Mapping[str, _Known], candidates: Mapping[str, Candidate]) -> frozenset[_Served]:
    """Of what a line in a file was in the way until now: on which node, and of whose certificate."""
    over = (one.incident for key, one in known.items() if key.startswith("file:") and key not in candidates)
    return frozenset(served for incident in over if not incident.is_over for served in _served(incident))


def _served(incident: Incident) -> set[_Served]:
    return {(incident.culprit.node, victim.node, victim.certificate) for victim in incident.victims}


def _latest_incidents(transaction: Transaction, keys: Iterable[str]) -> dict[str, _Known]:
    """The newest incident of each key; one that is not over goes before."""
    found: dict[str, Row[Any]] = {}
    for piece in chunks(keys):
        query = select(incidents).where(incidents.c.key.in_(piece))
        query = query.order_by(incidents.c.state != IncidentState.RESOLVED, incidents.c.opened_at)
        found.update({row.key: row for row in transaction.connection.execute(query)})
    return {key: _Known(key, decode_incident(row.document), row.announced) for key, row in found.items()}


def _was_none(transaction: Transaction, incident: Incident) -> bool:
    """Whether it was over before its rule would have alerted anybody: a restart is no incident."""
    after, lasted = transaction.alerting.rule_for(incident.code).after, transaction.now - incident.opened_at
    return lasted < after and not incident.flaps and incident.acknowledged_at is None


def _is_news(incident: Incident, transition: TransitionKind | None, was_announced: bool) -> bool:
    """An opening once it is confirmed, and the end of what was announced."""
    if transition is TransitionKind.RESOLVED:
        return was_announced
    return incident.confirmed and not was_announced


def _confirm_opening(transaction: Transaction, incident: Incident) -> int:
    """The number of the opening that is confirmed only now; its message carries what is known now."""
    query = select(transitions.c.number).where(transitions.c.incident == incident.id, transitions.c.kind.in_(OPENINGS))
    query = query.order_by(transitions.c.number.desc()).limit(1)
    number: int = transaction.connection.execute(query).scalar_one()
    statement = update(transitions).where(transitions.c.number == number).values(document=text_of(incident))
    transaction.connection.execute(statement)
    return number


def _announce(transaction: Transaction, incident: Incident, kind: TransitionKind, number: int, wait: timedelta) -> None:
    """Put the transition into the outbox for every channel of the incident's rule."""
    channels = channels_of(transaction, incident)
    enqueue(transaction, incident, number, [c for c in channels if not _cancel(transaction, incident, kind, c)], wait)


def _cancel(transaction: Transaction, incident: Incident, kind: TransitionKind, channel: str) -> bool:
    """Whether a message that this one contradicts was not due yet, so that both need not be sent.

    A reminder is cancelled as well; but a channel that received the opening receives the end.
    """
    contrary = (TransitionKind.RESOLVED,) if kind in OPENINGS else OPENINGS
    not_due = [
        row
        for row in pending_messages(transaction, incident, channel)
        if row.kind in (*contrary, TransitionKind.REMINDED)
        and row.is_untouched
        and row.due_at > transaction.now
        and row.summed_in is None
    ]
    if not_due:
        statement = update(outbox).where(outbox.c.number.in_([row.number for row in not_due]))
        transaction.connection.execute(statement.values(given_up=True, failure=_CANCELLED))
    return any(row.kind in contrary for row in not_due)


def _blamed_for(transaction: Transaction, keys: Iterable[str]) -> set[str]:
    """The identifiers of which somebody still says that one of these is the cause."""
    said = select(findings.c.identifier).where(findings.c.identifier.is_not(None))
    queries = (said.where(findings.c.key.in_(piece)) for piece in chunks(keys))
    return {name for query in queries for name in transaction.connection.execute(query).scalars()}


def _is_borne_out(incident: Incident) -> bool:
    return incident.confirmed and not incident.is_over


def _judge_again(
    transaction: Transaction, known: Mapping[str, _Known], ended: Iterable[str]
) -> Mapping[str, frozenset[str]]:
    """Agent -> its identifiers about which another agent's findings changed, or of which it goes on to blame what has
    ended; `known`: the incidents before."""
    reporters: dict[str, set[str]] = defaultdict(set)
    over = set(ended)  # and what its own node takes back
    for identifier, reporter in transaction.dirty.judge_again:
        reporters[identifier].add(reporter)
    for identifier, reporter, key in transaction.dirty.causes_gone:
        if key in known and _is_borne_out(known[key].incident):
            reporters[identifier].add(reporter)
            over |= {key} if known[key].incident.culprit.node == reporter else set()
    for identifier in _blamed_for(transaction, over):
        reporters[identifier].add(COLLECTOR)
    found: dict[str, set[str]] = defaultdict(set)
    for identifier, holders in find_holders(transaction.connection, reporters).items():
        for agent in holders:
            if reporters[identifier] != {agent}:
                found[agent].add(identifier)
    return {agent: frozenset(names) for agent, names in found.items()}
