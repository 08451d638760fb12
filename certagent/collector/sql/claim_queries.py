"""Whose identifiers and addresses are, where several nodes claim them; what an operator binds. See `domain.claims`."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Row, Table, bindparam, delete, insert, select, update

from certagent.collector.sql.schema import (
    MAY_BE_CONTESTED,
    addresses,
    agents,
    bindings,
    findings,
    identifiers,
    speakers,
)
from certagent.collector.sql.statements import Transaction, chunks
from certagent.domain.claims import Claim, ClaimKind, Dispute, disputes_among, is_routable, rightful_nodes
from certagent.domain.findings import Finding
from certagent.domain.rehearsals import AddressOwner, Rehearsal, deciding
from certagent.domain.sightings import COLLECTOR
from certagent.domain.speakers import Standing

_COLUMNS: Mapping[ClaimKind, tuple[Table, Column[Any]]] = {
    ClaimKind.IDENTIFIER: (identifiers, identifiers.c.identifier),
    ClaimKind.ADDRESS: (addresses, addresses.c.address),
}
_MAY_BE_CONTESTED = {
    kind: select(subject).where(MAY_BE_CONTESTED[table]).distinct() for kind, (table, subject) in _COLUMNS.items()
}
_BOUND = select(bindings.c.subject).where(bindings.c.kind == bindparam("kind"))
_MOST_DISPUTES = 1_000

_decode_finding = msgspec.json.Decoder(Finding).decode


def find_claimants(
    connection: Connection, wanted: Iterable[str]
) -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    """Of each of those identifiers that anybody claims: all nodes that do, and those whose it is."""
    return _claimants(connection, ClaimKind.IDENTIFIER, wanted)


def find_holders(connection: Connection, wanted: Iterable[str]) -> dict[str, frozenset[str]]:
    """Of each of those identifiers that anybody claims: the nodes whose it is."""
    return find_claimants(connection, wanted)[1]


def is_holder(connection: Connection, agent: str, identifier: str) -> bool:
    """Whether the identifier is that agent's."""
    return agent in find_holders(connection, (identifier,)).get(identifier, ())


def may_rehearse(connection: Connection, agent: str, identifier: str) -> bool:
    """Whether the agent may have the identifier rehearsed: it is the agent's; or the agent claims it, and DNS leads the
    CA to the agent's own address. What then passes there proves the claim."""
    if is_holder(connection, agent, identifier):
        return True
    claims = _claims(connection, ClaimKind.IDENTIFIER, (identifier,)).get(identifier, ())
    is_led = any(claim.node == agent and claim.dns_leads_here for claim in claims)
    return is_led and not _bound_nodes(connection, ClaimKind.IDENTIFIER, (identifier,))


def find_owners(connection: Connection, wanted: Iterable[str]) -> dict[str, AddressOwner]:
    """Whose addresses those are; of several nodes that have one by right, the first by name; unknown ones are left
    out."""
    printable = [address for address in wanted if address.isprintable()]  # an agent's text; PostgreSQL takes no NUL
    _, rightful = _claimants(connection, ClaimKind.ADDRESS, printable)
    nodes = {address: min(names) for address, names in rightful.items() if names}
    roles: dict[str, str | None] = {}
    for piece in chunks(set(nodes.values())):
        query = select(agents.c.name, agents.c.role).where(agents.c.name.in_(piece))
        roles.update({row.name: row.role for row in connection.execute(query)})
    return {address: AddressOwner(node=node, role=roles[node]) for address, node in nodes.items() if node in roles}


def note_proof(transaction: Transaction, agent: str, rehearsal: Rehearsal) -> None:
    """A rehearsal that the agent asked for passed: it proves the agent's claim, if the CA was led by DNS to the agent's
    own address, or if the identifier is the agent's as yet (then a gateway may stand in between, and prove it for
    itself later). Nothing that stands against the identifier may accuse that address."""
    attempt = deciding(rehearsal.attempts)
    met = attempt.hops[0].address if attempt is not None and attempt.matched and attempt.hops else None
    connection, identifier = transaction.connection, rehearsal.identifier
    if met is None or met not in _used_by_dns(rehearsal) - _find_accused(connection, identifier):
        return
    owner = find_owners(connection, (met,)).get(met)
    if (owner is not None and owner.node == agent) or is_holder(connection, agent, identifier):
        claimed = (identifiers.c.identifier == identifier) & (identifiers.c.agent == agent)
        connection.execute(update(identifiers).where(claimed).values(proven_at=transaction.now))


def note_lead(transaction: Transaction, rehearsal: Rehearsal) -> None:
    """Where the CA's nameservers lead, whether they are asked or a hosts line keeps them from it: whoever claims the
    identifier there keeps it beside whoever claimed it first. Where somebody has proven it, that decides."""
    said = rehearsal.resolution.dns if rehearsal.resolution is not None else ()
    led_to = {address for answer in said if answer.status == "ok" for address in answer.addresses}
    led_to |= _used_by_dns(rehearsal)
    if not led_to:
        return
    connection = transaction.connection
    owners = find_owners(connection, led_to - _find_accused(connection, rehearsal.identifier)).values()
    claimed = (identifiers.c.identifier == rehearsal.identifier) & identifiers.c.agent.in_({one.node for one in owners})
    new = update(identifiers).where(claimed, identifiers.c.led_at.is_(None)).values(led_at=transaction.now)
    if owners and connection.execute(new).rowcount:
        transaction.dirty.identifiers.add(rehearsal.identifier)
        claiming = select(identifiers.c.agent).where(identifiers.c.identifier == rehearsal.identifier)
        if len(connection.execute(claiming).all()) > 1:  # somebody was kept out until now
            transaction.dirty.judge_again.add((rehearsal.identifier, COLLECTOR))


def find_disputes(connection: Connection) -> tuple[Dispute, ...]:
    """All that nodes claim without a right to it."""
    return tuple(dispute for kind in ClaimKind for dispute in _find_disputes(connection, kind))


def _find_disputes(connection: Connection, kind: ClaimKind) -> tuple[Dispute, ...]:
    bound = set(connection.execute(_BOUND, {"kind": kind}).scalars())
    perhaps = {*connection.execute(_MAY_BE_CONTESTED[kind]).scalars(), *bound}
    known = _claims(connection, kind, filter(is_routable, perhaps) if kind is ClaimKind.ADDRESS else perhaps)
    several = sorted(name for name, claims in known.items() if len(claims) > 1)[:_MOST_DISPUTES]
    wanted = bound & known.keys() | set(several)
    return disputes_among(
        kind,
        ((name, claim) for name in wanted for claim in known[name]),
        ((name, node) for name, nodes in _bound_nodes(connection, kind, wanted).items() for node in nodes),
    )


def find_undecided(connection: Connection) -> list[str]:
    """The identifiers in dispute that are neither bound nor proven: only who came first decides."""
    of_names = _find_disputes(connection, ClaimKind.IDENTIFIER)
    listed = [one.subject for one in of_names if not any(claim.is_proven for claim in one.claims)]
    bound = _bound_nodes(connection, ClaimKind.IDENTIFIER, listed)
    return [subject for subject in listed if subject not in bound]


def bind(connection: Connection, nodes: Collection[str], kind: ClaimKind, subject: str, now: datetime) -> None:
    """From now on it is those nodes', and nobody else's. No nodes: it is bound no longer."""
    connection.execute(delete(bindings).where(bindings.c.kind == kind, bindings.c.subject == subject))
    rows = [{"kind": kind, "subject": subject, "agent": node, "created_at": now} for node in sorted(set(nodes))]
    if rows:
        connection.execute(insert(bindings), rows)


def _claimants(
    connection: Connection, kind: ClaimKind, wanted: Iterable[str]
) -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    """All that claim, and those whose it is."""
    claims = _claims(connection, kind, set(wanted))
    bound = _bound_nodes(connection, kind, claims)
    holders = {name: rightful_nodes(known, bound.get(name, ())) for name, known in claims.items()}
    return {name: frozenset(claim.node for claim in known) for name, known in claims.items()}, holders


def _claims(connection: Connection, kind: ClaimKind, wanted: Iterable[str]) -> dict[str, list[Claim]]:
    """Of each that is claimed: the claims, one for each node."""
    table, subject = _COLUMNS[kind]
    found: dict[str, dict[str, Claim]] = {}
    for piece in chunks(wanted):
        speaks_from = _speakers_at(connection, piece) if kind is ClaimKind.ADDRESS else {}
        for row in connection.execute(select(table, subject.label("subject")).where(subject.in_(piece))):
            by_node = found.setdefault(row.subject, {})
            speaks_here = speaks_from.get(row.subject) == {row.agent}  # and nobody else: it is no relay's
            by_node[row.agent] = _joined(by_node.get(row.agent), row, speaks_here=speaks_here)
    return {name: list(by_node.values()) for name, by_node in found.items()}


def _joined(known: Claim | None, row: Row[Any], *, speaks_here: bool) -> Claim:
    """A node may have an identifier in several certificates."""
    is_proven = speaks_here or getattr(row, "proven_at", None) is not None
    is_led = getattr(row, "led_at", None) is not None
    if known is None:
        return Claim(node=row.agent, since=row.since, is_proven=is_proven, dns_leads_here=is_led)
    return Claim(
        node=row.agent,
        since=None if known.since is None or row.since is None else min(known.since, row.since),
        is_proven=is_proven or known.is_proven,
        dns_leads_here=is_led or known.dns_leads_here,
    )


def _speakers_at(connection: Connection, wanted: Iterable[str]) -> dict[str, set[str]]:
    """Address -> the agents that speak from there."""
    found: dict[str, set[str]] = {}
    query = select(speakers.c.address, speakers.c.agent).where(speakers.c.standing == Standing.SPEAKER)
    for row in connection.execute(query.where(speakers.c.address.in_([one for one in wanted if is_routable(one)]))):
        found.setdefault(row.address, set()).add(row.agent)
    return found


def _bound_nodes(connection: Connection, kind: ClaimKind, wanted: Iterable[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for piece in chunks(wanted):
        query = select(bindings.c.subject, bindings.c.agent)
        for row in connection.execute(query.where(bindings.c.kind == kind, bindings.c.subject.in_(piece))):
            found.setdefault(row.subject, set()).add(row.agent)
    return found


def _used_by_dns(rehearsal: Rehearsal) -> set[str]:
    """The addresses that the CA had out of DNS; a line of a hosts file proves nothing."""
    used = rehearsal.resolution.addresses if rehearsal.resolution is not None else ()
    return {item.address for item in used if item.origin.source == "dns"}


def _find_accused(connection: Connection, identifier: str) -> set[str]:
    """The addresses that something which stands against the identifier accuses."""
    query = select(findings.c.document).where(findings.c.identifier == identifier, findings.c.is_grave)
    culprits = (_decode_finding(document).culprit for document in connection.execute(query).scalars())
    return {culprit.address for culprit in culprits if culprit is not None and culprit.address is not None}
