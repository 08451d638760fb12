"""Facts out of the tables, as the domain wants them. Reads only."""

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from certagent.collector.sql.schema import addresses, agents, certificates, findings, identifiers, rehearsals
from certagent.collector.sql.statements import chunks
from certagent.collector.store import TokenRole
from certagent.domain.diagnosis.name_resolution import FILTERS
from certagent.domain.findings import Finding
from certagent.domain.incidents import Fleet, KnownRehearsal, Sighting, Victim, accused_by
from certagent.domain.path_trace import addresses_met
from certagent.domain.rehearsals import AddressOwner, Rehearsal, RehearsalOutcome, addresses_in

_decode_finding = msgspec.json.Decoder(Finding).decode
_decode_rehearsal = msgspec.json.Decoder(Rehearsal).decode


def sighting_of(row: Row[Any]) -> Sighting:
    """A row of `findings`."""
    return Sighting(agent=row.agent, scope=row.scope, at=row.at, finding=_decode_finding(row.document))


def sightings_about(connection: Connection, keys: Iterable[str], names: Iterable[str]) -> list[Sighting]:
    """The grave findings of those incidents' keys, and those about those identifiers."""
    found = {}
    grave = select(findings).where(findings.c.is_grave)
    for column, values in ((findings.c.key, keys), (findings.c.identifier, names)):
        for piece in chunks(values):
            for row in connection.execute(grave.where(column.in_(piece))).all():
                if row.number not in found:
                    found[row.number] = sighting_of(row)
    return [found[number] for number in sorted(found)]


def testimony_about(connection: Connection, identifier: str) -> tuple[Finding, ...]:
    """What agents found in files of their own nodes and said of that identifier: nobody else is accused by it.

    And what filters answers at a nameserver, whatever is asked.
    Only what a watch says: that is said anew whenever the file changes, and never outlives its cause.
    """
    filters = findings.c.document.contains(f'"{FILTERS}"')
    facts = select(findings).where(findings.c.identifier.is_(None), filters)
    found = (*sightings_about(connection, (), (identifier,)), *map(sighting_of, connection.execute(facts)))
    return tuple(
        sighting.finding
        for sighting in found
        if sighting.scope.startswith("file:")
        and sighting.finding.culprit is not None
        and sighting.finding.culprit.file is not None
        and sighting.finding.culprit.node == sighting.agent
    )


def fleet_for(connection: Connection, sightings: Iterable[Sighting], names: Iterable[str] = ()) -> Fleet:
    """What is known beside those findings, and about those identifiers."""
    seen = list(sightings)
    concerned = {one.finding.identifier for one in seen if one.finding.identifier} | set(names)
    known = known_rehearsals(connection, concerned)
    wanted = {address for one in seen for address in addresses_in(one.finding)}
    for one in known.values():
        if one.brokered and one.rehearsal.outcome is RehearsalOutcome.FAILED:
            wanted |= addresses_met(one.rehearsal)
    accused = {accused_by(one.agent, one.finding) for one in seen}
    return Fleet(
        authorities=authorities(connection),
        owners=owners_of(connection, wanted),
        roles=roles_of(connection, accused),
        victims=victims_of(connection, concerned),
        rehearsals=known,
    )


def authorities(connection: Connection) -> frozenset[str]:
    """The agents whose token has the role `authority`."""
    query = select(agents.c.name).where(agents.c.token_role == TokenRole.AUTHORITY)
    return frozenset(connection.execute(query).scalars())


def owners_of(connection: Connection, wanted: Iterable[str]) -> dict[str, AddressOwner]:
    """Whose addresses those are; of several that claim one, the first by name."""
    found: dict[str, AddressOwner] = {}
    joined = select(addresses.c.address, agents.c.name, agents.c.role).join(agents, agents.c.name == addresses.c.agent)
    for piece in chunks(one for one in wanted if one.isprintable()):  # an agent's word; PostgreSQL takes no NUL
        for row in connection.execute(joined.where(addresses.c.address.in_(piece)).order_by(agents.c.name)):
            found.setdefault(row.address, AddressOwner(node=row.name, role=row.role))
    return found


def victims_of(connection: Connection, wanted: Iterable[str]) -> dict[str, tuple[Victim, ...]]:
    """The certificates that bear those identifiers."""
    found: dict[str, list[Victim]] = {}
    joined = select(identifiers, certificates.c.expires_at).join(
        certificates,
        (certificates.c.agent == identifiers.c.agent) & (certificates.c.name == identifiers.c.certificate),
    )
    for piece in chunks(wanted):
        rows = connection.execute(joined.where(identifiers.c.identifier.in_(piece))).all()
        for identifier, node, name, expires_at in rows:
            victim = Victim(identifier=identifier, node=node, certificate=name, expires_at=expires_at)
            found.setdefault(identifier, []).append(victim)
    return {identifier: tuple(victims) for identifier, victims in found.items()}


def known_rehearsals(connection: Connection, wanted: Iterable[str]) -> dict[str, KnownRehearsal]:
    """The latest rehearsal of each of those identifiers."""
    found = {}
    for piece in chunks(wanted):
        for row in connection.execute(select(rehearsals).where(rehearsals.c.identifier.in_(piece))).all():
            found[row.identifier] = KnownRehearsal(
                at=row.at, brokered=row.brokered, rehearsal=_decode_rehearsal(row.document)
            )
    return found


def agents_of(connection: Connection, wanted: Iterable[str]) -> set[tuple[str, str]]:
    """(identifier, agent) for every agent that has a certificate for one of those identifiers."""
    found: set[tuple[str, str]] = set()
    for piece in chunks(wanted):
        query = select(identifiers.c.identifier, identifiers.c.agent).where(identifiers.c.identifier.in_(piece))
        found |= {(row.identifier, row.agent) for row in connection.execute(query)}
    return found


def addresses_of(connection: Connection, nodes: Iterable[str]) -> set[str]:
    """All addresses of those nodes."""
    found: set[str] = set()
    for piece in chunks(nodes):
        found |= set(connection.execute(select(addresses.c.address).where(addresses.c.agent.in_(piece))).scalars())
    return found


def roles_of(connection: Connection, nodes: Iterable[str]) -> dict[str, str | None]:
    """What each of those nodes serves, by its own inventory."""
    found = {}
    for piece in chunks(nodes):
        query = select(agents.c.name, agents.c.role).where(agents.c.name.in_(piece))
        found.update({row.name: row.role for row in connection.execute(query)})
    return found
