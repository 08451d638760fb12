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
from certagent.collector.sql.affected import find_affected
from certagent.collector.sql.claim_queries import find_holders
from certagent.collector.sql.schema import changes, findings, incidents, is_pending, outbox, parties, transitions
from certagent.collector.sql.statements import Transaction, chunks, decode_incident, text_of
from certagent.domain.incidents import (
    Candidate,
    Incident,
    IncidentState,
    PrecedingChange,
    Successors,
    TransitionKind,
    group_findings,
    transition_incident,
)
from certagent.domain.incidents import acknowledge as acknowledged
from certagent.domain.reports import FileChange
from certagent.domain.sightings import COLLECTOR

OPENINGS = (TransitionKind.OPENED, TransitionKind.REOPENED)
_CANCELLED = "withdrawn before it was due"
_FILE_CHANGE_COUNTS_FOR = timedelta(days=7)
_NODE_CHANGE_COUNTS_FOR = timedelta(hours=1)
_MOST_LINES = 20
_SUSPICION_WAITS = timedelta(seconds=15)  # whose fault it is may be said in a moment: then one message is enough
_RELOAD_WAITS = timedelta(seconds=15)  # a file is right before its program has read it

_decode_change = msgspec.json.Decoder(FileChange).decode


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
        mended = _mended(known, candidates)
        for key in sorted(affected.keys):
            before = known.get(key)
            incident, transition = transition_incident(
                key, before.incident if before else None, candidates.get(key), transaction.now
            )
            if incident is not None and transition in OPENINGS:
                incident = msgspec.structs.replace(incident, change=_preceding_change(transaction, incident))
            if incident is not None and (before is None or (key, incident) != (before.key, before.incident)):
                _store(transaction, key, before, incident, transition, mended)
    return Changes(
        incidents=tuple(transaction.incidents),
        agents=frozenset(transaction.dirty.agents),
        judge_again=_judge_again(transaction, were, ended),
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


def enqueue(
    transaction: Transaction, incident: Incident, number: int, channels: Sequence[str], wait: timedelta = timedelta(0)
) -> None:
    """Put the transition of that number into the outbox for those channels; it is sent after `wait` at the earliest."""
    due_at = max(transaction.alerting.due_at(incident, transaction.now.astimezone()), transaction.now + wait)
    about = {"transition": number, "node": node_of(incident), "rank": incident.severity.rank}
    if incident.suspected is not None and not incident.is_over:
        due_at = max(due_at, transaction.now + _SUSPICION_WAITS)
    rows = [about | {"channel": channel, "attempts": 0, "due_at": due_at, "given_up": False} for channel in channels]
    if rows:
        transaction.connection.execute(insert(outbox), rows)
    transaction.alerts = True


def node_of(incident: Incident) -> str:
    """Among whose messages one about the incident counts: the culprit's, or that of who reported it."""
    return incident.culprit.node or next(iter(incident.reporters), "")


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
    transaction: Transaction,
    key: str,
    before: _Known | None,
    incident: Incident,
    transition: TransitionKind | None,
    mended: frozenset[_Served],
) -> None:
    """Write the incident, its transition and the messages. What goes wrong at a server whose file was mended just now
    is told if it lasts: the server may still have to read it."""
    transaction.incidents.append(incident)
    was_announced = before is not None and before.announced and transition not in OPENINGS
    is_news = _is_news(incident, transition, was_announced)
    _write(transaction, key, before.incident if before else None, incident, announced=was_announced or is_news)
    if transition is not None:
        number = record_transition(transaction, incident, transition)
    elif is_news:
        number = _confirm_opening(transaction, incident)
    if transition is TransitionKind.RESOLVED and _was_none(transaction, incident):
        _forget(transaction, incident)
    elif is_news:
        is_new = before is None or before.incident.id != incident.id
        is_passing = (
            transition in OPENINGS and incident.culprit.file is None and not mended.isdisjoint(_served(incident))
        )
        wait = _RELOAD_WAITS if is_passing else timedelta(0)
        _announce(transaction, incident, transition or TransitionKind.OPENED, number, wait, is_new=is_new)


def _was_none(transaction: Transaction, incident: Incident) -> bool:
    """Whether it was over before its rule would have alerted anybody: a restart is no incident."""
    after, lasted = transaction.alerting.rule_for(incident.code).after, transaction.now - incident.opened_at
    return lasted < after and not incident.flaps and incident.acknowledged_at is None


def _forget(transaction: Transaction, incident: Incident) -> None:
    """As if it had not been."""
    numbers = select(transitions.c.number).where(transitions.c.incident == incident.id)
    transaction.connection.execute(delete(outbox).where(outbox.c.transition.in_(numbers)))
    for table, column in ((transitions, transitions.c.incident), (parties, parties.c.incident)):
        transaction.connection.execute(delete(table).where(column == incident.id))
    transaction.connection.execute(delete(incidents).where(incidents.c.id == incident.id))


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


def _announce(
    transaction: Transaction, incident: Incident, kind: TransitionKind, number: int, wait: timedelta, *, is_new: bool
) -> None:
    """Put the transition into the outbox for every channel of the incident's rule. Of a new incident no message can be
    there yet."""
    alerting = transaction.alerting
    channels = alerting.rule_for(incident.code).channels(alerting.channels)
    open_channels = [c for c in channels if is_new or not _cancel(transaction, incident, kind, c)]
    enqueue(transaction, incident, number, open_channels, wait)


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
