"""Whose identifiers and addresses are, where several nodes claim them; what an operator binds. See `domain.claims`."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Row, Table, delete, func, insert, select, update

from certagent.collector.sql.schema import addresses, agents, bindings, findings, identifiers, rehearsals
from certagent.collector.sql.statements import Transaction, chunks
from certagent.domain.claims import Claim, ClaimKind, Dispute, disputes_among, rightful_nodes
from certagent.domain.findings import Finding
from certagent.domain.rehearsals import AddressOwner, Rehearsal, ResolvedAddress, deciding

_COLUMNS: Mapping[ClaimKind, tuple[Table, Column[Any]]] = {
    ClaimKind.IDENTIFIER: (identifiers, identifiers.c.identifier),
    ClaimKind.ADDRESS: (addresses, addresses.c.address),
}
_MOST_DISPUTES = 1_000

_decode_finding = msgspec.json.Decoder(Finding).decode
_decode_rehearsal = msgspec.json.Decoder(Rehearsal).decode


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
    """Whether the agent may have the identifier rehearsed: it is the agent's; or the agent claims it, and the CA was
    led by DNS to the agent's own address before. What then passes there proves the claim."""
    if is_holder(connection, agent, identifier):
        return True
    claims = select(identifiers.c.agent).where(identifiers.c.identifier == identifier, identifiers.c.agent == agent)
    if connection.execute(claims).first() is None or _bound_nodes(connection, ClaimKind.IDENTIFIER, (identifier,)):
        return False
    rows = connection.execute(select(rehearsals.c.document).where(rehearsals.c.identifier == identifier)).scalars()
    led_to = {item.address for document in rows for item in _by_dns(_decode_rehearsal(document))}
    return any(owner.node == agent for owner in find_owners(connection, led_to).values())


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
    """A rehearsal that the agent asked for passed. It proves the agent's claim if the CA was led by DNS to the agent's
    own address, and nothing that stands against the identifier accuses that address."""
    connection, attempt = transaction.connection, deciding(rehearsal.attempts)
    met = attempt.hops[0].address if attempt is not None and attempt.matched and attempt.hops else None
    if met is None or met not in {item.address for item in _by_dns(rehearsal)}:
        return
    owner = find_owners(connection, (met,)).get(met)
    if owner is None or owner.node != agent or _is_accused(connection, rehearsal, met):
        return
    claimed = (identifiers.c.identifier == rehearsal.identifier) & (identifiers.c.agent == agent)
    connection.execute(update(identifiers).where(claimed).values(proven_at=transaction.now))


def find_disputes(connection: Connection) -> tuple[Dispute, ...]:
    """All that nodes claim without a right to it."""
    found: list[Dispute] = []
    for kind, (table, subject) in _COLUMNS.items():
        several = select(subject).group_by(subject).having(func.count(table.c.agent.distinct()) > 1)
        several = several.order_by(subject).limit(_MOST_DISPUTES)
        bound = select(bindings.c.subject).where(bindings.c.kind == kind)
        wanted = {*connection.execute(several).scalars(), *connection.execute(bound).scalars()}
        claims = _claims(connection, kind, wanted)
        found += disputes_among(
            kind,
            ((name, claim) for name, listed in claims.items() for claim in listed),
            ((name, node) for name, nodes in _bound_nodes(connection, kind, wanted).items() for node in nodes),
        )
    return tuple(found)


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
        for row in connection.execute(select(table, subject.label("subject")).where(subject.in_(piece))):
            by_node = found.setdefault(row.subject, {})
            by_node[row.agent] = _joined(by_node.get(row.agent), row)
    return {name: list(by_node.values()) for name, by_node in found.items()}


def _joined(known: Claim | None, row: Row[Any]) -> Claim:
    """A node may have an identifier in several certificates."""
    is_proven = getattr(row, "proven_at", None) is not None
    if known is None:
        return Claim(node=row.agent, since=row.since, is_proven=is_proven)
    since = None if known.since is None or row.since is None else min(known.since, row.since)
    return Claim(node=row.agent, since=since, is_proven=is_proven or known.is_proven)


def _bound_nodes(connection: Connection, kind: ClaimKind, wanted: Iterable[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for piece in chunks(wanted):
        query = select(bindings.c.subject, bindings.c.agent)
        for row in connection.execute(query.where(bindings.c.kind == kind, bindings.c.subject.in_(piece))):
            found.setdefault(row.subject, set()).add(row.agent)
    return found


def _by_dns(rehearsal: Rehearsal) -> tuple[ResolvedAddress, ...]:
    """The addresses that the CA had out of DNS; a line of a hosts file proves nothing."""
    used = rehearsal.resolution.addresses if rehearsal.resolution is not None else ()
    return tuple(item for item in used if item.origin.source == "dns")


def _is_accused(connection: Connection, rehearsal: Rehearsal, address: str) -> bool:
    """Whether anything that stands against the identifier accuses that address."""
    query = select(findings.c.document).where(findings.c.identifier == rehearsal.identifier, findings.c.is_grave)
    culprits = (_decode_finding(document).culprit for document in connection.execute(query).scalars())
    return any(culprit is not None and culprit.address == address for culprit in culprits)
