"""Backup and restore: one consistent copy of every table, from one database into another of either kind.

A backup is an SQLite file with the present schema, whatever the store is; so it is also the way from one to the other.
"""

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from sqlalchemy import Connection, Table, func, insert, select, text
from sqlalchemy.exc import DBAPIError

from certagent.collector.records import StoreFailed
from certagent.collector.sql.database import is_shared, open_readers, open_writer, writing
from certagent.collector.sql.schema import agents, metadata, reports, tokens

_AT_ONCE = 1_000  # rows


class NotEmpty(Exception):
    """There is something in the store that a restore would mix with."""


def back_up(url: str, file: Path) -> int:
    """Copy the store into `file`, which is replaced at once or not at all; the collector may go on. Answers the rows.

    Raises `StoreFailed`.
    """
    new = file.with_name(f".{file.name}.new")
    for leftover in (new, *_side_files(new)):
        leftover.unlink(missing_ok=True)
    open_writer(url).dispose()  # the present schema
    with writing(f"sqlite:///{new}") as connection:
        count = _copy_from(url, connection)
    _make_one_file(new)
    with new.open("rb") as finished:
        os.fsync(finished.fileno())
    new.replace(file)
    return count


def restore(file: Path, url: str) -> int:
    """Fill the empty store with what is in `file`, all or nothing. Answers the rows. Raises `NotEmpty`, `StoreFailed`.

    A backup of an older version is brought to the present schema first, in a copy.
    """
    with tempfile.TemporaryDirectory() as folder, writing(url) as connection:
        for table in (tokens, agents, reports):
            if connection.execute(select(table).limit(1)).first() is not None:
                raise NotEmpty(f"the store is not empty: it has {table.name}")
        copy = Path(folder) / "backup.db"
        shutil.copyfile(file, copy)
        source = f"sqlite:///{copy}"
        open_writer(source).dispose()
        count = _copy_from(source, connection)
        if is_shared(url):
            _advance_sequences(connection)
        return count


def _copy_from(url: str, target: Connection) -> int:
    """Everything there is, as it was at one moment."""
    readers = open_readers(url)
    try:
        with readers.begin() as source:
            return sum(_copy_table(source, target, table) for table in metadata.sorted_tables)
    except DBAPIError as error:
        raise StoreFailed(f"the database cannot be read: {error.orig}") from error
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


def _side_files(file: Path) -> list[Path]:
    return [file.with_name(file.name + end) for end in ("-wal", "-shm", "-journal")]
