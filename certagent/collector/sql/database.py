"""Opening the database and bringing it to the present schema. Knows no table's meaning.

Two engines on one database: the writer's, whose transactions take the write lock when they begin, and the readers'.
"""

import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text

REVISION = "0001"
"""The newest revision in `collector/migrations/versions`."""

_BUSY_SECONDS = 10
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")


def open_writer(url: str) -> Engine:
    """An engine with one connection that may write; the database exists and has the present schema afterwards."""
    _prepare_file(url)
    engine = _open(url, begin="BEGIN IMMEDIATE", pool_size=1)
    with engine.begin() as connection:
        if _revision_of(connection) != REVISION:
            _upgrade(connection)
    return engine


def open_readers(url: str) -> Engine:
    """An engine for reading, beside the writer's."""
    return _open(url, begin="BEGIN", pool_size=4)


def _open(url: str, *, begin: str, pool_size: int) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_size=pool_size)
    engine = create_engine(
        url, pool_size=pool_size, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False}
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
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
