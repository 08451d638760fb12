"""What the API shows: lists by pages, and single values. Reads only.

A cursor is the last item's position, in hexadecimal, and opaque to callers; a wrong one raises ValueError.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import BindParameter, CompoundSelect, Connection, Row, Select, bindparam, or_, select, tuple_

from certagent.collector.records import (
    IncidentDetail,
    KnownAgent,
    KnownCertificate,
    Page,
    PathEvidence,
    TokenRole,
    Transition,
)
from certagent.collector.sql import fleet_queries
from certagent.collector.sql.claim_queries import find_owners
from certagent.collector.sql.schema import (
    IS_UNRESOLVED,
    agents,
    certificates,
    findings,
    identifiers,
    incidents,
    parties,
    reports,
    transitions,
)
from certagent.collector.sql.source_queries import with_sources
from certagent.collector.sql.statements import decode_incident
from certagent.domain.incidents import Incident, IncidentState, TransitionKind
from certagent.domain.path_trace import addresses_met
from certagent.domain.reports import CertificateState, Inventory, certificate_scope, served_scope
from certagent.domain.sightings import latest_rehearsal

_RESOLVED = IncidentState.RESOLVED
_MOST_EVIDENCE = 500  # findings shown with one incident

_decode_inventory = msgspec.json.Decoder(Inventory).decode
_decode_certificate = msgspec.json.Decoder(CertificateState).decode


def list_agents(connection: Connection, after: str | None, limit: int) -> Page:
    """`KnownAgent`s by name."""
    query = select(agents).order_by(agents.c.name)
    if after is not None:
        query = query.where(agents.c.name > cursor_of(after, str)[0])
    return page_of(connection, query, limit, read_agent, lambda row: (row.name,))


def find_agent(connection: Connection, name: str) -> KnownAgent | None:
    """The agent of that name."""
    row = connection.execute(select(agents).where(agents.c.name == name)).one_or_none()
    return read_agent(row) if row is not None else None


def list_certificates(connection: Connection, after: str | None, limit: int) -> Page:
    """`KnownCertificate`s by node and name."""
    position = tuple_(certificates.c.agent, certificates.c.name)
    query = select(certificates).order_by(certificates.c.agent, certificates.c.name)
    if after is not None:
        query = query.where(position > tuple_(*cursor_of(after, str, str)))
    return page_of(connection, query, limit, read_certificate, lambda row: (row.agent, row.name))


def list_incidents(
    connection: Connection, after: str | None, limit: int, *, party: str | None = None, states: Sequence[str] = ()
) -> Page:
    """`Incident`s, the latest opened first; only those in which `party` is culprit or victim, if given."""
    query = select(incidents.c.opened_at, incidents.c.id, incidents.c.document)
    query = query.order_by(incidents.c.opened_at.desc(), incidents.c.id.desc())
    if party is not None:
        query = query.join(parties, parties.c.incident == incidents.c.id).where(parties.c.agent == party)
    if states:
        query = query.where(incidents.c.state.in_(states))
    if after is not None:
        identity = cursor_of(after, str)[0]
        last = select(incidents.c.opened_at).where(incidents.c.id == identity).scalar_subquery()
        query = query.where(tuple_(incidents.c.opened_at, incidents.c.id) < tuple_(last, identity))
    return page_of(connection, query, limit, lambda row: decode_incident(row.document), lambda row: (row.id,))


def list_reports(connection: Connection, after: str | None, limit: int, *, agent: str | None = None) -> Page:
    """Reports as `msgspec.Raw`, the latest received first."""
    query = select(reports.c.number, reports.c.document).order_by(reports.c.number.desc())
    if agent is not None:
        query = query.where(reports.c.agent == agent)
    if after is not None:
        query = query.where(reports.c.number < cursor_of(after, int)[0])
    return page_of(connection, query, limit, lambda row: msgspec.Raw(row.document.encode()), lambda row: (row.number,))


def find_incident(connection: Connection, identity: str) -> IncidentDetail | None:
    """The incident with its history and, unless it is resolved, the findings that it rests on."""
    row = connection.execute(select(incidents).where(incidents.c.id == identity)).one_or_none()
    if row is None:
        return None
    history = select(transitions).where(transitions.c.incident == identity).order_by(transitions.c.number)
    incident = decode_incident(row.document)
    of_it = or_(findings.c.key == row.key, findings.c.own_key == row.key)
    nodes = {victim.node for victim in incident.victims}
    if incident.target is not None and len(nodes) == 1:  # the steps of a failed deployment, whatever each is kept under
        of_it |= findings.c.is_grave & (findings.c.scope.in_(_scopes_at_target(incident)) & findings.c.agent.in_(nodes))
    resting_on = select(findings).where(of_it).order_by(findings.c.number).limit(_MOST_EVIDENCE)
    return IncidentDetail(
        incident=with_sources(connection, incident),
        transitions=[
            Transition(kind=TransitionKind(entry.kind), at=entry.at, by=entry.by)
            for entry in connection.execute(history)
        ],
        sightings=fleet_queries.read_sightings(connection.execute(resting_on)) if row.state != _RESOLVED else [],
    )


def _scopes_at_target(incident: Incident) -> list[str]:
    names = {victim.certificate for victim in incident.victims}
    return sorted(scope for name in names for scope in (certificate_scope(name), served_scope(name)))


def find_path_evidence(connection: Connection, identifier: str) -> PathEvidence:
    """What is known about the path to that identifier."""
    sightings = fleet_queries.find_sightings(connection, (), (identifier,))
    fleet = fleet_queries.find_fleet(connection, sightings, (identifier,))
    rehearsal = latest_rehearsal(identifier, fleet)
    nodes = {victim.node for victim in fleet.victims.get(identifier, ())}
    met = addresses_met(rehearsal.rehearsal) if rehearsal is not None else set()
    addresses = met | set(fleet.owners) | fleet_queries.find_addresses(connection, nodes)
    owners = find_owners(connection, addresses)
    roles = fleet_queries.find_roles(connection, nodes | fleet.authorities | set(fleet.roles))
    fleet = msgspec.structs.replace(fleet, owners=owners, roles=roles)
    return PathEvidence(rehearsal=rehearsal, sightings=sightings, fleet=fleet)


def _stale_identifiers(agent: BindParameter[str]) -> CompoundSelect[str]:
    of_agent = select(identifiers.c.identifier).where(identifiers.c.agent == agent)
    about_them = select(findings.c.identifier).where(findings.c.identifier.in_(of_agent), findings.c.is_grave)
    of_key = or_(incidents.c.key == findings.c.key, incidents.c.key == findings.c.own_key)
    itself = about_them.join(incidents, of_key).where(IS_UNRESOLVED)
    taken_in = (  # several keys may be one incident: where it is the agent's own, all of them are asked for
        select(incidents.c.id)
        .join(parties, parties.c.incident == incidents.c.id)
        .where(parties.c.agent == agent, IS_UNRESOLVED, incidents.c.key.startswith("port:"))
        .exists()
    )
    return itself.union(about_them.where(findings.c.key.startswith("port:"), taken_in))


_STALE = _stale_identifiers(bindparam("agent"))
"""Built once: it takes longer than to run it, and thousands of agents connect at once."""


def find_stale_identifiers(connection: Connection, agent: str) -> frozenset[str]:
    """The agent's identifiers in unresolved incidents: it should judge them again when it connects."""
    return frozenset(connection.execute(_STALE, {"agent": agent}).scalars())


def read_agent(row: Row[Any]) -> KnownAgent:
    """A row of `agents`."""
    return KnownAgent(
        name=row.name,
        token_role=TokenRole(row.token_role),
        last_seen=row.last_seen,
        inventory=_decode_inventory(row.inventory) if row.inventory is not None else None,
    )


def read_certificate(row: Row[Any]) -> KnownCertificate:
    """A row of `certificates`."""
    return KnownCertificate(node=row.agent, certificate=_decode_certificate(row.document))


def page_of(
    connection: Connection,
    query: Select[Any],
    limit: int,
    read: Callable[[Row[Any]], object],
    position: Callable[[Row[Any]], tuple[object, ...]],
) -> Page:
    """At most `limit` rows of the query, and the cursor of the rest."""
    rows = connection.execute(query.limit(limit + 1)).all()
    following = msgspec.json.encode(position(rows[limit - 1])).hex() if len(rows) > limit else None
    return Page([read(row) for row in rows[:limit]], following)


def cursor_of(cursor: str, *kinds: type) -> tuple[Any, ...]:
    """The position that a cursor stands for. Raises ValueError."""
    try:
        position: tuple[Any, ...] = msgspec.json.decode(bytes.fromhex(cursor), type=tuple[kinds])  # type: ignore[valid-type]
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not all(map(_is_of_a_row, position)):
        raise ValueError("the cursor is not from this list")
    return position


def _is_of_a_row(value: object) -> bool:
    """Whether a column may hold it."""
    if isinstance(value, datetime):
        return value.tzinfo is not None
    if isinstance(value, int):
        return 0 <= value < 2**63
    return not isinstance(value, str) or "\0" not in value
