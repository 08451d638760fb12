"""What the tables know of the fleet, as the domain needs it. Reads only."""

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from certagent.collector.records import TokenRole
from certagent.collector.sql.schema import addresses, agents, certificates, findings, identifiers, rehearsals
from certagent.collector.sql.statements import chunks
from certagent.domain.catalogue import addresses_of
from certagent.domain.diagnosis.nameserver_files import ANSWERS, FILTERS
from certagent.domain.findings import Finding
from certagent.domain.incidents import Fleet, KnownRehearsal, Sighting, Victim, accused_by
from certagent.domain.path_trace import addresses_met
from certagent.domain.rehearsals import AddressOwner, Rehearsal, RehearsalOutcome

_decode_finding = msgspec.json.Decoder(Finding).decode
_decode_rehearsal = msgspec.json.Decoder(Rehearsal).decode


def sighting_of(row: Row[Any]) -> Sighting:
    """A row of `findings`."""
    return Sighting(agent=row.agent, scope=row.scope, at=row.at, finding=_decode_finding(row.document))


def rehearsal_of(row: Row[Any]) -> KnownRehearsal:
    """A row of `rehearsals`."""
    return KnownRehearsal(at=row.at, brokered=row.brokered, rehearsal=_decode_rehearsal(row.document))


def find_sightings(connection: Connection, keys: Iterable[str], names: Iterable[str]) -> list[Sighting]:
    """The grave findings of those incidents' keys, and those about those identifiers."""
    found = {}
    grave = select(findings).where(findings.c.is_grave)
    for column, values in ((findings.c.key, keys), (findings.c.identifier, names)):
        for piece in chunks(values):
            for row in connection.execute(grave.where(column.in_(piece))).all():
                if row.number not in found:
                    found[row.number] = sighting_of(row)
    return [found[number] for number in sorted(found)]


def find_peer_findings(connection: Connection, identifier: str) -> tuple[Finding, ...]:
    """What agents found in files of their own nodes about that identifier (that accuses no other node), by which line a
    nameserver answers for it, and what filters answers there, whatever the name.

    Only what a watch found: it is reported anew whenever the file changes, and so never outlives its cause.
    """
    filters = findings.c.document.contains(f'"{FILTERS}"')
    of_any_name = select(findings).where(findings.c.identifier.is_(None), filters)
    answers = select(findings).where(
        findings.c.identifier == identifier, findings.c.document.contains(f'"{ANSWERS}"'), ~findings.c.is_grave
    )
    facts = [sighting_of(row) for query in (of_any_name, answers) for row in connection.execute(query)]
    found = (*find_sightings(connection, (), (identifier,)), *facts)
    return tuple(
        sighting.finding
        for sighting in found
        if sighting.scope.startswith("file:")
        and sighting.finding.culprit is not None
        and sighting.finding.culprit.file is not None
        and sighting.finding.culprit.node == sighting.agent
    )


def find_fleet(connection: Connection, sightings: Iterable[Sighting], names: Iterable[str] = ()) -> Fleet:
    """What is known of the fleet that matters for those findings and identifiers."""
    listed = list(sightings)
    concerned = {sighting.finding.identifier for sighting in listed if sighting.finding.identifier} | set(names)
    known = find_rehearsals(connection, concerned)
    mentioned = {address for sighting in listed for address in addresses_of(sighting.finding)}
    for rehearsed in known.values():
        if rehearsed.brokered and rehearsed.rehearsal.outcome is RehearsalOutcome.FAILED:
            mentioned |= addresses_met(rehearsed.rehearsal)
    accused = {accused_by(sighting.agent, sighting.finding) for sighting in listed}
    return Fleet(
        authorities=find_authorities(connection),
        owners=find_owners(connection, mentioned),
        roles=find_roles(connection, accused),
        victims=find_victims(connection, concerned),
        rehearsals=known,
    )


def find_authorities(connection: Connection) -> frozenset[str]:
    """The agents whose token has the role `authority`."""
    query = select(agents.c.name).where(agents.c.token_role == TokenRole.AUTHORITY)
    return frozenset(connection.execute(query).scalars())


def find_owners(connection: Connection, wanted: Iterable[str]) -> dict[str, AddressOwner]:
    """Whose addresses those are; of several nodes that claim one, the first by name; unknown ones are left out."""
    found: dict[str, AddressOwner] = {}
    joined = select(addresses.c.address, agents.c.name, agents.c.role).join(agents, agents.c.name == addresses.c.agent)
    printable = (address for address in wanted if address.isprintable())  # an agent's text; PostgreSQL takes no NUL
    for piece in chunks(printable):
        for row in connection.execute(joined.where(addresses.c.address.in_(piece)).order_by(agents.c.name)):
            found.setdefault(row.address, AddressOwner(node=row.name, role=row.role))
    return found


def find_victims(connection: Connection, wanted: Iterable[str]) -> dict[str, tuple[Victim, ...]]:
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


def find_rehearsals(connection: Connection, wanted: Iterable[str]) -> dict[str, KnownRehearsal]:
    """The latest rehearsal of each of those identifiers."""
    found = {}
    for piece in chunks(wanted):
        for row in connection.execute(select(rehearsals).where(rehearsals.c.identifier.in_(piece))).all():
            found[row.identifier] = rehearsal_of(row)
    return found


def find_agents_with(connection: Connection, wanted: Iterable[str]) -> set[tuple[str, str]]:
    """(identifier, agent) for every agent that has a certificate for one of those identifiers."""
    found: set[tuple[str, str]] = set()
    for piece in chunks(wanted):
        query = select(identifiers.c.identifier, identifiers.c.agent).where(identifiers.c.identifier.in_(piece))
        found |= {(row.identifier, row.agent) for row in connection.execute(query)}
    return found


def find_identifiers(connection: Connection, agent: str) -> frozenset[str]:
    """The identifiers of the agent's certificates, by its inventory."""
    query = select(identifiers.c.identifier).where(identifiers.c.agent == agent)
    return frozenset(connection.execute(query).scalars())


def find_addresses(connection: Connection, nodes: Iterable[str]) -> set[str]:
    """All addresses of those nodes."""
    found: set[str] = set()
    for piece in chunks(nodes):
        found |= set(connection.execute(select(addresses.c.address).where(addresses.c.agent.in_(piece))).scalars())
    return found


def find_roles(connection: Connection, nodes: Iterable[str]) -> dict[str, str | None]:
    """What each of those nodes serves, by its inventory."""
    found = {}
    for piece in chunks(nodes):
        query = select(agents.c.name, agents.c.role).where(agents.c.name.in_(piece))
        found.update({row.name: row.role for row in connection.execute(query)})
    return found
