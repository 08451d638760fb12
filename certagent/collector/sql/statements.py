"""A write transaction and the pieces of SQL that it is made of. Knows no table.

Nothing here depends on one database's dialect.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Dialect,
    Table,
    TypeDecorator,
    bindparam,
    delete,
    insert,
    tuple_,
    update,
)

from certagent.domain.incidents import Incident
from certagent.domain.policy import Alerting

MOST_PRUNED = 2_000
"""Rows that one transaction deletes; a longer one would delay those who report."""
_CHUNK = 4_000  # values in one IN list

Value = TypeVar("Value")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(at: datetime) -> int:
    """As an `Instant` is held."""
    return (at - _EPOCH) // _MICROSECOND


def instant(value: int) -> datetime:
    """What `micros` answered the number for."""
    return _EPOCH + value * _MICROSECOND


class Instant(TypeDecorator[datetime]):
    """An aware `datetime`, held as microseconds since the epoch."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """To microseconds."""
        return None if value is None else micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """From microseconds."""
        return None if value is None else instant(value)


class DirtySet(msgspec.Struct):
    """What a transaction changed, and so what has to be concluded again before it commits: incidents by key, everything
    about an identifier, or `all`.

    `agents`: whose inventory changed. `judge_again`: (identifier, the agent whose findings about it changed): the
    identifier's other agents should judge it again. `causes_gone`: (identifier, the agent, incident's key): so they
    should, if the incident was more than that agent's word.
    """

    keys: set[str] = msgspec.field(default_factory=set)
    identifiers: set[str] = msgspec.field(default_factory=set)
    agents: set[str] = msgspec.field(default_factory=set)
    judge_again: set[tuple[str, str]] = msgspec.field(default_factory=set)
    causes_gone: set[tuple[str, str, str]] = msgspec.field(default_factory=set)
    all: bool = False

    def concerns_incidents(self) -> bool:
        """Whether an incident may have changed."""
        return bool(self.keys or self.identifiers or self.all)


class Transaction(msgspec.Struct):
    """One write transaction. `now`: its instant; `alerting`: which channels are alerted of an incident.

    `incidents` and `alerts`: which incidents changed, and whether there are new messages about them. `work`: how much
    each agent gave the incidents to follow, in findings that came or went, and names of certificates that changed.
    """

    connection: Connection
    now: datetime
    alerting: Alerting
    dirty: DirtySet = msgspec.field(default_factory=DirtySet)
    incidents: list[Incident] = msgspec.field(default_factory=list)
    alerts: bool = False
    work: Counter[str] = msgspec.field(default_factory=Counter)


decode_incident = msgspec.json.Decoder(Incident).decode
encode = msgspec.json.Encoder().encode


def text_of(value: object) -> str:
    """The value as JSON text."""
    return encode(value).decode()


def chunks(values: Iterable[Value]) -> Iterator[list[Value]]:
    """The values in pieces that fit one statement."""
    listed = list(values)
    for start in range(0, len(listed), _CHUNK):
        yield listed[start : start + _CHUNK]


def batched(values: Iterable[Value], size: int) -> Iterator[tuple[Value, ...]]:
    """The values, so many at a time."""
    rest = iter(values)
    while piece := tuple(islice(rest, size)):
        yield piece


def upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows, or update those whose primary key is there. Every row has every column."""
    names = [column.name for column in table.primary_key]
    keys = [table.c[name] for name in names]
    wanted = {tuple(row[name] for name in names): row for row in rows}
    present: set[tuple[Any, ...]] = set()
    for piece in chunks(wanted):
        present.update(
            tuple(row)
            for row in connection.execute(
                table.select()
                .with_only_columns(*keys)
                .where(keys[0].in_([key[0] for key in piece]) if len(keys) == 1 else tuple_(*keys).in_(piece))
            )
        )
    fresh = [row for key, row in wanted.items() if key not in present]
    if fresh:
        connection.execute(insert(table), fresh)
    if present:
        statement = update(table).where(*(table.c[name] == bindparam(f"key_{name}") for name in names))
        changed = [name for name in table.c.keys() if name not in names]  # noqa: SIM118 - a collection, not a dict
        connection.execute(
            statement.values({name: bindparam(f"new_{name}") for name in changed}),
            [_renamed(wanted[key], names, changed) for key in present],
        )


def delete_by(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Delete what equals one of the rows in all of the row's columns."""
    if rows:
        conditions: list[ColumnElement[bool]] = [table.c[name] == bindparam(f"key_{name}") for name in rows[0]]
        connection.execute(
            delete(table).where(*conditions), [{f"key_{name}": value for name, value in row.items()} for row in rows]
        )


def _renamed(row: Mapping[str, Any], names: Sequence[str], changed: Sequence[str]) -> dict[str, Any]:
    return {f"key_{name}": row[name] for name in names} | {f"new_{name}": row[name] for name in changed}
