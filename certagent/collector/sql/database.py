"""Opening the database, bringing it to the present schema, and sharing it with other collectors.

Two engines on one database: the writer's, whose transactions take the write lock when they begin, and the readers'.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from certagent.collector.records import AuditAction, StoreFailed
from certagent.collector.sql.audit_queries import append_entry, local_author
from certagent.collector.sql.damage import check_head, check_version, damage_named
from certagent.collector.sql.migration_backups import back_up_before_migration
from certagent.collector.sql.revisions import SchemaVersion, can_migrate, read_schema_version
from certagent.config.store_url import file_of, is_postgresql, server_options

REVISION = "0016"
"""The newest revision in `collector/migrations/versions`. The installer and the package read it in this file."""

PROBE = text("UPDATE alembic_version SET version_num = version_num")
"""A write that changes nothing: it fails wherever any other would."""

_BUSY_SECONDS = 10
_LONGEST_MESSAGE = 300
_STATEMENT_SECONDS = 60
_DEAD_SECONDS = 20  # without an answer to what was sent, or to all probes, a connection is over, on both sides
_SESSION = {
    "synchronous_commit": "on",
    "timezone": "UTC",
    "lock_timeout": f"{_BUSY_SECONDS}s",
    "statement_timeout": f"{_STATEMENT_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{_BUSY_SECONDS}s",  # who is frozen in a write stops nobody else's for long
    "tcp_user_timeout": f"{_DEAD_SECONDS}s",
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
}
CLIENT_OPTIONS: dict[str, Any] = {
    "connect_timeout": _BUSY_SECONDS,
    "tcp_user_timeout": _DEAD_SECONDS * 1000,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "options": " ".join(f"-c {name}={value}" for name, value in _SESSION.items()),
}
"""Of every connection to a PostgreSQL: it ends when either side is gone."""
_ALONE = "BEGIN; SELECT pg_advisory_xact_lock(7233179412046)"  # what BEGIN IMMEDIATE is there: one writer at a time
_BESIDE = "BEGIN; SELECT pg_advisory_xact_lock_shared(7233179412046)"
_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_AS_IT_IS = {"no_parameters": True}  # two statements, sent at once
_IS_BESIDE = "certagent_beside"
_LONG = (text("SET LOCAL statement_timeout = 0"), text("SET LOCAL idle_in_transaction_session_timeout = 0"))
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")


def open_writer(url: str) -> Engine:
    """An engine with one connection that may write; the database exists and has a schema that this program can use
    afterwards: the present one, or a newer one that tolerates it.

    Its transactions follow one another, also those of other processes and, on PostgreSQL, of other collectors.
    Raises `StoreFailed`, of which `StoreUnusable` is one.
    """
    with ExitStack() as opened:
        try:
            with damage_named(url):
                check_head(url)
                _prepare_file(url)
                engine = _open_writer(url)
                opened.callback(engine.dispose)
                with engine.begin() as connection:
                    version = read_schema_version(connection)
                    check_version(url, version, REVISION)
                    if can_migrate(version, REVISION) and version.revision != REVISION:
                        _migrate(url, connection, version.revision)
        except (DBAPIError, OSError) as error:
            raise StoreFailed(f"the database cannot be opened: {one_line(error)}") from error
        opened.pop_all()
    return engine


def beside(writer: Engine) -> Engine | None:
    """The writer's connection for transactions that follow those of the writer, but not one another; None where one
    process writes alone. Who uses it sees to it that they do not wait for each other in a circle."""
    return writer.execution_options(**{_IS_BESIDE: True}) if writer.dialect.name == "postgresql" else None


def open_readers(url: str) -> Engine:
    """An engine for reading, beside the writer's. What one transaction reads is of one moment."""
    if is_postgresql(url):
        return _begun_by(_open_postgresql(url, pool_size=4), lambda _connection: _SNAPSHOT)
    return _open_sqlite(url, "BEGIN", pool_size=4)


@contextmanager
def transaction_of(engine: Engine) -> Iterator[Connection]:
    """One transaction of a writer or of readers. Where the connection was lost while nobody used it, its beginning
    shows that, and it begins once more over another one."""
    with ExitStack() as begun:
        try:
            connection = begun.enter_context(engine.begin())
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            connection = begun.enter_context(engine.begin())
        yield connection


@contextmanager
def writing(url: str) -> Iterator[Connection]:
    """One transaction on the database at `url`, beside a collector that runs there. Raises `StoreFailed`."""
    engine = open_writer(url)
    try:
        with damage_named(url), engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise StoreFailed(one_line(error)) from error
    finally:
        engine.dispose()


def allow_long(connection: Connection) -> None:
    """Let this transaction take its time: a whole table is read or written, and whoever asked for it looks on."""
    if connection.dialect.name == "postgresql":
        for statement in _LONG:
            connection.execute(statement)


def one_line(error: Exception) -> str:
    """The driver's message as one line without SQLAlchemy's, and never the URL: it may hold a password. Bounded: it may
    quote a whole document."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause)[:_LONGEST_MESSAGE].split())


def open_session(url: str) -> Engine:
    """An engine of one connection to a PostgreSQL that commits each statement by itself. One that broke is replaced
    when it is used next."""
    return _open_postgresql(url, pool_size=1, pool_pre_ping=True)


def _open_writer(url: str) -> Engine:
    if is_postgresql(url):
        return _begun_by(_open_postgresql(url, pool_size=1), _turn_of)
    return _open_sqlite(url, "BEGIN IMMEDIATE", pool_size=1)


def _open_sqlite(url: str, begin: str, pool_size: int) -> Engine:
    engine = create_engine(
        url, pool_size=pool_size, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False}
    )
    event.listen(engine, "connect", _configure_sqlite)
    return _begun_by(engine, lambda _connection: begin)


def _open_postgresql(url: str, pool_size: int, **options: Any) -> Engine:
    """By psycopg, whatever driver the URL names, to the first of the URL's servers that will do."""
    reach = server_options(url) | CLIENT_OPTIONS | {"autocommit": True}
    return create_engine("postgresql+psycopg://", pool_size=pool_size, connect_args=reach, **options)


def _begun_by(engine: Engine, statement_of: Callable[[Connection], str]) -> Engine:
    """Transactions begin as that says, by one statement, and not as the driver guesses."""

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement_of(connection), execution_options=_AS_IT_IS)

    event.listen(engine, "begin", begin)
    return engine


def _turn_of(connection: Connection) -> str:
    return _BESIDE if connection.get_execution_options().get(_IS_BESIDE) else _ALONE


def _configure_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _prepare_file(url: str) -> None:
    """A new SQLite file belongs to its folder's owner and is nobody else's to read, whoever makes it."""
    path = file_of(url)
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    if os.geteuid() == 0:
        folder = path.parent.stat()
        os.fchown(descriptor, folder.st_uid, folder.st_gid)
    os.close(descriptor)


def read_version(url: str) -> SchemaVersion:
    """Which schema the database has; none if it is not there. Raises `StoreFailed`."""
    file = file_of(url)
    if file is not None and not file.is_file():
        return SchemaVersion()
    engine = open_readers(url)
    try:
        with damage_named(url), engine.begin() as connection:
            return read_schema_version(connection)
    except DBAPIError as error:
        raise StoreFailed(one_line(error)) from error
    finally:
        engine.dispose()


def _migrate(url: str, connection: Connection, revision: str | None) -> None:
    """To the present schema, after a backup; a database without any just gets it."""
    allow_long(connection)
    if revision is None:
        _upgrade(connection)
        return
    backup = back_up_before_migration(url, revision, REVISION)
    _upgrade(connection)
    detail = {"from": revision, "backup": str(backup) if backup is not None else None}
    append_entry(connection, datetime.now(UTC), local_author(), AuditAction.STORE_MIGRATED, REVISION, **detail)


def _upgrade(connection: Connection) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from alembic import command  # heavy, and needed once in a database's life
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations").replace("%", "%%"))
    command.upgrade(config, "head")
