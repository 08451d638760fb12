"""Inventories into tables: whose address, whose certificate. An inventory that says nothing new changes nothing."""

from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from certagent.collector.sql.dirty_set import DirtySet
from certagent.collector.sql.schema import addresses, agents, certificates, identifiers
from certagent.collector.sql.statements import text_of
from certagent.domain.reports import CertificateState, Inventory

_decode = msgspec.json.Decoder(Inventory).decode


def accept_inventory(connection: Connection, agent: str, inventory: Inventory, touched: DirtySet) -> None:
    """Let the inventory replace the agent's earlier one."""
    stored = connection.execute(select(agents.c.inventory).where(agents.c.name == agent)).scalar()
    document = text_of(inventory)
    if stored == document:
        return
    before = _decode(stored) if stored is not None else Inventory(node=agent, addresses=())
    connection.execute(update(agents).where(agents.c.name == agent).values(role=inventory.role, inventory=document))
    touched.agents.add(agent)
    if (before.addresses, before.role) != (inventory.addresses, inventory.role):
        _replace_addresses(connection, agent, inventory)
        touched.all = True
    if before.certificates != inventory.certificates:
        _replace_certificates(connection, agent, inventory)
        both = (*before.certificates, *inventory.certificates)
        touched.identifiers |= {name for certificate in both for name in certificate.identifiers}


def identifiers_of(connection: Connection, agent: str) -> frozenset[str]:
    """The identifiers of the agent's certificates."""
    query = select(identifiers.c.identifier).where(identifiers.c.agent == agent)
    return frozenset(connection.execute(query).scalars())


def _replace_addresses(connection: Connection, agent: str, inventory: Inventory) -> None:
    connection.execute(delete(addresses).where(addresses.c.agent == agent))
    rows = [{"address": address, "agent": agent} for address in sorted(set(inventory.addresses))]
    if rows:
        connection.execute(insert(addresses), rows)


def _replace_certificates(connection: Connection, agent: str, inventory: Inventory) -> None:
    connection.execute(delete(certificates).where(certificates.c.agent == agent))
    connection.execute(delete(identifiers).where(identifiers.c.agent == agent))
    by_name = {certificate.name: certificate for certificate in inventory.certificates}
    if not by_name:
        return
    connection.execute(insert(certificates), [_certificate_row(agent, one) for one in by_name.values()])
    names = {(identifier, one.name) for one in by_name.values() for identifier in one.identifiers}
    if names:
        connection.execute(
            insert(identifiers),
            [{"identifier": identifier, "agent": agent, "certificate": name} for identifier, name in sorted(names)],
        )


def _certificate_row(agent: str, certificate: CertificateState) -> dict[str, Any]:
    return {
        "agent": agent,
        "name": certificate.name,
        "expires_at": certificate.on_disk.not_after if certificate.on_disk is not None else None,
        "document": text_of(certificate),
        "issued_at": certificate.on_disk.not_before if certificate.on_disk is not None else None,
    }
