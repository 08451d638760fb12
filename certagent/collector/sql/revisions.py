"""Which programs may work on which schema of the database: migrations expand first and contract later. Changes nothing.

A program needs the tables and columns of its own revision. A newer program's migration that only adds to them says so
in the database, beside its revision: older programs may then go on, and may be gone back to. A migration that says
nothing is one that takes something away. `newest` is the newest revision that a program knows.
"""

import re

import msgspec
from sqlalchemy import Connection, inspect, text

_KNOWN = re.compile(r"\d{4}")


class SchemaVersion(msgspec.Struct, frozen=True):
    """What the database says of its schema. `revision`: None if it has none; `tolerates`: the revision of the oldest
    programs that may work on it; None if it does not say."""

    revision: str | None = None
    tolerates: str | None = None


def read_schema_version(connection: Connection) -> SchemaVersion:
    """As it is now."""
    if not inspect(connection).has_table("alembic_version"):
        return SchemaVersion()
    row = connection.execute(text("SELECT * FROM alembic_version")).mappings().first()
    if row is None:
        return SchemaVersion()
    revision, as_of = row.get("version_num"), row.get("as_of")  # older schemas have no more than the first
    return SchemaVersion(revision, row.get("tolerates") if as_of == revision else None)


def can_migrate(version: SchemaVersion, newest: str) -> bool:
    """Whether the program's migrations begin there, or end there."""
    revision = version.revision
    return revision is None or (_KNOWN.fullmatch(revision) is not None and "0001" <= revision <= newest)


def objection_to(version: SchemaVersion, newest: str) -> str | None:
    """Why the program may not work on that schema as it is, as a clause about the database; None if it may."""
    revision, tolerates = version.revision, version.tolerates
    if revision is None:
        return f"has no schema, and this certagent needs {newest}"
    if can_migrate(version, newest):
        return None if revision == newest else f"has the schema {revision!r}, and this certagent needs {newest}"
    if tolerates is None or tolerates > newest:
        needed = f", which supports no version before schema {tolerates}" if tolerates is not None else ""
        return f"has the schema {revision!r} of a newer certagent{needed}; this version supports schemas up to {newest}"
    return None
