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
from sqlalchemy import ColumnElement, Row, and_, delete, insert, select, update

from certagent.collector.records import Changes
from certagent.collector.sql import fleet_queries
from certagent.collector.sql.schema import changes, findings, incidents, outbox, parties, transitions
from certagent.collector.sql.statements import Transaction, chunks, decode_incident, text_of
from certagent.domain.incidents import (
    Incident,
    IncidentState,
    PrecedingChange,
    TransitionKind,
    group_findings,
    is_of_a_node,
    transition_incident,
)
from certagent.domain.incidents import acknowledge as acknowledged
from certagent.domain.reports import FileChange

OPENINGS = (TransitionKind.OPENED, TransitionKind.REOPENED)
_CANCELLED = "taken back before it was due"
_FILE_CHANGE_COUNTS_FOR = timedelta(days=7)
_NODE_CHANGE_COUNTS_FOR = timedelta(hours=1)
_MOST_LINES = 20

_decode_change = msgspec.json.Decoder(FileChange).decode


class _Known(msgspec.Struct, frozen=True):
    incident: Incident
    announced: bool


def conclude_incidents(transaction: Transaction) -> Changes:
    """Bring the incidents up to the findings; answers all that the transaction changed."""
    if transaction.dirty.concerns_incidents():
        keys, names = _affected(transaction)
        sightings = fleet_queries.find_sightings(transaction.connection, keys, names)
        candidates = group_findings(sightings, fleet_queries.find_fleet(transaction.connection, sightings))
        known = _latest_incidents(transaction, keys)
        for key in sorted(keys):
            before = known.get(key)
            incident, transition = transition_incident(
                key, before.incident if before else None, candidates.get(key), transaction.now
            )
            if incident is not None and transition in OPENINGS:
                incident = msgspec.structs.replace(incident, change=_preceding_change(transaction, incident))
            if incident is not None and (before is None or incident != before.incident):
                _store(transaction, key, before, incident, transition)
    return Changes(
        incidents=tuple(transaction.incidents),
        agents=frozenset(transaction.dirty.agents),
        judge_again=_judge_again(transaction),
        alerts=transaction.alerts,
    )


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


def record_transition(transaction: Transaction, incident: Incident, kind: TransitionKind, by: str | None = None) -> int:
    """Add to the incident's history; answers the transition's number."""
    row = {"incident": incident.id, "kind": kind, "at": transaction.now, "by": by, "document": text_of(incident)}
    statement = insert(transitions).values(row).returning(transitions.c.number)
    number: int = transaction.connection.execute(statement).scalar_one()
    return number


def enqueue(transaction: Transaction, incident: Incident, number: int, channels: Sequence[str]) -> None:
    """Put the transition of that number into the outbox for those channels."""
    due_at = transaction.alerting.due_at(incident, transaction.now.astimezone())
    rows = [
        {"transition": number, "channel": channel, "attempts": 0, "due_at": due_at, "given_up": False}
        for channel in channels
    ]
    if rows:
        transaction.connection.execute(insert(outbox), rows)
    transaction.alerts = True


def pending_messages(transaction: Transaction, incident: Incident, channel: str) -> Sequence[Any]:
    """The messages about the incident that the channel has not received."""
    query = (
        select(outbox.c.number, outbox.c.attempts, outbox.c.due_at, transitions.c.kind)
        .join(transitions, transitions.c.number == outbox.c.transition)
        .where(transitions.c.incident == incident.id, outbox.c.channel == channel, is_pending(outbox.c))
    )
    return transaction.connection.execute(query).all()


def is_pending(columns: object) -> ColumnElement[bool]:
    """Whether a row of the outbox has neither been sent nor given up."""
    return and_(columns.sent_at.is_(None), columns.given_up.is_(False))  # type: ignore[attr-defined]


def _affected(transaction: Transaction) -> tuple[set[str], set[str]]:
    """The keys and identifiers to conclude about: findings that share an identifier are concluded from together.

    What is found on a whole node may be a symptom for one of its identifiers and not for another: all belong to it.
    """
    connection, dirty = transaction.connection, transaction.dirty
    if dirty.all:
        return _everything(transaction)
    keys = set(dirty.keys)
    for piece in chunks(dirty.identifiers):
        query = select(findings.c.key).where(findings.c.is_grave, findings.c.identifier.in_(piece)).distinct()
        keys |= set(connection.execute(query).scalars())
    names = set(dirty.identifiers)
    for piece in chunks(key for key in keys if is_of_a_node(key)):
        query = select(findings.c.identifier).where(findings.c.is_grave, findings.c.key.in_(piece)).distinct()
        names |= {name for name in connection.execute(query).scalars() if name}
    return keys, names


def _everything(transaction: Transaction) -> tuple[set[str], set[str]]:
    grave = select(findings.c.key, findings.c.identifier).where(findings.c.is_grave)
    rows = transaction.connection.execute(grave).all()
    unresolved = select(incidents.c.key).where(incidents.c.state != IncidentState.RESOLVED)
    keys = {row.key for row in rows} | set(transaction.connection.execute(unresolved).scalars())
    return transaction.dirty.keys | keys, {row.identifier for row in rows if row.identifier}


def _latest_incidents(transaction: Transaction, keys: Iterable[str]) -> dict[str, _Known]:
    """The newest incident of each key."""
    found: dict[str, Row[Any]] = {}
    for piece in chunks(keys):
        query = select(incidents).where(incidents.c.key.in_(piece)).order_by(incidents.c.opened_at)
        found.update({row.key: row for row in transaction.connection.execute(query)})
    return {key: _Known(decode_incident(row.document), row.announced) for key, row in found.items()}


def _preceding_change(transaction: Transaction, incident: Incident) -> PrecedingChange | None:
    """The last change before the incident: of the culprit's file, or a recent one on its node."""
    culprit, now = incident.culprit, transaction.now
    if culprit.node is None:
        return None
    query = select(changes).where(changes.c.agent == culprit.node, changes.c.at <= now)
    query = query.order_by(changes.c.at.desc(), changes.c.number.desc()).limit(1)
    if culprit.file is not None:
        query = query.where(changes.c.file == culprit.file, changes.c.at > now - _FILE_CHANGE_COUNTS_FOR)
    else:
        query = query.where(changes.c.at > now - _NODE_CHANGE_COUNTS_FOR)
    row = transaction.connection.execute(query).one_or_none()
    if row is None:
        return None
    change = _decode_change(row.document)
    removed, added = change.removed[:_MOST_LINES], change.added[:_MOST_LINES]
    return PrecedingChange(node=row.agent, file=row.file, at=row.at, removed=removed, added=added)


def _store(
    transaction: Transaction, key: str, before: _Known | None, incident: Incident, transition: TransitionKind | None
) -> None:
    """Write the incident, its transition and the messages."""
    transaction.incidents.append(incident)
    was_announced = before is not None and before.announced and transition not in OPENINGS
    is_news = _is_news(incident, transition, was_announced)
    _write(transaction, key, before.incident if before else None, incident, announced=was_announced or is_news)
    if transition is not None:
        number = record_transition(transaction, incident, transition)
    elif is_news:
        number = _confirm_opening(transaction, incident)
    if is_news:
        _announce(transaction, incident, transition or TransitionKind.OPENED, number)


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


def _write(transaction: Transaction, key: str, before: Incident | None, incident: Incident, *, announced: bool) -> None:
    values = {
        "key": key,
        "state": incident.state,
        "opened_at": incident.opened_at,
        "announced": announced,
        "document": text_of(incident),
    }
    if before is None or before.id != incident.id:
        transaction.connection.execute(insert(incidents).values(id=incident.id, **values))
        _write_parties(transaction, incident, frozenset())
    else:
        transaction.connection.execute(update(incidents).where(incidents.c.id == incident.id).values(**values))
        _write_parties(transaction, incident, before.parties())


def _write_parties(transaction: Transaction, incident: Incident, present: frozenset[str]) -> None:
    wanted = incident.parties()
    for piece in chunks(present - wanted):
        gone = delete(parties).where(parties.c.incident == incident.id, parties.c.agent.in_(piece))
        transaction.connection.execute(gone)
    rows = [{"agent": agent, "incident": incident.id} for agent in sorted(wanted - present)]
    if rows:
        transaction.connection.execute(insert(parties), rows)


def _announce(transaction: Transaction, incident: Incident, kind: TransitionKind, number: int) -> None:
    """Put the transition into the outbox for every channel of the incident's rule."""
    alerting = transaction.alerting
    channels = alerting.rule_for(incident.code).channels(alerting.channels)
    open_channels = [channel for channel in channels if not _cancel(transaction, incident, kind, channel)]
    enqueue(transaction, incident, number, open_channels)


def _cancel(transaction: Transaction, incident: Incident, kind: TransitionKind, channel: str) -> bool:
    """Whether a message that this one contradicts was not due yet, so that both need not be sent.

    A reminder is cancelled as well; but a channel that received the opening receives the end.
    """
    contrary = (TransitionKind.RESOLVED,) if kind in OPENINGS else OPENINGS
    not_due = [
        row
        for row in pending_messages(transaction, incident, channel)
        if row.kind in (*contrary, TransitionKind.REMINDED) and row.attempts == 0 and row.due_at > transaction.now
    ]
    if not_due:
        statement = update(outbox).where(outbox.c.number.in_([row.number for row in not_due]))
        transaction.connection.execute(statement.values(given_up=True, failure=_CANCELLED))
    return any(row.kind in contrary for row in not_due)


def _judge_again(transaction: Transaction) -> Mapping[str, frozenset[str]]:
    """Agent -> its identifiers about which another agent's findings changed."""
    reporters: dict[str, set[str]] = defaultdict(set)
    for identifier, reporter in transaction.dirty.judge_again:
        reporters[identifier].add(reporter)
    found: dict[str, set[str]] = defaultdict(set)
    for identifier, agent in fleet_queries.find_agents_with(transaction.connection, reporters):
        if reporters[identifier] != {agent}:
            found[agent].add(identifier)
    return {agent: frozenset(names) for agent, names in found.items()}
