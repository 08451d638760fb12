"""The collector's own findings into the tables, from what the tables say of the whole fleet. Concludes nothing itself.

Done again by several collectors, it comes to the same. What an agent whose token was revoked ever said is forgotten.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from certagent.collector.sql import fleet_queries
from certagent.collector.sql.dirty_set import DirtySet
from certagent.collector.sql.ingest import finding_row
from certagent.collector.sql.schema import (
    addresses,
    agents,
    certificates,
    findings,
    identifiers,
    rehearsals,
    scopes,
    tokens,
)
from certagent.collector.sql.statements import chunks
from certagent.domain.findings import Finding
from certagent.domain.fleet import DISAGREED, SILENT, FleetCertificate, FleetSnapshot, LastSeen, heard_since
from certagent.domain.incidents import COLLECTOR, KnownRehearsal
from certagent.domain.path_trace import addresses_met
from certagent.domain.rehearsals import Rehearsal

_SCOPE = "fleet"
_ENOUGH = 200  # rehearsals that passed

_decode_finding = msgspec.json.Decoder(Finding).decode
_decode_rehearsal = msgspec.json.Decoder(Rehearsal).decode


def fleet_snapshot(connection: Connection, since: datetime) -> FleetSnapshot:
    """The facts. A collector that runs only `since` then counts no silence before that is not known."""
    signs = [LastSeen(row.name, row.last_seen) for row in connection.execute(select(agents.c.name, agents.c.last_seen))]
    telling = findings.c.is_grave & findings.c.key.startswith("code:") | findings.c.key.contains(f":{DISAGREED}:")
    of_agents = telling & (findings.c.agent != COLLECTOR)
    known = _rehearsals(connection)
    met = {address for one in known for address in addresses_met(one.rehearsal)}
    return FleetSnapshot(
        signs=heard_since(signs, since, _silences(connection)),
        held=tuple(_held(connection)),
        sightings=tuple(
            fleet_queries.sighting_of(row) for row in connection.execute(select(findings).where(of_agents))
        ),
        rehearsals=tuple(known),
        owners=fleet_queries.owners_of(connection, met),
    )


def sweep(
    connection: Connection, connected: Collection[str], silent_after: timedelta, now: datetime, touched: DirtySet
) -> None:
    """Hear the connected agents, and forget the revoked ones."""
    _hear(connection, connected, now - silent_after / 4, now)
    _forget_revoked(connection, now - silent_after, touched)


def _hear(connection: Connection, connected: Collection[str], before: datetime, now: datetime) -> None:
    """Whoever has a channel lives; noted now and then, since nobody asks to the second."""
    for piece in chunks(connected):
        stale = update(agents).where(agents.c.name.in_(piece), agents.c.last_seen < before)
        connection.execute(stale.values(last_seen=now))


def _forget_revoked(connection: Connection, before: datetime, touched: DirtySet) -> None:
    valid = select(tokens.c.name).where(tokens.c.revoked_at.is_(None))
    fresh = select(tokens.c.name).where(tokens.c.revoked_at >= before)
    known = select(tokens.c.name)
    gone = select(agents.c.name).where(
        agents.c.name.in_(known), agents.c.name.not_in(valid), agents.c.name.not_in(fresh)
    )
    for name in connection.execute(gone).scalars().all():
        for table in (findings, scopes, addresses, certificates, identifiers):
            connection.execute(delete(table).where(table.c.agent == name))
        connection.execute(delete(agents).where(agents.c.name == name))
        touched.agents.add(name)
        touched.all = True


def _silences(connection: Connection) -> Iterator[Finding]:
    known = (findings.c.agent == COLLECTOR) & findings.c.key.endswith(f":{SILENT}")
    for document in connection.execute(select(findings.c.document).where(known)).scalars():
        yield _decode_finding(document)


def _rehearsals(connection: Connection) -> list[KnownRehearsal]:
    """Those that failed; and if there are any, enough of the others to tell whom the CA does reach."""
    failed = rehearsals.c.document.contains('"outcome":"failed"', autoescape=True)
    rows = list(connection.execute(select(rehearsals).where(failed)))
    if rows:
        rows += connection.execute(select(rehearsals).where(~failed).order_by(rehearsals.c.at.desc()).limit(_ENOUGH))
    return [KnownRehearsal(at=row.at, brokered=row.brokered, rehearsal=_decode_rehearsal(row.document)) for row in rows]


def _held(connection: Connection) -> Iterator[FleetCertificate]:
    names: dict[tuple[str, str], list[str]] = {}
    for row in connection.execute(select(identifiers)):
        names.setdefault((row.agent, row.certificate), []).append(row.identifier)
    known = certificates.c.agent, certificates.c.name, certificates.c.issued_at, certificates.c.expires_at
    on_disk = certificates.c.issued_at.is_not(None) & certificates.c.expires_at.is_not(None)
    for row in connection.execute(select(*known).where(on_disk)):
        yield FleetCertificate(
            node=row.agent,
            name=row.name,
            identifiers=tuple(names.get((row.agent, row.name), ())),
            not_before=row.issued_at,
            not_after=row.expires_at,
        )


def replace_found(connection: Connection, found: Iterable[Finding], now: datetime, touched: DirtySet) -> None:
    """Let what was found replace what was found before. Only what differs is written: the rest keeps its time."""
    new: dict[str, dict[str, Any]] = {}
    for finding in found:
        row = finding_row(COLLECTOR, _SCOPE, finding, now)
        new[row["document"]] = row
    old = {
        row.document: row
        for row in connection.execute(select(findings).where(findings.c.agent == COLLECTOR, findings.c.is_grave))
    }
    ended = [row for document, row in old.items() if document not in new]
    begun = [row for document, row in new.items() if document not in old and row["is_grave"]]
    for piece in chunks(row.number for row in ended):
        connection.execute(delete(findings).where(findings.c.number.in_(piece)))
    if begun:
        connection.execute(insert(findings), begun)
    touched.keys |= {row.key for row in ended} | {row["key"] for row in begun}
    touched.identifiers |= {row.identifier for row in ended if row.identifier}
    touched.identifiers |= {row["identifier"] for row in begun if row["identifier"]}
