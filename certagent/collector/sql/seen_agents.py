"""Who reports: that an agent is alive, and how much it has had stored, by one statement for many agents."""

from collections.abc import Iterable
from datetime import datetime

from certagent.collector.sql.bulk import bound, given_rows
from certagent.collector.sql.statements import Transaction, instant, micros

_HEAD = "UPDATE agents SET last_seen = {now}, kept_until = CASE WHEN held.dues > 0 THEN "
_TAIL = "+ held.dues ELSE kept_until END FROM ({held}) AS held WHERE agents.name = held.name RETURNING {answer}"
_TYPES = ("text", "text", "bigint")
_GIVEN = f"SELECT name, dues FROM ({given_rows('postgresql', _TYPES)}) AS given (name, role, dues)"
_QUIET = (
    f"SELECT agents.name, given.dues FROM agents JOIN ({given_rows('postgresql', _TYPES)}) AS given (name, role, dues)"
    " ON agents.name = given.name AND agents.token_role = given.role WHERE NOT EXISTS"
    " (SELECT 1 FROM findings WHERE findings.agent = agents.name AND findings.is_grave)"
    " ORDER BY agents.name FOR NO KEY UPDATE OF agents"
)
_SQLITE = "SELECT value ->> 0 AS name, value ->> 2 AS dues FROM json_each(?)"


def _text(now: str, latest: str, held: str, answer: str) -> str:
    return _HEAD.format(now=now) + latest + _TAIL.format(held=held, answer=answer)


_AS_POSTGRESQL = "%b::bigint", "greatest(agents.kept_until, %b::bigint) "
_KNOWN = {
    "postgresql": _text(*_AS_POSTGRESQL, _GIVEN, "agents.name, agents.kept_until"),
    "sqlite": _text("?", "max(coalesce(kept_until, 0), ?) ", _SQLITE, "name, kept_until"),
}
_ONLY_QUIET = _text(*_AS_POSTGRESQL, _QUIET, "agents.name, agents.kept_until")

Kept = dict[str, datetime | None]
"""Agent -> when it may have as much stored at once as ever; None: now."""


def see(transaction: Transaction, agents: Iterable[tuple[str, str, int]], *, only_quiet: bool = False) -> Kept:
    """Of those (name, role, microseconds that are added): who is known is alive now. `only_quiet`: only who has that
    role and nothing grave, with its row locked, each after those before it by name. On PostgreSQL, that."""
    rows, dialect, now = list(agents), transaction.connection.dialect.name, micros(transaction.now)
    if not rows:
        return {}
    text = _ONLY_QUIET if only_quiet else _KNOWN[dialect]
    found = transaction.connection.exec_driver_sql(text, (now, now, *bound(dialect, rows)))
    return {name: instant(until) if until is not None and until > now else None for name, until in found.all()}
