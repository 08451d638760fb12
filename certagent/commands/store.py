"""`certagent store backup|restore|go-back`: the collector's database into a file, and back, on the collector's node."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from certagent.collector.sql.backup import NotEmpty, back_up, restore
from certagent.collector.sql.database import read_version
from certagent.collector.sql.migration_backups import put_back
from certagent.commands import UnableError
from certagent.commands.store_errors import store_of_owner
from certagent.config import CollectorSettings
from certagent.system.file_content import PRIVATE_FILE


def backup(settings: CollectorSettings, file: Path) -> dict[str, Any]:
    """`{"done", "file", "rows"}`; beside the running collector. The file is replaced at once or not at all. Raises
    `UnableError`."""
    folder = file.absolute().parent
    if not folder.is_dir():
        if folder.exists():
            raise UnableError(f"{folder} is not a folder: name another file; nothing was written")
        raise UnableError(f"the folder {folder} does not exist: create it, or name another file; nothing was written")
    new = file.with_name(f".{file.name}.new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE), "wb") as target:
            with store_of_owner(settings.store.url):
                rows = back_up(settings.store.url, target, file.absolute())
            target.flush()
            os.fsync(target.fileno())
        new.replace(file)
    except OSError as error:
        raise UnableError(f"{_named(error, file, new)} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)
    return {"done": "backup", "file": str(file), "rows": rows}


def restore_(settings: CollectorSettings, file: Path) -> dict[str, Any]:
    """The same; into an empty store only. Raises `UnableError`."""
    try:
        with file.open("rb") as source, store_of_owner(settings.store.url):
            return {"done": "restore", "file": str(file), "rows": restore(source, file, settings.store.url)}
    except NotEmpty as error:
        raise UnableError(f"nothing was restored: {error}; move it away, or name another store") from error
    except OSError as error:
        named = _named(error, file)
        done = "read" if named == str(file) else "written"
        raise UnableError(f"{named} cannot be {done}: {error.strerror or error}") from error


def go_back(settings: CollectorSettings, revision: str) -> dict[str, Any]:
    """`{"done", "schema", "file", "aside"}`: the database as an older program, which knows schemas up to `revision`,
    can use it; where it can already, `file` is null. The collector must not run. Raises `UnableError`."""
    with store_of_owner(settings.store.url):
        present = read_version(settings.store.url)
        oldest = present.tolerates or present.revision
        if oldest is None or oldest <= revision:
            return {"done": "go-back", "schema": present.revision, "file": None, "aside": None}
        backup, aside = put_back(settings.store.url, revision)
    return {"done": "go-back", "schema": revision, "file": str(backup), "aside": str(aside)}


def _named(error: OSError, file: Path, *temporary: Path) -> str:
    """The file that the error is about: as a rule the person's own, but it may be the copy beside the database."""
    is_other = error.filename is not None and str(error.filename) not in map(str, (file, *temporary))
    return str(error.filename) if is_other else str(file)


def render(document: dict[str, Any]) -> str:
    """For a person."""
    if document["done"] == "go-back" and document["file"] is None:
        return f"nothing to do: the database has schema {document['schema'] or 'none yet'}"
    if document["done"] == "go-back":
        return (
            f"the database is restored from before its migration: {document['file']};"
            f" its latest state is kept in {document['aside']}"
        )
    return f"{document['done']} done: {document['rows']} rows, {document['file']}"
