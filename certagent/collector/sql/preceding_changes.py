"""What changed last before an incident opened: in the culprit's file, or recently on its node."""

from collections.abc import Set
from datetime import timedelta

import msgspec
from sqlalchemy import select

from certagent.collector.sql.schema import changes
from certagent.collector.sql.statements import Transaction
from certagent.domain.incidents import Incident, PrecedingChange
from certagent.domain.reports import FileChange

_OF_FILE_COUNTS_FOR = timedelta(days=7)
_OF_NODE_COUNTS_FOR = timedelta(hours=1)
_MOST_LINES = 20

_decode_change = msgspec.json.Decoder(FileChange).decode


class PrecedingChanges:
    """Answers it for the incidents of one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._changed: dict[str, Set[str]] = {}
        """Of each node that was asked about, the files that changed: a thousand incidents seldom have one."""

    def before(self, incident: Incident) -> PrecedingChange | None:
        """The last change before the incident, its lines cut to the first ones."""
        node, file, now = incident.culprit.node, incident.culprit.file, self._transaction.now
        if node is None or (file is not None and file not in self._changed_files(node)):
            return None
        query = select(changes).where(changes.c.agent == node, changes.c.at <= now)
        query = query.order_by(changes.c.at.desc(), changes.c.number.desc()).limit(1)
        if file is not None:
            query = query.where(changes.c.file == file, changes.c.at > now - _OF_FILE_COUNTS_FOR)
        else:
            query = query.where(changes.c.at > now - _OF_NODE_COUNTS_FOR)
        row = self._transaction.connection.execute(query).one_or_none()
        if row is None:
            return None
        change = _decode_change(row.document)
        removed, added = change.removed[:_MOST_LINES], change.added[:_MOST_LINES]
        return PrecedingChange(node=row.agent, file=row.file, at=row.at, removed=removed, added=added)

    def _changed_files(self, node: str) -> Set[str]:
        if node not in self._changed:
            since = self._transaction.now - _OF_FILE_COUNTS_FOR
            query = select(changes.c.file).where(changes.c.agent == node, changes.c.at > since).distinct()
            self._changed[node] = frozenset(self._transaction.connection.execute(query).scalars())
        return self._changed[node]
