"""A port at which nobody answers, and a certificate at its target, have keys of their own.

An incident that is open goes on under its findings' new key: nobody is told anew.
"""

from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

from certagent.domain.findings import Finding
from certagent.domain.sightings import key_of, own_key_of

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """From 0006."""
    renamed = _rename_findings(key_of, own_key_of)
    table = sa.table("incidents", *map(sa.column, ("id", "key", "state")))
    connection = op.get_bind()
    taken = set(connection.execute(sa.select(table.c.key).where(table.c.state != "resolved")).scalars())
    for before, after in sorted(renamed.items()):
        if before in taken and after not in taken:
            taken.add(after)
            of_it = (table.c.key == before) & (table.c.state != "resolved")
            connection.execute(sa.update(table).where(of_it).values(key=after))


def downgrade() -> None:
    """Back to 0006: the older keys come with the next reports."""


def _rename_findings(key: Any, own_key: Any) -> dict[str, str]:
    """The findings' keys as they are now; those that changed, before -> after."""
    names = ("number", "agent", "key", "own_key", "document")
    table = sa.table("findings", *map(sa.column, names))
    decode, connection = msgspec.json.Decoder(Finding).decode, op.get_bind()
    renamed: dict[str, str] = {}
    for row in connection.execute(sa.select(*(table.c[name] for name in names))).all():
        finding = decode(row.document)
        keys = {"key": key(row.agent, finding), "own_key": own_key(row.agent, finding)}
        if (keys["key"], keys["own_key"]) != (row.key, row.own_key):
            connection.execute(sa.update(table).where(table.c.number == row.number).values(keys))
            renamed[row.key] = keys["key"]
    return renamed
