"""Backup and restore: one consistent copy of every table, from one database into another of either kind.

A backup is an SQLite file with the present schema, whatever the store is; so it is also the way from one to the other.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection, Table, func, insert, select, text
from sqlalchemy.exc import DBAPIError

from certagent.collector.records import AuditAction, StoreFailed, StoreUnusable
from certagent.collector.sql.audit_queries import append_entry, local_author, put_entries, take_entries
from certagent.collector.sql.damage import damage_named
from certagent.collector.sql.database import (
    REVISION,
    allow_long,
    one_line,
    open_readers,
    open_writer,
    read_version,
    writing,
)
from certagent.collector.sql.passing_tables import PASSING
from certagent.collector.sql.schema import agents, metadata, reports, tokens
from certagent.config.store_url import file_of, is_postgresql

_AT_ONCE = 1_000  # rows


class NotEmpty(Exception):
    """There is something in the store that a restore would mix with."""


def back_up(url: str, target: BinaryIO, name: Path) -> int:
    """Copy the store into the open file, which is told as `name`; the collector may go on. Answers the rows.

    Raises `StoreFailed`.
    """
    with writing(url) as live:  # which brings it to the present schema
        append_entry(live, datetime.now(UTC), local_author(), AuditAction.STORE_BACKED_UP, str(name))
    with _workspace(url) as folder:
        copy = folder / "backup.db"
        with writing(f"sqlite:///{copy}") as connection:
            count = _copy_from(url, connection)
        _make_one_file(copy)
        with copy.open("rb") as finished:
            shutil.copyfileobj(finished, target)
    return count


def restore(source: BinaryIO, name: Path, url: str) -> int:
    """Fill the empty store with what is in the open file, which is told as `name`, all or nothing. Answers the rows.

    A backup of an older version is brought to the present schema first, in a copy. Raises `NotEmpty`, `StoreFailed`.
    """
    with _workspace(url) as folder, writing(url) as connection:
        allow_long(connection)
        for table in (tokens, agents, reports):
            if connection.execute(select(table).limit(1)).first() is not None:
                raise NotEmpty(f"the store is not empty: it has {table.name}")
        copy = folder / "backup.db"
        with copy.open("wb") as target:
            shutil.copyfileobj(source, target)
        with _named(name):
            open_writer(f"sqlite:///{copy}").dispose()
            _refuse_newer(f"sqlite:///{copy}")
            happened_here = take_entries(connection)
            count = _copy_from(f"sqlite:///{copy}", connection)
        if is_postgresql(url):
            _advance_sequences(connection)
        put_entries(connection, happened_here)
        append_entry(connection, datetime.now(UTC), local_author(), AuditAction.STORE_RESTORED, str(name), rows=count)
        return count


@contextmanager
def _workspace(url: str) -> Iterator[Path]:
    """A folder for a copy of the store: beside it, where there is room for that."""
    file = file_of(url)
    with tempfile.TemporaryDirectory(dir=file.parent if file is not None else None) as name:
        yield Path(name)


def _refuse_newer(url: str) -> None:
    """This program may work on a newer schema, but would leave out here what it does not know of it."""
    revision = read_version(url).revision
    if revision != REVISION:
        reason = f"has the schema {revision!r} of a newer certagent; this version supports schemas up to {REVISION}"
        raise StoreUnusable("", reason, "")


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """What is wrong with the copy is wrong with the file."""
    try:
        yield
    except StoreUnusable as error:
        raise StoreUnusable(str(file), error.reason, "restore another backup") from error


def _copy_from(url: str, target: Connection) -> int:
    """Everything there is, as it was at one moment."""
    readers = open_readers(url)
    try:
        with damage_named(url), readers.begin() as source:
            allow_long(source)
            return sum(_copy_table(source, target, table) for table in metadata.sorted_tables if table not in PASSING)
    except DBAPIError as error:
        raise StoreFailed(f"the database cannot be read: {one_line(error)}") from error
    finally:
        readers.dispose()


def _copy_table(source: Connection, target: Connection, table: Table) -> int:
    count = 0
    rows = source.execution_options(yield_per=_AT_ONCE).execute(select(table))
    for piece in rows.mappings().partitions():
        target.execute(insert(table), [dict(row) for row in piece])
        count += len(piece)
    return count


def _advance_sequences(connection: Connection) -> None:
    """PostgreSQL numbers rows from sequences: they have to continue after the numbers that were copied."""
    for table in metadata.sorted_tables:
        if "number" in table.c:
            last = connection.execute(select(func.max(table.c.number))).scalar()
            if last is not None:
                name = f"pg_get_serial_sequence('{table.name}', 'number')"
                connection.execute(text(f"SELECT setval({name}, :last)"), {"last": last})


def _make_one_file(file: Path) -> None:
    """Without a write-ahead log beside it."""
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
