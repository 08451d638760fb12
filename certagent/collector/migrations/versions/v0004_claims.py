"""Who asked for a rehearsal, since when a node claims what, what is bound to whom, whose incident a suspicion is.

Whoever asked for a rehearsal before is known where one node alone has the identifier; else it counts for nobody. What
was claimed before has no date: it is older than any claim to come.
"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_BATCH = 500


def upgrade() -> None:
    """From 0003."""
    op.create_table(
        "bindings",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.Column("agent", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject", "agent"),
    )
    op.add_column("identifiers", sa.Column("since", sa.BigInteger()))
    op.add_column("identifiers", sa.Column("proven_at", sa.BigInteger()))
    op.add_column("addresses", sa.Column("since", sa.BigInteger()))
    op.add_column("findings", sa.Column("own_key", sa.String(length=2048)))
    op.create_index("ix_findings_own_key", "findings", ["own_key"])
    _fill_in_own_keys()
    op.rename_table("rehearsals", "rehearsals_before")
    _create_rehearsals("identifier", "challenge", "asker")
    _move_rehearsals(_with_asker)
    op.drop_table("rehearsals_before")


def downgrade() -> None:
    """Back to 0003: of several rehearsals of an identifier the latest."""
    op.rename_table("rehearsals", "rehearsals_before")
    _create_rehearsals("identifier")
    _move_rehearsals(lambda _row, _askers, _authorities: {}, latest_only=True)
    op.drop_table("rehearsals_before")
    op.drop_index("ix_findings_own_key", "findings")
    op.drop_column("findings", "own_key")
    op.drop_column("addresses", "since")
    op.drop_column("identifiers", "proven_at")
    op.drop_column("identifiers", "since")
    op.drop_table("bindings")


def _create_rehearsals(*key: str) -> None:
    columns = {
        "identifier": sa.Column("identifier", sa.String(length=256), nullable=False),
        "challenge": sa.Column("challenge", sa.String(length=32), nullable=False),
        "asker": sa.Column("asker", sa.String(length=128), nullable=False),
    }
    op.create_table(
        "rehearsals",
        *(columns[name] for name in key),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("brokered", sa.Boolean(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(*key),
    )


def _move_rehearsals(more: Any, *, latest_only: bool = False) -> None:
    """From the table before to the new one; `more` makes the columns that only the new one has."""
    connection = op.get_bind()
    old, new = (_table(name) for name in ("rehearsals_before", "rehearsals"))
    columns = [old.c.identifier, old.c.at, old.c.brokered, old.c.document]
    askers, authorities = _askers(connection), _authorities(connection)
    rows: dict[Any, dict[str, Any]] = {}
    for number, row in enumerate(connection.execute(sa.select(*columns).order_by(old.c.at)).mappings()):
        rows[row["identifier"] if latest_only else number] = {**row, **more(row, askers, authorities)}
        if not latest_only and len(rows) == _BATCH:
            connection.execute(sa.insert(new), list(rows.values()))
            rows.clear()
    if rows:
        connection.execute(sa.insert(new), list(rows.values()))


def _table(name: str) -> sa.TableClause:
    names = ("identifier", "challenge", "asker", "at", "brokered", "document")
    return sa.table(name, *map(sa.column, names))


def _with_asker(row: Any, askers: dict[str, set[str]], authorities: set[str]) -> dict[str, str]:
    document = json.loads(row["document"])
    node, having = document.get("node"), askers.get(row["identifier"], set())
    asker = next(iter(having)) if row["brokered"] and len(having) == 1 else ""
    if not row["brokered"] and node in authorities:
        asker = node
    return {"challenge": str(document.get("challenge", "http-01"))[:32], "asker": asker}


def _askers(connection: sa.Connection) -> dict[str, set[str]]:
    table = sa.table("identifiers", *map(sa.column, ("identifier", "agent")))
    found: dict[str, set[str]] = {}
    for row in connection.execute(sa.select(table.c.identifier, table.c.agent)):
        found.setdefault(row.identifier, set()).add(row.agent)
    return found


def _authorities(connection: sa.Connection) -> set[str]:
    table = sa.table("agents", *map(sa.column, ("name", "token_role")))
    rows = connection.execute(sa.select(table.c.name, table.c.token_role)).all()
    return {name for name, role in rows if role == "authority"}


def _fill_in_own_keys() -> None:
    """Of what accuses another node; what is said of a node as a whole has no identifier in its key."""
    table = sa.table("findings", *map(sa.column, ("number", "agent", "identifier", "document", "own_key")))
    connection = op.get_bind()
    columns = table.c.number, table.c.agent, table.c.identifier, table.c.document
    for row in connection.execute(sa.select(*columns).where(table.c.document.contains('"culprit":{'))).all():
        finding = json.loads(row.document)
        node, code = (finding.get("culprit") or {}).get("node"), finding["code"]
        if node and node != row.agent:
            is_wide = code.partition(".")[0] in ("ca", "agent")
            key = f"code:{row.agent}:{code}" + ("" if is_wide else f":{row.identifier or ''}")
            connection.execute(sa.update(table).where(table.c.number == row.number).values(own_key=key))
