"""From facts to incidents, inside the transaction that changed the facts.

The transition is recorded here, with one row in the outbox per channel; whoever sends them comes later, and again
after a crash. What nobody may accuse of (`confirmed` is false) is an incident all the same, but pages nobody.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from certagent.collector.sql import fleet_queries
from certagent.collector.sql.change_lookup import preceding_change
from certagent.collector.sql.dirty_set import DirtySet
from certagent.collector.sql.outbox import OPENINGS, record_transition
from certagent.collector.sql.outbox import announce as announce_to_channels
from certagent.collector.sql.schema import findings, incidents, parties, transitions
from certagent.collector.sql.statements import chunks, decode_incident, text_of
from certagent.collector.store import Changes
from certagent.domain.alerting import Alerting
from certagent.domain.incidents import (
    Incident,
    IncidentState,
    TransitionKind,
    group_findings,
    is_of_a_node,
    transition_incident,
)


class _Known(msgspec.Struct, frozen=True):
    incident: Incident
    announced: bool


def settle(connection: Connection, touched: DirtySet, alerting: Alerting, now: datetime) -> Changes:
    """Bring the incidents up to the facts; answers what changed."""
    changed: list[Incident] = []
    alerts = False
    if touched.needs_settling():
        keys, names = _scope(connection, touched)
        sightings = fleet_queries.sightings_about(connection, keys, names)
        cases = group_findings(sightings, fleet_queries.fleet_for(connection, sightings))
        known = _latest(connection, keys)
        for key in sorted(keys):
            before = known.get(key)
            incident, transition = transition_incident(key, before.incident if before else None, cases.get(key), now)
            if incident is not None and transition in OPENINGS:
                change = preceding_change(connection, incident, now)
                incident = msgspec.structs.replace(incident, change=change)
            if incident is not None and (before is None or incident != before.incident):
                alerts |= _keep(connection, key, before, incident, transition, alerting, now)
                changed.append(incident)
    return Changes(
        incidents=tuple(changed),
        agents=frozenset(touched.agents),
        judge_again=_judge_again(connection, touched),
        alerts=alerts,
    )


def _scope(connection: Connection, touched: DirtySet) -> tuple[set[str], set[str]]:
    """The keys and identifiers to conclude about: whoever shares an identifier is concluded about together.

    What is said of a whole node may be a symptom for one of its identifiers and not for another: all belong to it.
    """
    if touched.all:
        everything = connection.execute(select(findings.c.key, findings.c.identifier).where(findings.c.is_grave))
        rows = everything.all()
        standing = select(incidents.c.key).where(incidents.c.state != IncidentState.RESOLVED)
        keys = {row.key for row in rows} | set(connection.execute(standing).scalars())
        return touched.keys | keys, {row.identifier for row in rows if row.identifier}
    keys = set(touched.keys)
    for piece in chunks(touched.identifiers):
        query = select(findings.c.key).where(findings.c.is_grave, findings.c.identifier.in_(piece)).distinct()
        keys |= set(connection.execute(query).scalars())
    names = set(touched.identifiers)
    for piece in chunks(key for key in keys if is_of_a_node(key)):
        query = select(findings.c.identifier).where(findings.c.is_grave, findings.c.key.in_(piece)).distinct()
        names |= {name for name in connection.execute(query).scalars() if name}
    return keys, names


def _latest(connection: Connection, keys: Iterable[str]) -> dict[str, _Known]:
    """The newest incident of each key."""
    found = {}
    for piece in chunks(keys):
        query = select(incidents).where(incidents.c.key.in_(piece)).order_by(incidents.c.opened_at)
        found.update({row.key: row for row in connection.execute(query)})
    return {key: _known(row) for key, row in found.items()}


def _known(row: Row[tuple[object, ...]]) -> _Known:
    return _Known(decode_incident(row.document), row.announced)


def _keep(
    connection: Connection,
    key: str,
    before: _Known | None,
    incident: Incident,
    transition: TransitionKind | None,
    alerting: Alerting,
    now: datetime,
) -> bool:
    """Write the incident, its transition and the messages; answers whether there are messages."""
    was_announced = before is not None and before.announced and transition not in OPENINGS
    announce = _is_to_announce(incident, transition, was_announced)
    _write(connection, key, before, incident, announced=was_announced or announce)
    if transition is not None:
        number = record_transition(connection, incident, transition, None, now)
    elif announce:
        number = _opening_of(connection, incident)
    if announce:
        kind = transition if transition is not None else TransitionKind.OPENED
        announce_to_channels(connection, incident, kind, number, alerting, now)
    return announce


def _is_to_announce(incident: Incident, transition: TransitionKind | None, was_announced: bool) -> bool:
    """An opening once it is borne out, and the end of what was announced."""
    if transition is TransitionKind.RESOLVED:
        return was_announced
    return incident.confirmed and not was_announced


def _opening_of(connection: Connection, incident: Incident) -> int:
    """The opening that is borne out only now: it says from here on what is known now."""
    query = select(transitions.c.number).where(transitions.c.incident == incident.id, transitions.c.kind.in_(OPENINGS))
    number: int = connection.execute(query.order_by(transitions.c.number.desc()).limit(1)).scalar_one()
    connection.execute(update(transitions).where(transitions.c.number == number).values(document=text_of(incident)))
    return number


def _write(connection: Connection, key: str, before: _Known | None, incident: Incident, *, announced: bool) -> None:
    values = {
        "key": key,
        "state": incident.state,
        "opened_at": incident.opened_at,
        "announced": announced,
        "document": text_of(incident),
    }
    if before is None or before.incident.id != incident.id:
        connection.execute(insert(incidents).values(id=incident.id, **values))
        present: frozenset[str] = frozenset()
    else:
        connection.execute(update(incidents).where(incidents.c.id == incident.id).values(**values))
        present = before.incident.parties()
    wanted = incident.parties()
    for piece in chunks(present - wanted):
        connection.execute(delete(parties).where(parties.c.incident == incident.id, parties.c.agent.in_(piece)))
    if wanted - present:
        connection.execute(
            insert(parties), [{"agent": agent, "incident": incident.id} for agent in sorted(wanted - present)]
        )


def _judge_again(connection: Connection, touched: DirtySet) -> Mapping[str, frozenset[str]]:
    """Agent -> its identifiers on which another agent's word changed."""
    speakers: dict[str, set[str]] = defaultdict(set)
    for identifier, speaker in touched.judge_again:
        speakers[identifier].add(speaker)
    asked: dict[str, set[str]] = defaultdict(set)
    for identifier, agent in fleet_queries.agents_of(connection, speakers):
        if speakers[identifier] != {agent}:
            asked[agent].add(identifier)
    return {agent: frozenset(names) for agent, names in asked.items()}
