"""What happened to a node or to one of its certificates: renewals, changes of files, incidents. Reads only."""

from datetime import datetime

import msgspec
from sqlalchemy import Connection, select

from certagent.collector.sql.schema import changes, parties, reports, transitions
from certagent.collector.sql.statements import decode_incident
from certagent.domain.incidents import Incident, TransitionKind
from certagent.domain.reports import FileChange, Report, RunKind

_MOST_READ = 400  # rows of one table that are searched

_decode_report = msgspec.json.Decoder(Report).decode
_decode_change = msgspec.json.Decoder(FileChange).decode


class PastChange(msgspec.Struct, frozen=True):
    """A change of a file on a node."""

    node: str
    at: datetime
    change: FileChange


class PastTransition(msgspec.Struct, frozen=True):
    """What became of an incident, and how it stood then."""

    kind: TransitionKind
    at: datetime
    by: str | None
    incident: Incident


class NodeHistory(msgspec.Struct, frozen=True, kw_only=True):
    """The latest of each kind, the latest first."""

    renewals: list[Report]
    changes: list[PastChange]
    transitions: list[PastTransition]


def find_history(connection: Connection, node: str, certificate: str | None, limit: int) -> NodeHistory:
    """Of the node, or of that certificate alone: then the changes are those that its incidents followed, wherever the
    file is, and the node's own."""
    passed = _transitions(connection, node, certificate)[:limit]
    return NodeHistory(
        renewals=_renewals(connection, node, certificate)[:limit],
        changes=_changes(connection, node, passed, limit),
        transitions=passed,
    )


def _renewals(connection: Connection, node: str, certificate: str | None) -> list[Report]:
    query = select(reports.c.document).where(reports.c.agent == node, reports.c.kind == RunKind.RENEWAL)
    rows = connection.execute(query.order_by(reports.c.number.desc()).limit(_MOST_READ)).scalars()
    found = map(_decode_report, rows)
    return [report for report in found if certificate is None or report.certificate == certificate]


def _transitions(connection: Connection, node: str, certificate: str | None) -> list[PastTransition]:
    query = select(transitions).join(parties, parties.c.incident == transitions.c.incident)
    query = query.where(parties.c.agent == node, transitions.c.kind != TransitionKind.REMINDED)
    found = []
    for row in connection.execute(query.order_by(transitions.c.number.desc()).limit(_MOST_READ)):
        incident = decode_incident(row.document)
        if certificate is None or (node, certificate) in {(one.node, one.certificate) for one in incident.victims}:
            found.append(PastTransition(TransitionKind(row.kind), row.at, row.by, incident))
    return found


def _changes(connection: Connection, node: str, passed: list[PastTransition], limit: int) -> list[PastChange]:
    """The node's own, and those elsewhere that preceded an incident."""
    query = select(changes).where(changes.c.agent == node).order_by(changes.c.at.desc(), changes.c.number.desc())
    rows = connection.execute(query.limit(limit))
    found = {(row.agent, row.file, row.at): _decode_change(row.document) for row in rows}
    for preceding in (transition.incident.change for transition in passed):
        if preceding is not None and preceding.node != node:
            change = FileChange(file=preceding.file, exists=True, removed=preceding.removed, added=preceding.added)
            found.setdefault((preceding.node, preceding.file, preceding.at), change)
    return [PastChange(agent, at, change) for (agent, _, at), change in found.items()]
