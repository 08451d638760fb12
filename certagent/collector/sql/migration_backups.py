"""Backups that the program makes by itself: of an SQLite database, beside it, before its schema is changed; and the way
back to one of them, for whoever goes back to an older program.

PostgreSQL has backups of its own kind, and often other collectors on it: there the program makes none, and says so.
"""

import logging
import os
import re
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from certagent.collector.records import StoreFailed
from certagent.config.store_url import file_of

log = logging.getLogger(__name__)

MOST_KEPT = 3
_AT_ONCE = 1_000  # pages, between which others may read


def back_up_before_migration(url: str, revision: str, newest: str) -> Path | None:
    """Copy the database as it is; answers the file, None for what is no file. Whoever calls holds the write lock.

    Raises `StoreFailed`: without a backup nothing is migrated.
    """
    file = file_of(url)
    if file is None:
        log.warning(
            "migrating the database from schema %s to %s; certagent does not back up PostgreSQL: to go back, you "
            "need your own backup (pg_dump)",
            revision,
            newest,
        )
        return None
    backup = file.with_name(f"{file.name}.schema-{revision}.{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.backup")
    try:
        _copy(file, backup)
    except (sqlite3.Error, OSError) as error:
        reason = f"the database {file} was not migrated, because it could not be backed up first: {error}"
        raise StoreFailed(reason) from error
    log.info("the database was backed up before its migration from schema %s to %s: %s", revision, newest, backup)
    for old in _backups_of(file)[:-MOST_KEPT]:
        old.unlink(missing_ok=True)
    return backup


def put_back(url: str, revision: str) -> tuple[Path, Path]:
    """Put the newest backup of that schema in the database's place; answers (the backup, where the database is now).

    For a collector that has stopped. Raises `StoreFailed` when there is none: then nothing is changed.
    """
    file = file_of(url)
    if file is None:
        raise StoreFailed(
            "certagent does not back up PostgreSQL: restore your own backup from before the upgrade first"
        )
    backups = [backup for backup in _backups_of(file) if f".schema-{revision}." in backup.name]
    if not backups:
        raise StoreFailed(f"there is no backup of schema {revision} next to {file}: restore your own first")
    aside = file.with_name(f"{file.name}.rolled-back.{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    try:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")  # so that it is one file; nobody else has it open
        new = file.with_name(f".{file.name}.new")
        _copy(backups[-1], new)
        file.rename(aside)
        new.rename(file)
    except (sqlite3.Error, OSError) as error:
        raise StoreFailed(f"{file} cannot be restored: {error}") from error
    return backups[-1], aside


def _copy(file: Path, copy: Path) -> None:
    """All of it, as of one moment, on disk, with the owner and for nobody else; whole or not at all."""
    new = copy.with_name(f".{copy.name}.copy")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        if os.geteuid() == 0:
            owner = file.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        with (
            closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(new)) as target,
        ):
            source.backup(target, pages=_AT_ONCE)
            target.execute("PRAGMA journal_mode = DELETE")
        os.fsync(descriptor)
        new.rename(copy)
    except BaseException:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _backups_of(file: Path) -> list[Path]:
    """Oldest first."""
    wanted = re.compile(rf"{re.escape(file.name)}\.schema-\w+\.(\d{{8}}T\d{{6}}\.\d+Z)\.backup")
    found = [(matched[1], path) for path in file.parent.iterdir() if (matched := wanted.fullmatch(path.name))]
    return [path for _, path in sorted(found)]
