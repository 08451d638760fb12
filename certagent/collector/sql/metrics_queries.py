"""What the metrics and the survival clock are made of. Reads only."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, select

from certagent.collector.sql.schema import agents, certificates, incidents, outbox
from certagent.collector.sql.statements import decode_incident
from certagent.collector.store import Counts
from certagent.domain.incidents import IncidentState
from certagent.domain.survival import CertificateLife

_LOST = outbox.c.given_up & (outbox.c.attempts > 0)


def certificate_lives(connection: Connection) -> Sequence[CertificateLife]:
    """See `Store.lives`."""
    query = select(certificates.c.agent, certificates.c.name, certificates.c.expires_at)
    rows = connection.execute(query.where(certificates.c.expires_at.is_not(None)))
    return [CertificateLife(expires_at=row.expires_at, node=row.agent, certificate=row.name) for row in rows]


def counts(connection: Connection) -> Counts:
    """See `Store.counts`."""
    standing = connection.execute(select(incidents.c.document).where(incidents.c.state != IncidentState.RESOLVED))
    known = (decode_incident(document) for document in standing.scalars())
    waiting = outbox.c.sent_at.is_(None) & outbox.c.given_up.is_(False)
    by_channel = select(outbox.c.channel, func.count()).group_by(outbox.c.channel)
    return Counts(
        incidents=Counter((incident.code, str(incident.state)) for incident in known),
        waiting=_pairs(connection, by_channel.where(waiting)),
        given_up=_pairs(connection, by_channel.where(_LOST)),
        last_seen=_pairs(connection, select(agents.c.name, agents.c.last_seen)),
    )


def _pairs(connection: Connection, query: Select[Any]) -> dict[str, Any]:
    return {row[0]: row[1] for row in connection.execute(query)}
