"""What the tables know of the fleet, as the domain needs it. Reads only."""

from collections.abc import Container, Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from certagent.collector.records import TokenRole
from certagent.collector.sql.claim_queries import find_claimants, find_owners
from certagent.collector.sql.schema import addresses, agents, certificates, findings, identifiers, rehearsals
from certagent.collector.sql.statements import chunks
from certagent.domain.catalogue import addresses_of
from certagent.domain.diagnosis.nameserver_files import ANSWERS, FILTERS, answers_for
from certagent.domain.findings import Finding
from certagent.domain.rehearsals import Rehearsal
from certagent.domain.sightings import Fleet, KnownRehearsal, Sighting, Victim, accused_by, own_target

_MOST_SHOWN = 8 * 1024 * 1024  # characters of findings on one page

_decode_finding = msgspec.json.Decoder(Finding).decode
_decode_rehearsal = msgspec.json.Decoder(Rehearsal).decode


def sighting_of(row: Row[Any]) -> Sighting:
    """A row of `findings`."""
    return Sighting(agent=row.agent, scope=row.scope, at=row.at, finding=_decode_finding(row.document))


def read_sightings(rows: Iterable[Row[Any]]) -> list[Sighting]:
    """Rows of `findings`, as many of the first as a page can show."""
    found, left = [], _MOST_SHOWN
    for row in rows:
        left -= len(row.document)
        if left < 0:
            break
        found.append(sighting_of(row))
    return found


def rehearsal_of(row: Row[Any]) -> KnownRehearsal:
    """A row of `rehearsals`."""
    rehearsal = _decode_rehearsal(row.document)
    return KnownRehearsal(at=row.at, brokered=row.brokered, rehearsal=rehearsal, asker=row.asker)


def find_sightings(connection: Connection, keys: Iterable[str], names: Iterable[str]) -> list[Sighting]:
    """The grave findings that may belong to incidents of those keys, and those about those identifiers."""
    found = {}
    grave = select(findings).where(findings.c.is_grave)
    listed = list(keys)
    for column, values in ((findings.c.key, listed), (findings.c.own_key, listed), (findings.c.identifier, names)):
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
        findings.c.identifier.in_(_name_and_domains(identifier)),
        findings.c.document.contains(f'"{ANSWERS}"'),
        ~findings.c.is_grave,
    )
    facts = [sighting_of(row) for row in connection.execute(of_any_name)]
    told = [sighting_of(row) for row in connection.execute(answers)]
    told = [one for one in told if answers_for(one.finding, identifier)]
    told.sort(key=lambda one: len(one.finding.identifier or ""), reverse=True)  # the nearest domain's first
    found = (*find_sightings(connection, (), (identifier,)), *facts, *told)
    return tuple(
        sighting.finding
        for sighting in found
        if sighting.scope.startswith("file:")
        and sighting.finding.culprit is not None
        and sighting.finding.culprit.file is not None
        and sighting.finding.culprit.node == sighting.agent
    )


def _name_and_domains(identifier: str) -> list[str]:
    labels = identifier.split(".")
    return [".".join(labels[place:]) for place in range(len(labels))]


def find_fleet(connection: Connection, sightings: Iterable[Sighting], names: Iterable[str] = ()) -> Fleet:
    """What is known of the fleet that matters for those findings and identifiers."""
    listed = list(sightings)
    concerned = {sighting.finding.identifier for sighting in listed if sighting.finding.identifier} | set(names)
    whole = {target[:2] for sighting in listed if (target := own_target(sighting)) is not None}
    concerned |= find_identifiers(connection, whole)
    known = find_rehearsals(connection, concerned)
    claimants, holders = find_claimants(connection, concerned)
    mentioned = {address for sighting in listed for address in addresses_of(sighting.finding)}
    accused = {accused_by(sighting.agent, sighting.finding) for sighting in listed}
    victims = find_victims(connection, concerned, holders)
    return Fleet(
        authorities=find_authorities(connection),
        owners=find_owners(connection, mentioned),
        roles=find_roles(connection, accused | {sighting.agent for sighting in listed}),
        victims=victims,
        certificates=_by_certificate(victims, whole),
        rehearsals=known,
        disputed=frozenset(name for name, nodes in claimants.items() if nodes - holders[name]),
    )


def find_authorities(connection: Connection) -> frozenset[str]:
    """The agents whose token has the role `authority`."""
    query = select(agents.c.name).where(agents.c.token_role == TokenRole.AUTHORITY)
    return frozenset(connection.execute(query).scalars())


def find_victims(
    connection: Connection, wanted: Iterable[str], holders: Mapping[str, frozenset[str]]
) -> dict[str, tuple[Victim, ...]]:
    """The certificates that bear those identifiers, of the nodes whose they are."""
    found: dict[str, list[Victim]] = {}
    columns = identifiers.c.identifier, identifiers.c.agent, identifiers.c.certificate, certificates.c.expires_at
    joined = select(*columns).join(
        certificates,
        (certificates.c.agent == identifiers.c.agent) & (certificates.c.name == identifiers.c.certificate),
    )
    for piece in chunks(wanted):
        rows = connection.execute(joined.where(identifiers.c.identifier.in_(piece))).all()
        for identifier, node, name, expires_at in rows:
            if node in holders.get(identifier, ()):
                victim = Victim(identifier=identifier, node=node, certificate=name, expires_at=expires_at)
                found.setdefault(identifier, []).append(victim)
    return {identifier: tuple(victims) for identifier, victims in found.items()}


def find_identifiers(connection: Connection, wanted: Iterable[tuple[str, str]]) -> set[str]:
    """All identifiers of those certificates, by node and name."""
    found: set[str] = set()
    pairs = set(wanted)
    for piece in chunks({agent for agent, _ in pairs}):  # by the agent alone: SQLite finds no pair by an index
        rows = connection.execute(select(identifiers).where(identifiers.c.agent.in_(piece)))
        found.update(row.identifier for row in rows if (row.agent, row.certificate) in pairs)
    return found


def find_siblings(connection: Connection, names: Iterable[str]) -> set[str]:
    """All identifiers of the certificates that any of those is in."""
    found: set[str] = set()
    for piece in chunks(names):
        query = select(identifiers.c.agent, identifiers.c.certificate).where(identifiers.c.identifier.in_(piece))
        found |= find_identifiers(connection, {(row.agent, row.certificate) for row in connection.execute(query)})
    return found


def _by_certificate(
    victims: Mapping[str, tuple[Victim, ...]], wanted: Container[tuple[str, str]]
) -> dict[tuple[str, str], tuple[Victim, ...]]:
    found: dict[tuple[str, str], list[Victim]] = {}
    for victim in (one for group in victims.values() for one in group):
        if (victim.node, victim.certificate) in wanted:
            found.setdefault((victim.node, victim.certificate), []).append(victim)
    return {key: tuple(group) for key, group in found.items()}


def find_rehearsals(connection: Connection, wanted: Iterable[str]) -> dict[str, tuple[KnownRehearsal, ...]]:
    """The latest rehearsals of each of those identifiers, by challenge and by who asked."""
    found: dict[str, list[KnownRehearsal]] = {}
    for piece in chunks(wanted):
        for row in connection.execute(select(rehearsals).where(rehearsals.c.identifier.in_(piece))).all():
            found.setdefault(row.identifier, []).append(rehearsal_of(row))
    return {identifier: tuple(known) for identifier, known in found.items()}


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
