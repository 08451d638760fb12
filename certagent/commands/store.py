"""`certagent store backup|restore`: the collector's database into a file, and back, on the collector's node."""

from pathlib import Path
from typing import Any

from certagent.collector.sql.backup import NotEmpty, back_up, restore
from certagent.commands import UnableError
from certagent.commands.store_errors import store_within_reach
from certagent.config import CollectorSettings


def backup(settings: CollectorSettings, file: Path) -> dict[str, Any]:
    """`{"done", "file", "rows"}`; beside the running collector. Raises `UnableError`."""
    try:
        with store_within_reach():
            return {"done": "backup", "file": str(file), "rows": back_up(settings.store.url, file.absolute())}
    except OSError as error:
        raise UnableError(f"{file} cannot be written: {error.strerror or error}") from error


def restore_(settings: CollectorSettings, file: Path) -> dict[str, Any]:
    """The same; into an empty store only. Raises `UnableError`."""
    try:
        with store_within_reach():
            return {"done": "restore", "file": str(file), "rows": restore(file, settings.store.url)}
    except NotEmpty as error:
        raise UnableError(f"nothing was restored: {error}; move it away, or name another store") from error
    except OSError as error:
        raise UnableError(f"{file} cannot be read: {error.strerror or error}") from error


def render(document: dict[str, Any]) -> str:
    """For a person."""
    return f"{document['done']} done: {document['rows']} rows, {document['file']}"
