"""The change that preceded an incident: the last one of the culprit's file, or else on its node. Reads only."""

from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, select

from certagent.collector.sql.schema import changes
from certagent.domain.incidents import Incident, PrecedingChange
from certagent.domain.reports import FileChange

_OF_THE_FILE = timedelta(days=7)
_OF_THE_NODE = timedelta(hours=1)
_MOST_LINES = 20

_decode = msgspec.json.Decoder(FileChange).decode


def preceding_change(connection: Connection, incident: Incident, now: datetime) -> PrecedingChange | None:
    """The latest one before `now`; one of another file counts only if it is fresh."""
    culprit = incident.culprit
    if culprit.node is None:
        return None
    query = select(changes).where(changes.c.agent == culprit.node, changes.c.at <= now)
    query = query.order_by(changes.c.at.desc(), changes.c.number.desc()).limit(1)
    if culprit.file is not None:
        query = query.where(changes.c.file == culprit.file, changes.c.at > now - _OF_THE_FILE)
    else:
        query = query.where(changes.c.at > now - _OF_THE_NODE)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    change = _decode(row.document)
    removed, added = change.removed[:_MOST_LINES], change.added[:_MOST_LINES]
    return PrecedingChange(node=row.agent, file=row.file, at=row.at, removed=removed, added=added)
