"""What a look at the whole fleet reads: what can matter, found by index, and no more. See `domain.fleet_snapshot`.

The statements are made once: each is run every few seconds for as long as the collector lives.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, select, union_all

from certagent.collector.sql import fleet_queries
from certagent.collector.sql.claim_queries import find_disputes, find_owners
from certagent.collector.sql.deliveries import list_failing
from certagent.collector.sql.schema import (
    HAS_DISAGREED,
    HAS_FAILED,
    agents,
    certificates,
    findings,
    identifiers,
    rehearsals,
    tokens,
)
from certagent.collector.sql.statements import Instant, chunks
from certagent.domain.findings import Finding
from certagent.domain.fleet_snapshot import (
    LONGEST_CLASS,
    SILENT,
    FleetCertificate,
    FleetSnapshot,
    LastSeen,
    Totals,
    expiring_before,
    heard_since,
    most_agents,
    suspect_before,
    want,
    zone_behind,
)
from certagent.domain.path_trace import addresses_met
from certagent.domain.policy import CollectorPolicy
from certagent.domain.sightings import COLLECTOR, KnownRehearsal, Sighting

_MOST_PASSED = 200  # rehearsals
_PAGE = 2_000

_decode_finding = msgspec.json.Decoder(Finding).decode

_LATE = select(agents.c.name, agents.c.last_seen).where(agents.c.last_seen < bindparam("before", type_=Instant()))
_TOKENS = select(tokens.c.name, tokens.c.revoked_at).where(tokens.c.name.in_(bindparam("names", expanding=True)))
_NEXT_AGENTS = (
    select(agents.c.name).where(agents.c.name > bindparam("after")).order_by(agents.c.name).limit(bindparam("page"))
)
_IS_ON_DISK = certificates.c.issued_at.is_not(None) & certificates.c.expires_at.is_not(None)
_NEXT_NODES = (
    select(certificates.c.agent)
    .where(certificates.c.agent > bindparam("after"), _IS_ON_DISK)
    .order_by(certificates.c.agent)
    .limit(bindparam("page"))
)
_OF_COLLECTOR = select(findings.c.document).where(findings.c.agent == COLLECTOR, findings.c.key.endswith(f":{SILENT}"))
_OF_AGENTS = select(findings).where(findings.c.agent != COLLECTOR)
_NAMES_OWN_FILE = findings.c.key.startswith("file:") & findings.c.own_key.is_(None)
_TELLING = (_OF_AGENTS.where(findings.c.is_grave, ~_NAMES_OWN_FILE), _OF_AGENTS.where(HAS_DISAGREED))
_FAILED = select(rehearsals).where(HAS_FAILED)
_PASSED = select(rehearsals).where(~HAS_FAILED).order_by(rehearsals.c.at.desc()).limit(_MOST_PASSED)
_ON_NODE = select(agents.c.name).where(agents.c.role == "collector").order_by(agents.c.name).limit(1)
_CERTIFICATES = select(
    certificates.c.agent, certificates.c.name, certificates.c.issued_at, certificates.c.expires_at
).where(certificates.c.agent.in_(bindparam("names", expanding=True)), _IS_ON_DISK)
_IDENTIFIERS = select(identifiers.c.agent, identifiers.c.certificate, identifiers.c.identifier).where(
    identifiers.c.agent.in_(bindparam("names", expanding=True))
)
_OF_ZONE = (
    select(identifiers.c.identifier, identifiers.c.agent)
    .join(
        certificates,
        (certificates.c.agent == identifiers.c.agent) & (certificates.c.name == identifiers.c.certificate),
    )
    .where(identifiers.c.identifier.endswith(bindparam("suffix")), _IS_ON_DISK)
)


def _soon_over(number: int) -> Any:
    """Whose certificates of that class are about to expire."""
    whose = select(certificates.c.agent).where(certificates.c.life == number)
    if number > LONGEST_CLASS:
        return whose
    return whose.where(certificates.c.expires_at < bindparam(f"before_{number}", type_=Instant()))


_SOON_OVER = union_all(
    *map(_soon_over, range(LONGEST_CLASS + 2)),
    select(certificates.c.agent).where(certificates.c.life.is_(None), certificates.c.expires_at.is_not(None)),
)


def read_snapshot(
    connection: Connection, since: datetime, channels: Collection[str], policy: CollectorPolicy, now: datetime
) -> FleetSnapshot:
    """What can matter of the whole fleet. A collector that runs only `since` then counts no silence before that."""
    last_seen = heard_since(_find_late(connection, policy, now), since, _silences(connection))
    known = _rehearsals(connection)
    failing = tuple(list_failing(connection, channels))
    snapshot = FleetSnapshot(
        last_seen=last_seen,
        sightings=tuple(_sightings(connection)),
        rehearsals=tuple(known),
        channels=failing,
        collector=connection.execute(_ON_NODE).scalar() if failing else None,
        owners=find_owners(connection, {address for one in known for address in addresses_met(one.rehearsal)}),
        disputes=find_disputes(connection),
        totals=Totals(agents=_count(connection, _NEXT_AGENTS, most_agents(last_seen, policy, now))),
    )
    return _with_certificates(connection, snapshot, policy, now)


def find_retired(connection: Connection, names: Iterable[str]) -> dict[str, datetime]:
    """Those of the names that had a token, and have none that is valid; when the last one was revoked."""
    revoked: dict[str, datetime] = {}
    valid: set[str] = set()
    for piece in chunks(names):
        for name, at in connection.execute(_TOKENS, {"names": piece}):
            if at is None:
                valid.add(name)
            else:
                revoked[name] = max(at, revoked.get(name, at))
    return {name: at for name, at in revoked.items() if name not in valid}


def find_stale(connection: Connection, before: datetime) -> list[str]:
    """The agents that were heard last before that time."""
    return [row.name for row in connection.execute(_LATE, {"before": before})]


def _find_late(connection: Connection, policy: CollectorPolicy, now: datetime) -> list[LastSeen]:
    """The agents that are silent, or about to be."""
    late = [LastSeen(*row) for row in connection.execute(_LATE, {"before": suspect_before(policy, now)})]
    retired = find_retired(connection, (one.node for one in late))
    return [one for one in late if one.node not in retired]


def _silences(connection: Connection) -> Iterator[Finding]:
    return map(_decode_finding, connection.execute(_OF_COLLECTOR).scalars())


def _sightings(connection: Connection) -> list[Sighting]:
    rows = {row.number: row for query in _TELLING for row in connection.execute(query)}
    return [fleet_queries.sighting_of(rows[number]) for number in sorted(rows)]


def _rehearsals(connection: Connection) -> list[KnownRehearsal]:
    """Those that failed; and if there are any, enough of the others to tell which nodes the CA does reach."""
    rows = list(connection.execute(_FAILED))
    if rows:
        rows += connection.execute(_PASSED)
    return [fleet_queries.rehearsal_of(row) for row in rows]


def _with_certificates(
    connection: Connection, snapshot: FleetSnapshot, policy: CollectorPolicy, now: datetime
) -> FleetSnapshot:
    wanted = want(snapshot, policy, now)
    fraction = policy.expiring_below
    bounds = {f"before_{n}": expiring_before(n, fraction, now) for n in range(LONGEST_CLASS + 1)}
    nodes = wanted.nodes | set(connection.execute(_SOON_OVER, bounds).scalars())
    totals = msgspec.structs.replace(
        snapshot.totals or Totals(),
        nodes=_count(connection, _NEXT_NODES, wanted.most_nodes),
        names={zone: _count_names(connection, zone, most) for zone, most in wanted.most_names.items()},
    )
    found = tuple(_certificates(connection, nodes - find_retired(connection, nodes).keys()))
    return msgspec.structs.replace(snapshot, certificates=found, totals=totals)


def _certificates(connection: Connection, nodes: Iterable[str]) -> Iterator[FleetCertificate]:
    for piece in chunks(nodes):
        names: dict[tuple[str, str], list[str]] = {}
        for row in connection.execute(_IDENTIFIERS, {"names": piece}):
            names.setdefault((row.agent, row.certificate), []).append(row.identifier)
        for one in connection.execute(_CERTIFICATES, {"names": piece}):
            yield FleetCertificate(
                node=one.agent,
                name=one.name,
                identifiers=tuple(names.get((one.agent, one.name), ())),
                not_before=one.issued_at,
                not_after=one.expires_at,
            )


def _count(connection: Connection, query: Any, most: int) -> int:
    """How many different agents there are that are not retired, at most so many: page after page of them by name."""
    found, after = 0, ""
    while found < most:
        asked: Mapping[str, object] = {"after": after, "page": min(_PAGE, 2 * (most - found))}
        names = list(dict.fromkeys(connection.execute(query, asked).scalars()))
        found += len(names) - len(find_retired(connection, names))
        if not names:
            break
        after = names[-1]
    return min(found, most)


def _count_names(connection: Connection, zone: str, most: int) -> int:
    """How many identifiers of that zone are on disk, at most so many. Asked only while names of it vanish."""
    nodes: dict[str, set[str]] = {}
    for row in connection.execute(_OF_ZONE, {"suffix": f".{zone}" if zone else ""}):
        if zone_behind(row.identifier) == zone:
            nodes.setdefault(row.identifier, set()).add(row.agent)
    retired = find_retired(connection, {agent for agents_of in nodes.values() for agent in agents_of}).keys()
    return min(sum(bool(agents_of - retired) for agents_of in nodes.values()), most)
