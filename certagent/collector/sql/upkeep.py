"""What is done to the tables by the clock: the collector's own findings, reminders, and deleting what is old.

Concludes nothing itself.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    Select,
    Table,
    Update,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from certagent.collector.sql.incident_rows import enqueue, record_transition
from certagent.collector.sql.incident_writer import OPENINGS, pending_messages
from certagent.collector.sql.ingest import finding_row
from certagent.collector.sql.look_queries import find_retired, find_stale
from certagent.collector.sql.schema import (
    IS_UNRESOLVED,
    MAY_BE_CONTESTED,
    addresses,
    agents,
    certificates,
    changes,
    earlier_claims,
    findings,
    identifiers,
    incidents,
    outbox,
    parties,
    rehearsals,
    reports,
    scopes,
    speakers,
    transitions,
)
from certagent.collector.sql.source_queries import SOURCE_CODES
from certagent.collector.sql.statements import MOST_PRUNED, Instant, Transaction, chunks, decode_incident, delete_by
from certagent.domain.findings import Finding
from certagent.domain.fleet import DISPUTED
from certagent.domain.fleet_snapshot import class_of_life
from certagent.domain.incidents import Incident, IncidentState, TransitionKind
from certagent.domain.sightings import COLLECTOR

_SCOPE = "fleet"
_MOST_SETTLED = 2_000  # rows of a table

_BEFORE = bindparam("before", type_=Instant())
_NOTE = (
    update(agents)
    .where(agents.c.name.in_(bindparam("names", expanding=True)))
    .values(last_seen=bindparam("now", type_=Instant()))
)
_OF_COLLECTOR = select(findings).where(findings.c.agent == COLLECTOR)
_LATEST = (
    select(func.max(transitions.c.at))
    .where(transitions.c.incident == incidents.c.id, transitions.c.kind.in_((*OPENINGS, TransitionKind.REMINDED)))
    .correlate(incidents)
    .scalar_subquery()
)
_TO_REPEAT = select(incidents.c.document, _LATEST.label("announced_at")).where(
    IS_UNRESOLVED, incidents.c.state == IncidentState.OPEN, incidents.c.announced, _LATEST <= _BEFORE
)
_LAST_CHANGE = (
    select(func.max(transitions.c.at))
    .where(transitions.c.incident == incidents.c.id)
    .correlate(incidents)
    .scalar_subquery()
)
_ENDED = (
    select(incidents.c.id)
    .where(incidents.c.opened_at < _BEFORE, incidents.c.state == IncidentState.RESOLVED)
    .where(_LAST_CHANGE < _BEFORE)
    .order_by(incidents.c.opened_at)
    .limit(MOST_PRUNED)
)


def _old(table: Table, at: Column[Any]) -> Select[Any]:
    """The keys of the first that are older."""
    return select(*table.primary_key).where(at < _BEFORE).order_by(at).limit(MOST_PRUNED)


_OLD_REPORTS = _old(reports, reports.c.received_at)
_OLD_CHANGES = _old(changes, changes.c.at)
_OLD_CLAIMS = _old(earlier_claims, earlier_claims.c.left_at)
_OF_INCIDENT: BindParameter[str] = bindparam("of_incident")
_FORGET = (
    delete(outbox).where(
        outbox.c.transition.in_(select(transitions.c.number).where(transitions.c.incident == _OF_INCIDENT))
    ),
    *(delete(table).where(table.c.incident == _OF_INCIDENT) for table in (transitions, parties)),
    delete(incidents).where(incidents.c.id == _OF_INCIDENT),
)


def _settling(table: Table, subject: Column[Any]) -> tuple[Select[Any], Update]:
    """What nobody has looked at; and one statement that looks and notes it: whoever comes meanwhile is not noted."""
    others = table.alias()
    several = exists().where(others.c[subject.name] == subject, others.c.agent != table.c.agent).correlate(table)
    unsettled = select(subject).where(MAY_BE_CONTESTED[table], table.c.contested.is_(None)).limit(_MOST_SETTLED)
    of_them = subject.in_(bindparam("subjects", expanding=True))
    return unsettled, update(table).where(of_them).values(contested=several)


_SETTLING = (_settling(addresses, addresses.c.address), _settling(identifiers, identifiers.c.identifier))
_LIFE = (certificates.c.agent, certificates.c.name, certificates.c.issued_at, certificates.c.expires_at)
_WITHOUT_CLASS = (
    select(*_LIFE)
    .where(certificates.c.life.is_(None), certificates.c.expires_at.is_not(None), certificates.c.issued_at.is_not(None))
    .limit(_MOST_SETTLED)
)
_CLASSIFY = (
    update(certificates)
    .where(*(column == bindparam(f"of_{column.name}", type_=column.type) for column in _LIFE))
    .values(life=bindparam("class"))
)


def update_agents(transaction: Transaction, connected: Collection[str], silent_after: timedelta) -> None:
    """Note that connected agents are alive, and forget those whose tokens were revoked. Both are among those that were
    not noted lately: who is retired is heard no more."""
    stale = find_stale(transaction.connection, transaction.now - silent_after / 4)
    _note_connected(transaction, connected, stale)
    _forget_revoked(transaction, silent_after, [name for name in stale if name not in connected])


def replace_findings(transaction: Transaction, found: Iterable[Finding]) -> None:
    """Let the collector's new findings replace its old ones. Only what differs is written: the rest keeps its time.
    What is said of provisioning code is left alone: another collector may have the checkout."""
    _replace_findings(transaction, found, of_sources=False)


def replace_source_findings(transaction: Transaction, found: Iterable[Finding]) -> None:
    """The same for what is said of provisioning code, and that alone."""
    _replace_findings(transaction, found, of_sources=True)


def _replace_findings(transaction: Transaction, found: Iterable[Finding], *, of_sources: bool) -> None:
    new: dict[str, dict[str, Any]] = {}
    for finding in found:
        row = finding_row(COLLECTOR, _SCOPE, finding, transaction.now)
        if row["is_grave"] or finding.code == DISPUTED:  # which is shown, however it is graded
            new[row["document"]] = row
    old = {row.document: row for row in transaction.connection.execute(_OF_COLLECTOR)}
    ended = [row for document, row in old.items() if document not in new and (SOURCE_CODES in document) is of_sources]
    begun = [row for document, row in new.items() if document not in old]
    for piece in chunks(row.number for row in ended):
        transaction.connection.execute(delete(findings).where(findings.c.number.in_(piece)))
    if begun:
        transaction.connection.execute(insert(findings), begun)
    transaction.dirty.keys |= {row.key for row in ended} | {row["key"] for row in begun}
    transaction.dirty.identifiers |= {row.identifier for row in ended if row.identifier}
    transaction.dirty.identifiers |= {row["identifier"] for row in begun if row["identifier"]}


def settle_rows(transaction: Transaction) -> None:
    """Note of the rows that nobody has looked at which of them several nodes claim, and for how long a certificate
    lives. Few at a time: a look at the fleet counts the rest among what can matter."""
    connection = transaction.connection
    for unsettled, settle in _SETTLING:
        if subjects := connection.execute(unsettled).scalars().all():
            connection.execute(settle, {"subjects": subjects})
    rows = connection.execute(_WITHOUT_CLASS).all()
    if rows:
        connection.execute(_CLASSIFY, [_classified(*row) for row in rows])


def remind(transaction: Transaction) -> int:
    """Repeat alerts that nobody has acknowledged, as often as their rules say; answers of how many incidents.

    Only where no message about the incident is pending: nobody wants ten copies of what could not be delivered.
    """
    pauses = [rule.repeat_every for rule in transaction.alerting.rules.values() if rule.repeat_every]
    if not pauses:
        return 0
    rows = transaction.connection.execute(_TO_REPEAT, {"before": transaction.now - min(pauses)}).all()
    return sum(_remind_of(transaction, decode_incident(row.document), row.announced_at) for row in rows)


def prune_reports(transaction: Transaction, before: datetime) -> int:
    """Delete reports, if older; answers how many: less than `MOST_PRUNED` means all."""
    return _prune(transaction, reports, _OLD_REPORTS, before)


def prune_changes(transaction: Transaction, before: datetime) -> int:
    """The same of changes of files."""
    return _prune(transaction, changes, _OLD_CHANGES, before)


def prune_claims(transaction: Transaction, before: datetime) -> int:
    """The same of what nodes no longer claim."""
    return _prune(transaction, earlier_claims, _OLD_CLAIMS, before)


def prune_incidents(transaction: Transaction, before: datetime) -> int:
    """Delete incidents that were resolved before, with history and messages; answers how many, as `prune_reports`."""
    ended = [{"of_incident": row.id} for row in transaction.connection.execute(_ENDED, {"before": before})]
    if ended:
        for statement in _FORGET:
            transaction.connection.execute(statement, ended)
    return len(ended)


def _prune(transaction: Transaction, table: Table, old: Select[Any], before: datetime) -> int:
    """Found first, then deleted one by one: however many there are, no database would rather read the whole table."""
    keys = [row._asdict() for row in transaction.connection.execute(old, {"before": before})]
    delete_by(transaction.connection, table, keys)
    return len(keys)


def _note_connected(transaction: Transaction, connected: Collection[str], stale: Iterable[str]) -> None:
    """Noted now and then, since nobody asks to the second."""
    for piece in chunks(name for name in stale if name in connected):
        transaction.connection.execute(_NOTE, {"names": piece, "now": transaction.now})


def _forget_revoked(transaction: Transaction, silent_after: timedelta, quiet: Iterable[str]) -> None:
    """Delete all that agents reported whose tokens have been revoked for that long. `quiet`: nothing is heard of."""
    retired = find_retired(transaction.connection, quiet)
    for name in (name for name, at in sorted(retired.items()) if at < transaction.now - silent_after):
        names = select(identifiers.c.identifier).where(identifiers.c.agent == name)
        own = rehearsals.c.identifier.in_(names) & (rehearsals.c.asker == name)
        transaction.connection.execute(delete(rehearsals).where(own))
        for table in (findings, scopes, addresses, certificates, identifiers, earlier_claims, speakers):
            transaction.connection.execute(delete(table).where(table.c.agent == name))
        transaction.connection.execute(delete(agents).where(agents.c.name == name))
        transaction.dirty.agents.add(name)
        transaction.dirty.all = True


def _classified(agent: str, name: str, issued_at: datetime, expires_at: datetime) -> dict[str, object]:
    of_it = {"of_agent": agent, "of_name": name, "of_issued_at": issued_at, "of_expires_at": expires_at}
    return of_it | {"class": class_of_life(issued_at, expires_at)}


def _remind_of(transaction: Transaction, incident: Incident, announced_at: datetime) -> int:
    rule = transaction.alerting.rule_for(incident.code)
    if not rule.repeat_every or transaction.now - announced_at < rule.repeat_every:
        return 0
    channels = [
        channel
        for channel in rule.channels(transaction.alerting.channels)
        if not pending_messages(transaction, incident, channel)
    ]
    if not channels:
        return 0
    number = record_transition(transaction, incident, TransitionKind.REMINDED)
    enqueue(transaction, incident, number, channels)
    return 1
