"""What is done to the tables by the clock: the collector's own findings, reminders, and deleting what is old.

Concludes nothing itself.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, delete, func, insert, select, update

from certagent.collector.sql import fleet_queries
from certagent.collector.sql.claim_queries import find_disputes, find_owners
from certagent.collector.sql.deliveries import list_failing
from certagent.collector.sql.incident_writer import OPENINGS, enqueue, pending_messages, record_transition
from certagent.collector.sql.ingest import finding_row
from certagent.collector.sql.schema import (
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
    tokens,
    transitions,
)
from certagent.collector.sql.source_queries import SOURCE_CODES
from certagent.collector.sql.statements import MOST_PRUNED, Transaction, chunks, decode_incident
from certagent.domain.findings import Finding
from certagent.domain.fleet import DISAGREED, DISPUTED, SILENT, FleetCertificate, FleetSnapshot, LastSeen, heard_since
from certagent.domain.incidents import Incident, IncidentState, TransitionKind
from certagent.domain.path_trace import addresses_met
from certagent.domain.sightings import COLLECTOR, KnownRehearsal

_SCOPE = "fleet"
_MOST_PASSED = 200  # rehearsals

_decode_finding = msgspec.json.Decoder(Finding).decode


def read_snapshot(connection: Connection, since: datetime, channels: Collection[str]) -> FleetSnapshot:
    """The whole fleet as it is known. A collector that runs only `since` then counts no silence before that."""
    query = select(agents.c.name, agents.c.last_seen).where(agents.c.name.not_in(_retired()))
    last_seen = [LastSeen(row.name, row.last_seen) for row in connection.execute(query)]
    names_own_file = findings.c.key.startswith("file:") & findings.c.own_key.is_(None)
    telling = findings.c.is_grave & ~names_own_file | findings.c.key.contains(f":{DISAGREED}:")
    of_agents = select(findings).where(telling & (findings.c.agent != COLLECTOR))
    on_node = select(agents.c.name).where(agents.c.role == "collector").order_by(agents.c.name).limit(1)
    known = _rehearsals(connection)
    met = {address for rehearsed in known for address in addresses_met(rehearsed.rehearsal)}
    return FleetSnapshot(
        last_seen=heard_since(last_seen, since, _silences(connection)),
        certificates=tuple(_certificates(connection)),
        sightings=tuple(fleet_queries.sighting_of(row) for row in connection.execute(of_agents)),
        rehearsals=tuple(known),
        channels=tuple(list_failing(connection, channels)),
        collector=connection.execute(on_node).scalar(),
        owners=find_owners(connection, met),
        disputes=find_disputes(connection),
    )


def update_agents(transaction: Transaction, connected: Collection[str], silent_after: timedelta) -> None:
    """Note that connected agents are alive, and forget those whose tokens were revoked."""
    _note_connected(transaction, connected, silent_after)
    _forget_revoked(transaction, silent_after)


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
    query = select(findings).where(findings.c.agent == COLLECTOR)
    old = {row.document: row for row in transaction.connection.execute(query)}
    ended = [row for document, row in old.items() if document not in new and (SOURCE_CODES in document) is of_sources]
    begun = [row for document, row in new.items() if document not in old]
    for piece in chunks(row.number for row in ended):
        transaction.connection.execute(delete(findings).where(findings.c.number.in_(piece)))
    if begun:
        transaction.connection.execute(insert(findings), begun)
    transaction.dirty.keys |= {row.key for row in ended} | {row["key"] for row in begun}
    transaction.dirty.identifiers |= {row.identifier for row in ended if row.identifier}
    transaction.dirty.identifiers |= {row["identifier"] for row in begun if row["identifier"]}


def remind(transaction: Transaction) -> int:
    """Repeat alerts that nobody has acknowledged, as often as their rules say; answers of how many incidents.

    Only where no message about the incident is pending: nobody wants ten copies of what could not be delivered.
    """
    announcements = (*OPENINGS, TransitionKind.REMINDED)
    latest = (
        select(transitions.c.incident, func.max(transitions.c.at).label("at"))
        .where(transitions.c.kind.in_(announcements))
        .group_by(transitions.c.incident)
        .subquery()
    )
    query = (
        select(incidents.c.document, latest.c.at)
        .join(latest, latest.c.incident == incidents.c.id)
        .where(incidents.c.state == IncidentState.OPEN, incidents.c.announced)
    )
    rows = transaction.connection.execute(query).all()
    return sum(_remind_of(transaction, decode_incident(row.document), row.at) for row in rows)


def prune_reports(transaction: Transaction, before: datetime) -> int:
    """Delete reports, changes and what nodes no longer claim, if older; answers how many reports: less than
    `MOST_PRUNED` means all."""
    old = select(reports.c.number).where(reports.c.received_at < before).limit(MOST_PRUNED)
    transaction.connection.execute(delete(changes).where(changes.c.at < before))
    transaction.connection.execute(delete(earlier_claims).where(earlier_claims.c.left_at < before))
    return transaction.connection.execute(delete(reports).where(reports.c.number.in_(old))).rowcount


def prune_incidents(transaction: Transaction, before: datetime) -> int:
    """Delete incidents that were resolved before, with history and messages; answers how many, as `prune_reports`."""
    ended = (
        select(incidents.c.id)
        .join(transitions, transitions.c.incident == incidents.c.id)
        .where(incidents.c.state == IncidentState.RESOLVED, incidents.c.opened_at < before)
        .where(transitions.c.at < before)
    )
    recent = select(transitions.c.incident).where(transitions.c.at >= before)
    query = ended.where(incidents.c.id.not_in(recent)).distinct().limit(MOST_PRUNED)
    gone = list(transaction.connection.execute(query).scalars())
    numbers = select(transitions.c.number).where(transitions.c.incident.in_(gone))
    transaction.connection.execute(delete(outbox).where(outbox.c.transition.in_(numbers)))
    for table in (transitions, parties):
        transaction.connection.execute(delete(table).where(table.c.incident.in_(gone)))
    return transaction.connection.execute(delete(incidents).where(incidents.c.id.in_(gone))).rowcount


def _note_connected(transaction: Transaction, connected: Collection[str], silent_after: timedelta) -> None:
    """Noted now and then, since nobody asks to the second."""
    before = transaction.now - silent_after / 4
    for piece in chunks(connected):
        stale = update(agents).where(agents.c.name.in_(piece), agents.c.last_seen < before)
        transaction.connection.execute(stale.values(last_seen=transaction.now))


def _forget_revoked(transaction: Transaction, silent_after: timedelta) -> None:
    """Delete all that agents reported whose tokens have been revoked for that long."""
    recent = select(tokens.c.name).where(tokens.c.revoked_at >= transaction.now - silent_after)
    gone = select(agents.c.name).where(agents.c.name.in_(_retired()), agents.c.name.not_in(recent))
    for name in transaction.connection.execute(gone).scalars().all():
        names = select(identifiers.c.identifier).where(identifiers.c.agent == name)
        own = rehearsals.c.identifier.in_(names) & (rehearsals.c.asker == name)
        transaction.connection.execute(delete(rehearsals).where(own))
        for table in (findings, scopes, addresses, certificates, identifiers, earlier_claims, speakers):
            transaction.connection.execute(delete(table).where(table.c.agent == name))
        transaction.connection.execute(delete(agents).where(agents.c.name == name))
        transaction.dirty.agents.add(name)
        transaction.dirty.all = True


def _retired() -> Select[Any]:
    """The names that had a token, and have none that is valid."""
    valid = select(tokens.c.name).where(tokens.c.revoked_at.is_(None))
    return select(tokens.c.name).where(tokens.c.name.not_in(valid))


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


def _silences(connection: Connection) -> Iterator[Finding]:
    known = (findings.c.agent == COLLECTOR) & findings.c.key.endswith(f":{SILENT}")
    for document in connection.execute(select(findings.c.document).where(known)).scalars():
        yield _decode_finding(document)


def _rehearsals(connection: Connection) -> list[KnownRehearsal]:
    """Those that failed; and if there are any, enough of the others to tell which nodes the CA does reach."""
    failed = rehearsals.c.document.contains('"outcome":"failed"', autoescape=True)
    rows = list(connection.execute(select(rehearsals).where(failed)))
    if rows:
        passed = select(rehearsals).where(~failed).order_by(rehearsals.c.at.desc()).limit(_MOST_PASSED)
        rows += connection.execute(passed)
    return [fleet_queries.rehearsal_of(row) for row in rows]


def _certificates(connection: Connection) -> Iterator[FleetCertificate]:
    names: dict[tuple[str, str], list[str]] = {}
    for row in connection.execute(select(identifiers)):
        names.setdefault((row.agent, row.certificate), []).append(row.identifier)
    columns = certificates.c.agent, certificates.c.name, certificates.c.issued_at, certificates.c.expires_at
    on_disk = certificates.c.issued_at.is_not(None) & certificates.c.expires_at.is_not(None)
    for row in connection.execute(select(*columns).where(on_disk, certificates.c.agent.not_in(_retired()))):
        yield FleetCertificate(
            node=row.agent,
            name=row.name,
            identifiers=tuple(names.get((row.agent, row.name), ())),
            not_before=row.issued_at,
            not_after=row.expires_at,
        )
