"""The collectors on one database: which of them live, and which agents are connected to each. Only where there may be
several; what one asks an agent that is connected to another is in `relayed_questions`."""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, and_, delete, func, select, text

from certagent.collector.records import Changes, Notice, Peer
from certagent.collector.sql.passing_tables import collectors, limits, links, relays
from certagent.collector.sql.schema import incidents
from certagent.collector.sql.statements import Transaction, batched, chunks, decode_incident, text_of, upsert
from certagent.domain.incidents import Incident

ALIVE_FOR = timedelta(seconds=15)
"""A collector that has not been heard of for so long is gone, and so are its links."""
CHANNEL = "certagent"
_FORGET_AFTER = timedelta(minutes=10)
_KEPT_FOR = timedelta(minutes=2)  # questions
_IDS_IN_A_NOTICE, _PAIRS_IN_A_NOTICE = 50, 15  # of 8,000 bytes, with names of 128 and 256
_MOST_NOTICES = 200
_NOTIFY = text(f"SELECT pg_notify('{CHANNEL}', :payload)")


def note_presence(transaction: Transaction, peer: Peer) -> None:
    """That collector lives. What is long over is deleted."""
    now, connection = transaction.now, transaction.connection
    upsert(connection, collectors, [msgspec.structs.asdict(peer) | {"seen_at": now}])
    gone = select(collectors.c.id).where(collectors.c.seen_at < now - _FORGET_AFTER)
    connection.execute(delete(links).where(links.c.collector.in_(gone)))
    connection.execute(delete(collectors).where(collectors.c.seen_at < now - _FORGET_AFTER))
    connection.execute(delete(relays).where(relays.c.at < now - _KEPT_FOR))
    connection.execute(delete(limits).where(limits.c.until < now))


def note_links(transaction: Transaction, collector: str, opened: Mapping[str, str], closed: Collection[str]) -> None:
    """Which agents have connected, with their roles, and which are no longer connected to that collector."""
    for piece in chunks(closed):
        of_agents = delete(links).where(links.c.collector == collector, links.c.agent.in_(piece))
        transaction.connection.execute(of_agents)
    rows = [{"agent": a, "collector": collector, "role": r, "since": transaction.now} for a, r in opened.items()]
    upsert(transaction.connection, links, rows)
    if opened or closed:
        _notify(transaction, f"links {collector}")


def forget_collector(transaction: Transaction, collector: str) -> None:
    """It ends, and nobody is connected to it."""
    transaction.connection.execute(delete(links).where(links.c.collector == collector))
    transaction.connection.execute(delete(collectors).where(collectors.c.id == collector))
    _notify(transaction, f"links {collector}")


def notify_changes(transaction: Transaction, collector: str, changes: Changes) -> None:
    """What that collector changed, for the others: ids alone, in as many notices as they need. Very many are one notice
    without any: whoever gets it looks at everything."""
    if transaction.connection.dialect.name != "postgresql":
        return
    notices = list(_pack(changes))
    for piece in notices if len(notices) <= _MOST_NOTICES else [Notice()]:
        _notify(transaction, f"changed {collector} {text_of(piece)}")


def _pack(changes: Changes) -> Iterator[Notice]:
    identities = [incident.id for incident in changes.incidents]
    for ids in batched(identities, _IDS_IN_A_NOTICE):
        yield Notice(incidents=ids)
    for names in batched(sorted(changes.agents), _IDS_IN_A_NOTICE):
        yield Notice(agents=names)
    pairs = ((agent, name) for agent, names in sorted(changes.judge_again.items()) for name in sorted(names))
    for piece in batched(pairs, _PAIRS_IN_A_NOTICE):
        yield Notice(judge_again=piece)
    if changes.alerts:
        yield Notice(alerts=True)


def find_incidents(connection: Connection, identities: Collection[str]) -> tuple[Incident, ...]:
    """Those incidents as they are now."""
    query = select(incidents.c.document).where(incidents.c.id.in_(identities))
    return tuple(decode_incident(document) for document in connection.execute(query).scalars())


def list_peers(connection: Connection, now: datetime) -> list[Peer]:
    """The collectors that live, by name."""
    query = (
        select(collectors).where(collectors.c.seen_at > now - ALIVE_FOR).order_by(collectors.c.name, collectors.c.id)
    )
    return [_peer_of(row) for row in connection.execute(query)]


def list_links(connection: Connection, now: datetime, collector: str) -> frozenset[str]:
    """The agents that are connected to living collectors other than that one."""
    return _agents_of(connection, _living_links(now, collector))


def count_links(connection: Connection, now: datetime) -> dict[str, int]:
    """How many agents are connected to each collector that lives."""
    of_each = links.c.collector == collectors.c.id
    query = (
        select(collectors.c.id, func.count(links.c.agent).label("agents"))
        .join(links, of_each, isouter=True)
        .where(collectors.c.seen_at > now - ALIVE_FOR)
        .group_by(collectors.c.id)
    )
    return {row.id: row.agents for row in connection.execute(query)}


def list_own_links(connection: Connection, collector: str) -> frozenset[str]:
    """The agents that are said to be connected to that collector."""
    return _agents_of(connection, select(links).where(links.c.collector == collector))


def find_authority(connection: Connection, now: datetime, collector: str) -> tuple[str, str] | None:
    """The agent beside the CA, and the living collector other than that one that it is connected to."""
    query = _living_links(now, collector).where(links.c.role == "authority").order_by(links.c.since.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return (row.agent, row.collector) if row is not None else None


def withdraw_questions(transaction: Transaction, questions: Collection[str]) -> None:
    """Nobody waits for their answers any more."""
    for row in transaction.connection.execute(select(relays).where(relays.c.id.in_(questions))).all():
        transaction.connection.execute(delete(relays).where(relays.c.id == row.id))
        _notify(transaction, f"withdraw {row.collector} {row.id}")


def _living_links(now: datetime, collector: str) -> Select[Any]:
    alive = and_(collectors.c.id == links.c.collector, collectors.c.seen_at > now - ALIVE_FOR)
    return select(links.c.agent, links.c.collector).join(collectors, alive).where(links.c.collector != collector)


def _agents_of(connection: Connection, of_links: Select[Any]) -> frozenset[str]:
    """In one row: to fetch a row for each of 50,000 takes eight times as long."""
    found = connection.execute(of_links.with_only_columns(func.array_agg(links.c.agent))).scalar()
    return frozenset(found or ())


def _peer_of(row: Row[Any]) -> Peer:
    return Peer(id=row.id, name=row.name, version=row.version, started_at=row.started_at, policy=row.policy)


def _notify(transaction: Transaction, payload: str) -> None:
    """When the transaction commits. A hint: whoever misses it looks by itself soon."""
    if transaction.connection.dialect.name == "postgresql":
        transaction.connection.execute(_NOTIFY, {"payload": payload})
