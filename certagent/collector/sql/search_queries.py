"""One search over nodes, certificates and identifiers, by any part of their names. Reads only.

Every row of three tables is looked at, of which none is longer than the fleet: `tests/bench/page.py` says how long
that takes with 5,000 nodes.
"""

from typing import Any

import msgspec
from sqlalchemy import Connection, Select, or_, select

from certagent.collector.records import KnownAgent, KnownCertificate
from certagent.collector.sql.api_queries import read_agent, read_certificate
from certagent.collector.sql.list_queries import holds
from certagent.collector.sql.schema import addresses, agents, certificates, identifiers


class FoundIdentifier(msgspec.Struct, frozen=True):
    """An identifier, and whose certificate it is in."""

    identifier: str
    node: str
    certificate: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What has the text in it, the first of each kind by name; `more`: of which kinds there are others."""

    nodes: list[KnownAgent]
    certificates: list[KnownCertificate]
    identifiers: list[FoundIdentifier]
    more: frozenset[str]


def search(connection: Connection, text: str, limit: int) -> Found:
    """What has the text in its name, address, role or certificate's name; an international name in both its forms."""
    forms = tuple(dict.fromkeys((text.lower(), in_ascii(text.lower()))))
    having = select(addresses.c.agent).where(or_(*(holds(addresses.c.address, form) for form in forms)))
    of_node = or_(
        *(holds(agents.c.name, form) | holds(agents.c.role, form) for form in forms), agents.c.name.in_(having)
    )
    of_certificate = or_(*(holds(certificates.c.name, form) for form in forms))
    of_identifier = or_(*(holds(identifiers.c.identifier, form) for form in forms))
    known, more = {}, set()
    for kind, query in {
        "nodes": select(agents).where(of_node).order_by(agents.c.name),
        "certificates": select(certificates).where(of_certificate).order_by(certificates.c.name, certificates.c.agent),
        "identifiers": select(identifiers).where(of_identifier).order_by(identifiers.c.identifier, identifiers.c.agent),
    }.items():
        known[kind] = _first(connection, query, limit + 1)
        if len(known[kind]) > limit:
            more.add(kind)
    return Found(
        nodes=[read_agent(row) for row in known["nodes"][:limit]],
        certificates=[read_certificate(row) for row in known["certificates"][:limit]],
        identifiers=[
            FoundIdentifier(row.identifier, row.agent, row.certificate) for row in known["identifiers"][:limit]
        ],
        more=frozenset(more),
    )


def _first(connection: Connection, query: Select[Any], count: int) -> list[Any]:
    return list(connection.execute(query.limit(count)))


def in_ascii(text: str) -> str:
    """As DNS has it: `xn--...` for a label that is not ASCII."""
    try:
        return text.encode("idna").decode("ascii")
    except UnicodeError:
        return text
