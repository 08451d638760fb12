"""Many rows by one statement whose text is made once, in each database's own words: what every report passes.
Everything else is SQLAlchemy Core.

PostgreSQL takes the rows as one array for each column, so that the text stays the same and is prepared; SQLite takes
them as one JSON document, or one after the other.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, Connection, CursorResult, String, Table, TypeDecorator

Row = tuple[Any, ...]
Rows = Sequence[Row]

_encode = msgspec.json.Encoder().encode
_POSTGRESQL = "postgresql"


class Bulk(msgspec.Struct, frozen=True):
    """Rows of these columns of one table, each a tuple in that order; instants as `micros` answers them."""

    table: Table
    columns: tuple[str, ...]

    def insert(self, connection: Connection, rows: Rows) -> None:
        """None of them may be there."""
        if rows:
            text, parameters = self._insertion(connection, rows)
            connection.exec_driver_sql(text, parameters)

    def insert_new(self, connection: Connection, rows: Rows, key: tuple[str, ...]) -> set[Row]:
        """Insert those whose key, the first columns, is not there; answers their keys. Of rows of one key the first
        counts."""
        if not rows:
            return set()
        if connection.dialect.name == _POSTGRESQL:
            text, parameters = self._insertion(connection, rows)
            text = f"{text} ON CONFLICT DO NOTHING RETURNING {', '.join(key)}"
            return _rows_of(connection.exec_driver_sql(text, parameters))
        keys = Bulk(self.table, key)
        known = keys.find(connection, [row[: len(key)] for row in rows], key)
        wanted = {row[: len(key)]: row for row in reversed(rows)}
        new = [row for found, row in reversed(wanted.items()) if found not in known]
        self.insert(connection, new)
        return {row[: len(key)] for row in new}

    def find(self, connection: Connection, rows: Rows, wanted: tuple[str, ...], more: str = "") -> set[Row]:
        """Of what is there and equals one of the rows: those columns."""
        if not rows:
            return set()
        given = given_rows(connection.dialect.name, self._types())
        text = f"SELECT {', '.join(wanted)} FROM {self.table.name} WHERE {self._is_one_of(given)}{more}"
        return _rows_of(connection.exec_driver_sql(text, bound(connection.dialect.name, rows)))

    def take(self, connection: Connection, rows: Rows, wanted: tuple[str, ...]) -> list[Row]:
        """Delete what equals one of the rows; answers those columns of it."""
        if not rows:
            return []
        given = given_rows(connection.dialect.name, self._types())
        text = f"DELETE FROM {self.table.name} WHERE {self._is_one_of(given)} RETURNING {', '.join(wanted)}"
        found = connection.exec_driver_sql(text, bound(connection.dialect.name, rows))
        return [tuple(row) for row in found.all()]

    def put(self, connection: Connection, rows: Rows, key: tuple[str, ...], unless: str = "") -> set[Row]:
        """Insert the rows, or update those whose key is there, but for those of which `unless` is true; answers the
        keys of what was written. No two rows have one key."""
        if not rows:
            return set()
        given = given_rows(connection.dialect.name, self._types())
        changed = ", ".join(f"{name} = excluded.{name}" for name in self.columns if name not in key)
        text = (
            f"INSERT INTO {self.table.name} ({', '.join(self.columns)}) {given} ON CONFLICT ({', '.join(key)})"
            f" DO UPDATE SET {changed}{f' WHERE NOT ({unless})' if unless else ''} RETURNING {', '.join(key)}"
        )
        return _rows_of(connection.exec_driver_sql(text, bound(connection.dialect.name, rows)))

    def _insertion(self, connection: Connection, rows: Rows) -> tuple[str, Any]:
        head = f"INSERT INTO {self.table.name} ({', '.join(self.columns)})"
        if connection.dialect.name == _POSTGRESQL:
            return f"{head} {given_rows(_POSTGRESQL, self._types())}", bound(_POSTGRESQL, rows)
        return f"{head} VALUES ({', '.join('?' for _ in self.columns)})", list(rows)

    def _is_one_of(self, given: str) -> str:
        return f"({', '.join(self.columns)}) IN ({given})"

    def _types(self) -> tuple[str, ...]:
        return _types_of(self.table, self.columns)


def _rows_of(found: CursorResult[Any]) -> set[Row]:
    return set(map(tuple, found.all()))


@cache
def given_rows(dialect: str, types: tuple[str, ...]) -> str:
    """A SELECT of rows of those types, bound by `bound`."""
    if dialect == _POSTGRESQL:
        arrays = ", ".join(f"%b::{name}[]" for name in types)
        return f"SELECT * FROM unnest({arrays})"
    fields = ", ".join(f"value ->> {place}" for place in range(len(types)))
    return f"SELECT {fields} FROM json_each(?) WHERE true"


def bound(dialect: str, rows: Rows) -> Row:
    """The parameters of `given_rows`."""
    if dialect == _POSTGRESQL:
        return tuple(map(list, zip(*rows, strict=True)))
    return (_encode(rows).decode(),)


@cache
def _types_of(table: Table, columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_type_of(table.c[name]) for name in columns)


def _type_of(column: Column[Any]) -> str:
    kind = column.type.impl if isinstance(column.type, TypeDecorator) else column.type
    if isinstance(kind, String):
        return "text"
    return "boolean" if isinstance(kind, Boolean) else "bigint"
