"""Opening the database, bringing it to the present schema, and sharing it with other collectors. Knows no table.

Two engines on one database: the writer's, whose transactions take the write lock when they begin, and the readers'.
"""

import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DBAPIError

from certagent.collector.records import StoreFailed

REVISION = "0003"
"""The newest revision in `collector/migrations/versions`."""

PROBE = text("UPDATE alembic_version SET version_num = version_num")
"""A write that changes nothing: it fails wherever any other would."""

_BUSY_SECONDS = 10
_POSTGRESQL_OPTIONS = f"-c synchronous_commit=on -c lock_timeout={_BUSY_SECONDS}s -c timezone=UTC"
_WRITE_LOCK = "SELECT pg_advisory_xact_lock(7233179412046)"  # what BEGIN IMMEDIATE is there: one writer at a time
_TRY_LOCK = text("SELECT pg_try_advisory_lock(:number)")
_IS_ALIVE = text("SELECT 1")
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")


def open_writer(url: str) -> Engine:
    """An engine with one connection that may write; the database exists and has the present schema afterwards.

    Its transactions follow one another, also those of other processes and, on PostgreSQL, of other collectors.
    Raises `StoreFailed`.
    """
    try:
        _prepare_file(url)
        engine = _open(url, begin="BEGIN IMMEDIATE", lock=_WRITE_LOCK, pool_size=1)
        with engine.begin() as connection:
            if _revision_of(connection) != REVISION:
                _upgrade(connection)
    except (DBAPIError, OSError) as error:
        raise StoreFailed(f"the database cannot be opened: {one_line(error)}") from error
    return engine


def open_readers(url: str) -> Engine:
    """An engine for reading, beside the writer's. What one transaction reads is of one moment."""
    engine = _open(url, begin="BEGIN", pool_size=4)
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine


@contextmanager
def writing(url: str) -> Iterator[Connection]:
    """One transaction on the database at `url`, beside a collector that runs there. Raises `StoreFailed`."""
    engine = open_writer(url)
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise StoreFailed(one_line(error)) from error
    finally:
        engine.dispose()


def is_shared(url: str) -> bool:
    """Whether other collectors may work on that database, too."""
    return make_url(url).get_backend_name() == "postgresql"


def one_line(error: Exception) -> str:
    """The driver's message as one line without SQLAlchemy's, and never the URL: it may hold a password."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split())


class Leases:
    """What only one of several collectors may do, and this one does: a lock in the database that ends with its holder.

    SQLite has one collector; on PostgreSQL it is an advisory lock of a session that stays open. Blocking.
    """

    def __init__(self, url: str) -> None:
        self._engine = _open_session(url) if is_shared(url) else None
        self._connection: Connection | None = None
        self._held: set[str] = set()
        self._lock = Lock()

    def hold(self, name: str) -> bool:
        """Whether the lease of that name is ours now. A broken connection has lost them all."""
        if self._engine is None:
            return True
        with self._lock:
            try:
                return self._acquire(self._session(self._engine), name)
            except DBAPIError:
                self._lose()
                return False

    def close(self) -> None:
        """Give all of them up."""
        with self._lock:
            self._lose()
        if self._engine is not None:
            self._engine.dispose()

    def _acquire(self, session: Connection, name: str) -> bool:
        if name in self._held:
            session.execute(_IS_ALIVE)
            return True
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        if session.execute(_TRY_LOCK, {"number": number}).scalar():
            self._held.add(name)
        return name in self._held

    def _session(self, engine: Engine) -> Connection:
        if self._connection is None:
            self._connection = engine.connect()
        return self._connection

    def _lose(self) -> None:
        self._held.clear()
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def _open_session(url: str) -> Engine:
    """An engine of one connection that commits by itself and stays open: its locks end with this process."""
    engine = _open(url, begin="BEGIN", pool_size=1)
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _open(url: str, *, begin: str, pool_size: int, lock: str | None = None) -> Engine:
    if is_shared(url):
        return _open_postgresql(url, pool_size, lock)
    engine = create_engine(
        url, pool_size=pool_size, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False}
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", partial(Connection.exec_driver_sql, statement=begin))
    return engine


def _open_postgresql(url: str, pool_size: int, lock: str | None) -> Engine:
    """By psycopg, whatever driver the URL names. A connection that broke is replaced when it is used next."""
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        pool_pre_ping=True,
        connect_args={"connect_timeout": _BUSY_SECONDS, "options": _POSTGRESQL_OPTIONS},
    )
    if lock is not None:
        event.listen(engine, "begin", partial(Connection.exec_driver_sql, statement=lock))
    return engine


def _configure_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin as the engine says, not as the driver guesses
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _prepare_file(url: str) -> None:
    """A new SQLite file belongs to its folder's owner and is nobody else's to read, whoever makes it."""
    database = make_url(url).database
    if make_url(url).get_backend_name() != "sqlite" or database is None:
        return
    path = Path(database)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    if os.geteuid() == 0:
        folder = path.parent.stat()
        os.fchown(descriptor, folder.st_uid, folder.st_gid)
    os.close(descriptor)


def _revision_of(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _upgrade(connection: Connection) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from alembic import command  # heavy, and needed once in a database's life
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations").replace("%", "%%"))
    command.upgrade(config, "head")
