"""Which processes speak under which agent's name: see `domain.speakers`."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select

from certagent.collector.sql.schema import IS_CLONE, speakers
from certagent.collector.sql.statements import Instant, Transaction, chunks
from certagent.domain.speakers import HEARD_WITHIN, Clone, Speaker, Standing, Voice, clones_of, hear

_Known = dict[str, tuple[Speaker, ...]]
_LONGEST_AWAY = timedelta(days=1)  # of a collector that has just started

_BOUND = bindparam("bound", type_=Instant())
_CLONES = select(speakers.c.agent).where(IS_CLONE, speakers.c.heard_at >= _BOUND)
_CONTESTED = (_CLONES, select(speakers.c.agent).where(speakers.c.since >= _BOUND, speakers.c.heard_at >= _BOUND))


def hear_voice(
    transaction: Transaction, agent: str, voice: Voice, *, alive: str | None, heard_at: datetime
) -> tuple[Speaker, ...]:
    """Note that the voice has spoken under that name; answers all processes of the name. Arguments as of `hear`."""
    known = _find(transaction.connection, (agent,)).get(agent, ())
    after = hear(known, voice, transaction.now, alive=alive, heard_at=heard_at)
    if set(after) != set(known):
        transaction.connection.execute(delete(speakers).where(speakers.c.agent == agent))
        transaction.connection.execute(insert(speakers), [_row_of(agent, one) for one in after])
    return after


def find_speakers(connection: Connection) -> dict[str, Speaker]:
    """Of each name the process that counts."""
    rows = connection.execute(select(speakers).where(speakers.c.standing == Standing.SPEAKER))
    return {row.agent: _speaker_of(row) for row in rows}


def find_contested(connection: Connection, heard_since: datetime) -> _Known:
    """All processes of the names under which several have spoken since, or one that took another's place."""
    several = {name for query in _CONTESTED for name in connection.execute(query, {"bound": heard_since}).scalars()}
    found = _find(connection, several)
    return {agent: known for agent, known in found.items() if len(known) > 1}


def find_clones(connection: Connection, since: datetime, now: datetime) -> tuple[Clone, ...]:
    """Those who speak beside their agent now; a collector that runs only `since` missed nobody before that."""
    bound = now - (HEARD_WITHIN if now - since >= HEARD_WITHIN else _LONGEST_AWAY)
    found = _find(connection, set(connection.execute(_CLONES, {"bound": bound}).scalars()))
    return tuple(clone for agent in sorted(found) for clone in clones_of(agent, found[agent], since, now))


def _find(connection: Connection, agents: Collection[str]) -> _Known:
    found: dict[str, list[Speaker]] = {}
    for piece in chunks(agents):
        for row in connection.execute(select(speakers).where(speakers.c.agent.in_(piece))):
            found.setdefault(row.agent, []).append(_speaker_of(row))
    return {agent: tuple(known) for agent, known in found.items()}


def _speaker_of(row: Row[Any]) -> Speaker:
    return Speaker(
        instance=row.instance,
        address=row.address,
        standing=Standing(row.standing),
        since=row.since,
        heard_at=row.heard_at,
    )


def _row_of(agent: str, speaker: Speaker) -> dict[str, Any]:
    return {
        "agent": agent,
        "instance": speaker.instance,
        "address": speaker.address[:64],
        "standing": speaker.standing,
        "since": speaker.since,
        "heard_at": speaker.heard_at,
    }
