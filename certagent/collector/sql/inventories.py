"""A node's inventory into tables; what it no longer names takes along what was said of it."""

import re
from collections.abc import Collection, Container, Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import BindParameter, Select, bindparam, delete, insert, select, update

from certagent.collector.sql.daily_sums import sum_replacements
from certagent.collector.sql.schema import (
    IS_UNRESOLVED,
    addresses,
    agents,
    certificates,
    earlier_claims,
    findings,
    identifiers,
    incidents,
)
from certagent.collector.sql.statements import Transaction, chunks, decode_incident, text_of, upsert
from certagent.domain.fleet_snapshot import class_of_life
from certagent.domain.incidents import Incident
from certagent.domain.reports import (
    CertificateState,
    Inventory,
    certificate_scope,
    file_scope,
    identifier_scope,
    served_scope,
)

_MOST_EARLIER_CLAIMS = 1_000  # of one agent

_PERHAPS_AN_ADDRESS = re.compile(r"[0-9A-Fa-f.:]{2,}")

_decode_inventory = msgspec.json.Decoder(Inventory).decode

# Statements that every changed inventory runs are built once: building one takes as long as running it.
_OF: BindParameter[str] = bindparam("of")
_STORED = select(agents.c.inventory).where(agents.c.name == _OF)
_STORE = update(agents).where(agents.c.name == _OF).values(role=bindparam("as"), inventory=bindparam("document"))
_UNRESOLVED = select(incidents.c.key, incidents.c.document).where(IS_UNRESOLVED)
_ADDRESSES = select(addresses.c.address, addresses.c.since).where(addresses.c.agent == _OF)
_FORGET_ADDRESSES = delete(addresses).where(addresses.c.agent == _OF)
_ADD_ADDRESSES, _ADD_CERTIFICATES, _ADD_IDENTIFIERS = insert(addresses), insert(certificates), insert(identifiers)
_FORGET_CERTIFICATES = tuple(delete(table).where(table.c.agent == _OF) for table in (certificates, identifiers))
_CLAIM = ("identifier", "since", "proven_at", "led_at")
_EARLIER, _CURRENT = (
    select(*(table.c[name] for name in _CLAIM)).where(table.c.agent == _OF) for table in (earlier_claims, identifiers)
)
_LATEST_LEFT = (
    select(earlier_claims.c.identifier)
    .where(earlier_claims.c.agent == _OF)
    .order_by(earlier_claims.c.left_at.desc(), earlier_claims.c.identifier)
)
_SAID = select(findings.c.number, findings.c.scope, findings.c.key, findings.c.own_key, findings.c.identifier).where(
    findings.c.agent == _OF
)
_OF_A_FILE = findings.c.scope.startswith(file_scope(""))
_SAID_OF_FILES, _SAID_OF_OTHERS = _SAID.where(_OF_A_FILE), _SAID.where(~_OF_A_FILE)


def replace_inventory(transaction: Transaction, agent: str, inventory: Inventory, at: datetime) -> None:
    """Let the inventory, made `at` that time, replace the agent's earlier one; an equal one changes nothing."""
    connection, document = transaction.connection, text_of(inventory)
    stored = connection.execute(_STORED, {"of": agent}).scalar()
    if stored == document:
        return
    before = _decode_inventory(stored) if stored is not None else Inventory(node=agent, addresses=())
    connection.execute(_STORE, {"of": agent, "as": inventory.role, "document": document})
    transaction.dirty.agents.add(agent)
    if (before.addresses, before.role) != (inventory.addresses, inventory.role):
        _replace_addresses(transaction, agent, inventory, had_some=bool(before.addresses))
        _mark_named(transaction, agent, {*before.addresses, *inventory.addresses})
    if before.certificates != inventory.certificates:
        _replace_certificates(transaction, agent, inventory, had_some=bool(before.certificates))
        sum_replacements(transaction, agent, before.certificates, inventory.certificates, at)
        changed = _changed(before, inventory)
        transaction.dirty.identifiers |= changed
        transaction.work[agent] += len(changed)
        _end_evidence(transaction, agent, inventory)


def _mark_named(transaction: Transaction, agent: str, places: Collection[str]) -> None:
    """The unresolved incidents that blame the agent, or speak of one of the addresses, have to say whose they are
    now."""
    rows = transaction.connection.execute(_UNRESOLVED).all()
    keys = {row.key for row in rows if _speaks_of(decode_incident(row.document), agent, places)}
    transaction.dirty.keys |= keys
    transaction.work[agent] += len(keys)
    for piece in chunks(keys):
        names = select(findings.c.identifier).where(findings.c.is_grave, findings.c.key.in_(piece)).distinct()
        transaction.dirty.identifiers |= {name for name in transaction.connection.execute(names).scalars() if name}


def _speaks_of(incident: Incident, agent: str, places: Collection[str]) -> bool:
    culprits = [culprit for culprit in (incident.culprit, incident.suspected) if culprit is not None]
    named = {culprit.address for culprit in culprits} | incident.owners.keys()
    named |= {word.strip(".:") for word in _PERHAPS_AN_ADDRESS.findall(f"{incident.explanation} {incident.fix}")}
    return any(culprit.node == agent for culprit in culprits) or not named.isdisjoint(places)


def _changed(before: Inventory, after: Inventory) -> set[str]:
    """The identifiers of the certificates that are not as they were."""
    one, other = ({certificate.name: certificate for certificate in found.certificates} for found in (before, after))
    differing = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
    found = (known[name] for name in differing for known in (one, other) if name in known)
    return {identifier for certificate in found for identifier in certificate.identifiers}


def _end_evidence(transaction: Transaction, agent: str, inventory: Inventory) -> None:
    """What was said of an identifier or a certificate that the node no longer has is over, whether anybody was there to
    say so or not. What names none ("identifier:None", "served:") is said of the node."""
    kept = {identifier_scope(None), served_scope(None)}
    for certificate in inventory.certificates:
        kept |= {certificate_scope(certificate.name), served_scope(certificate.name)}
        kept |= {identifier_scope(identifier) for identifier in certificate.identifiers}
    _keep_only(transaction, agent, kept, _SAID_OF_OTHERS)


def end_files(transaction: Transaction, agent: str, files: Iterable[str], scopes: Iterable[str]) -> None:
    """What the agent said of files that are neither among those nor in those scopes is over."""
    kept = {*scopes, *map(file_scope, files)}
    _keep_only(transaction, agent, kept, _SAID_OF_FILES)


def _keep_only(transaction: Transaction, agent: str, kept: Container[str], said: Select[Any]) -> None:
    rows = transaction.connection.execute(said, {"of": agent})
    ended = [row for row in rows if row.scope not in kept]
    for piece in chunks(row.number for row in ended):
        transaction.connection.execute(delete(findings).where(findings.c.number.in_(piece)))
    transaction.dirty.keys |= {key for row in ended for key in (row.key, row.own_key) if key}
    transaction.dirty.identifiers |= {row.identifier for row in ended if row.identifier}


def _replace_addresses(transaction: Transaction, agent: str, inventory: Inventory, *, had_some: bool) -> None:
    since: dict[str, datetime] = {}
    if had_some:
        since = {row.address: row.since for row in transaction.connection.execute(_ADDRESSES, {"of": agent})}
        transaction.connection.execute(_FORGET_ADDRESSES, {"of": agent})
    rows = [
        {"address": address, "agent": agent, "since": since.get(address, transaction.now)}
        for address in sorted(set(inventory.addresses))
    ]
    if rows:
        transaction.connection.execute(_ADD_ADDRESSES, rows)


def _replace_certificates(transaction: Transaction, agent: str, inventory: Inventory, *, had_some: bool) -> None:
    by_name = {certificate.name: certificate for certificate in inventory.certificates}
    claimed_now = {one for item in by_name.values() for one in item.identifiers}
    known = _remember_claims(transaction, agent, claimed_now, had_some=had_some)
    if had_some:
        for forget in _FORGET_CERTIFICATES:
            transaction.connection.execute(forget, {"of": agent})
    if not by_name:
        return
    rows = [_certificate_row(agent, certificate) for certificate in by_name.values()]
    transaction.connection.execute(_ADD_CERTIFICATES, rows)
    names = {
        (identifier, certificate.name) for certificate in by_name.values() for identifier in certificate.identifiers
    }
    if names:
        claimed = {"since": transaction.now, "proven_at": None, "led_at": None}
        rows = [
            {"identifier": identifier, "agent": agent, "certificate": name, **known.get(identifier, claimed)}
            for identifier, name in sorted(names)
        ]
        transaction.connection.execute(_ADD_IDENTIFIERS, rows)


def _remember_claims(
    transaction: Transaction, agent: str, claimed: Container[str], *, had_some: bool
) -> dict[str, dict[str, Any]]:
    """Of each identifier that the agent claims, or claimed not long ago: since when, and what bears it out. What it no
    longer claims is remembered from now on."""
    earlier = _claims_of(transaction, agent, _EARLIER)
    current = _claims_of(transaction, agent, _CURRENT) if had_some else {}
    left = [row | {"agent": agent, "left_at": transaction.now} for name, row in current.items() if name not in claimed]
    if left or earlier:
        upsert(transaction.connection, earlier_claims, left[:_MOST_EARLIER_CLAIMS])
        _forget_claims(transaction, agent, claimed)
    return {name: {column: row[column] for column in _CLAIM[1:]} for name, row in (earlier | current).items()}


def _claims_of(transaction: Transaction, agent: str, query: Select[Any]) -> dict[str, dict[str, Any]]:
    rows = transaction.connection.execute(query, {"of": agent}).mappings()
    return {row["identifier"]: dict(row) for row in rows}


def _forget_claims(transaction: Transaction, agent: str, claimed: Container[str]) -> None:
    """Of the earlier ones those that are claimed again, and the oldest beyond what is kept."""
    names = transaction.connection.execute(_LATEST_LEFT, {"of": agent}).scalars().all()
    for piece in chunks(name for place, name in enumerate(names) if place >= _MOST_EARLIER_CLAIMS or name in claimed):
        ended = (earlier_claims.c.agent == agent) & earlier_claims.c.identifier.in_(piece)
        transaction.connection.execute(delete(earlier_claims).where(ended))


def _certificate_row(agent: str, certificate: CertificateState) -> dict[str, Any]:
    return {
        "agent": agent,
        "name": certificate.name,
        "expires_at": certificate.on_disk.ends_at if certificate.on_disk is not None else None,
        "document": text_of(certificate),
        "issued_at": certificate.on_disk.not_before if certificate.on_disk is not None else None,
        "life": class_of_life(certificate.on_disk.not_before, certificate.on_disk.ends_at)
        if certificate.on_disk is not None
        else None,
    }
