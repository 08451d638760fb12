"""Which incidents a transaction may have changed. Findings that are concluded from together are all of them affected
when one is: those of one key or one identifier, and what is met at one address or wrong at one target."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, select, tuple_

from certagent.collector.sql import fleet_queries
from certagent.collector.sql.schema import IS_UNRESOLVED, findings, incidents
from certagent.collector.sql.statements import Transaction, chunks
from certagent.domain.reports import certificate_in, certificate_scope, served_scope
from certagent.domain.sightings import is_at_address, is_shared

_COLUMNS = (findings.c.agent, findings.c.scope, findings.c.identifier, findings.c.key, findings.c.own_key)


class Affected(msgspec.Struct, kw_only=True):
    """Incidents by their keys, identifiers by their names, and (agent, scope) whose findings belong to them."""

    keys: set[str] = msgspec.field(default_factory=set)
    names: set[str] = msgspec.field(default_factory=set)
    scopes: set[tuple[str, str]] = msgspec.field(default_factory=set)

    def add(self, other: "Affected") -> "Affected":
        """Take in what is new in the other one; answers that."""
        new = Affected(keys=other.keys - self.keys, names=other.names - self.names, scopes=other.scopes - self.scopes)
        self.keys |= new.keys
        self.names |= new.names
        self.scopes |= new.scopes
        return new

    def is_empty(self) -> bool:
        """Whether it is nothing."""
        return not (self.keys or self.names or self.scopes)


def find_affected(transaction: Transaction) -> Affected:
    """The keys and identifiers to conclude about, with every finding that belongs to them."""
    connection, dirty = transaction.connection, transaction.dirty
    if dirty.all:
        return _everything(transaction)
    affected = Affected(keys=set(dirty.keys), names=set(dirty.identifiers))
    affected.keys |= {row.key for row in _grave(connection, Affected(names=affected.names))}
    for row in _grave(connection, Affected(keys=affected.keys)):  # an accusation may be its own node's incident instead
        if row.own_key is not None:
            affected.add(Affected(keys={row.own_key}, names={row.identifier} - {None}))
    affected.names |= fleet_queries.find_siblings(connection, affected.names)
    new = affected
    while not new.is_empty():
        new = affected.add(_joined_to(connection, new))
    return affected


def _everything(transaction: Transaction) -> Affected:
    grave = select(*_COLUMNS).where(findings.c.is_grave)
    rows = transaction.connection.execute(grave).all()
    unresolved = select(incidents.c.key).where(IS_UNRESOLVED)
    keys = transaction.dirty.keys | _keys_of(rows) | set(transaction.connection.execute(unresolved).scalars())
    return Affected(keys=keys, names={row.identifier for row in rows if row.identifier})


def _joined_to(connection: Connection, known: Affected) -> Affected:
    """What shares a node, a port, an address or a certificate's target with what is known."""
    rows = [row for row in _grave(connection, known) if _is_joined(row)]
    names = {row.identifier for row in rows if row.identifier}
    certificates = {(row.agent, name) for row in rows if (name := certificate_in(row.scope)) is not None}
    if any(is_at_address(row.key) for row in rows):
        names |= fleet_queries.find_siblings(connection, names | known.names)
    names |= fleet_queries.find_identifiers(connection, certificates)
    scopes = {(agent, scope(name)) for agent, name in certificates for scope in (certificate_scope, served_scope)}
    return Affected(keys=_keys_of(rows), names=names, scopes=scopes)


def _is_joined(row: Row[*tuple[Any, ...]]) -> bool:
    return is_shared(row.key) or is_at_address(row.key) or certificate_in(row.scope) is not None


def _keys_of(rows: Iterable[Row[*tuple[Any, ...]]]) -> set[str]:
    return {key for row in rows for key in (row.key, row.own_key) if key}


def _grave(connection: Connection, wanted: Affected) -> list[Row[*tuple[Any, ...]]]:
    """The grave findings of these keys, about these identifiers, or in these scopes."""
    columns: Sequence[tuple[ColumnElement[Any], Collection[Any]]] = (
        (findings.c.key, wanted.keys),
        (findings.c.identifier, wanted.names),
        (tuple_(findings.c.agent, findings.c.scope), wanted.scopes),
    )
    return [
        row
        for column, values in columns
        for piece in chunks(values)
        for row in connection.execute(select(*_COLUMNS).where(findings.c.is_grave, column.in_(piece)))
    ]
