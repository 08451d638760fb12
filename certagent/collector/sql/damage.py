"""Whether a database can be used at all: it may be damaged, or be a newer certagent's. Changes nothing."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import msgspec
from sqlalchemy.exc import DBAPIError

from certagent.collector.records import StoreUnusable
from certagent.collector.sql.revisions import SchemaVersion, can_migrate, objection_to
from certagent.config.store_url import database_name, file_of

_CHECKED_AT_START = 256 * 1024 * 1024  # bytes; a larger file takes too long, and shows its damage when it is read
_PASSING = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_AUTH,
    }
)
"""What says nothing about the file itself."""
_MAGIC = b"SQLite format 3\0"
_NO_TEXT = "Could not decode to UTF-8"
_RESTORE = "move it away, with -wal and -shm beside it, then restore a backup: certagent store restore FILE"


def check_head(url: str) -> None:
    """Raises `StoreUnusable` when the file is there, is not empty, and begins as no database does: SQLite would begin a
    new one in a very short file."""
    file = file_of(url)
    if file is not None and file.is_file():
        with file.open("rb") as opened:
            head = opened.read(len(_MAGIC))
        if head and head != _MAGIC:
            raise StoreUnusable(str(file), "is damaged (it does not start like a SQLite database)", _RESTORE)


def check_whole(url: str) -> None:
    """Read a database that is not very large from end to end. Raises `StoreUnusable` when it is damaged."""
    file = file_of(url)
    if file is not None and file.is_file() and file.stat().st_size <= _CHECKED_AT_START:
        _raise_if_damaged(file)


def check_version(url: str, version: SchemaVersion, newest: str) -> None:
    """Raises `StoreUnusable` when the schema is none that this program can bring to its own, or may work on."""
    objection = None if can_migrate(version, newest) else objection_to(version, newest)
    if objection is not None:
        raise StoreUnusable(database_name(url), objection, f"install that version again, or {_RESTORE}")


@contextmanager
def damage_named(url: str) -> Iterator[None]:
    """Within the block, an error that a damaged file explains becomes `StoreUnusable`; every other one stays."""
    try:
        yield
    except Exception as error:
        file = file_of(url)
        if file is not None and _may_be_damage(error):
            _raise_if_damaged(file)
            if _is_of_a_value(error):
                raise StoreUnusable(str(file), "is damaged (a value in it cannot be read)", _RESTORE) from error
        raise


def _may_be_damage(error: Exception) -> bool:
    """A ValueError is the caller's, unless it is about what was read."""
    if isinstance(error, StoreUnusable):
        return False
    return _is_of_a_value(error) or not isinstance(error, ValueError)


def _is_of_a_value(error: Exception) -> bool:
    """Whether what was read is not what was written."""
    is_no_text = isinstance(error, DBAPIError) and str(error.orig).startswith(_NO_TEXT)
    return is_no_text or isinstance(error, msgspec.DecodeError | UnicodeDecodeError)


def _raise_if_damaged(file: Path) -> None:
    damage = _damage_in(file)
    if damage is not None:
        raise StoreUnusable(str(file), f"is damaged ({damage})", _RESTORE)


def _damage_in(file: Path) -> str | None:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        is_passing = getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING
        return None if is_passing else " ".join(str(error).split())
    return None if found == "ok" else " ".join(str(found).split())
