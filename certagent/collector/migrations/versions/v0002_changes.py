"""What changed in the nodes' files, since when a certificate lives; and what is over is found by its age."""

import json
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """From 0001."""
    op.create_table(
        "changes",
        sa.Column("number", _SERIAL, nullable=False),
        sa.Column("agent", sa.String(length=128), nullable=False),
        sa.Column("file", sa.String(length=1024), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_changes_agent_at", "changes", ["agent", "at"])
    op.create_index("ix_reports_received_at", "reports", ["received_at"])
    op.create_index("ix_outbox_transition", "outbox", ["transition"])
    op.add_column("certificates", sa.Column("issued_at", sa.BigInteger()))
    _fill_in()


def downgrade() -> None:
    """Back to 0001."""
    op.drop_column("certificates", "issued_at")
    op.drop_index("ix_outbox_transition", "outbox")
    op.drop_index("ix_reports_received_at", "reports")
    op.drop_table("changes")


def _fill_in() -> None:
    """`issued_at` out of the documents that are there."""
    table = sa.table("certificates", *map(sa.column, ("agent", "name", "document", "issued_at")))
    connection = op.get_bind()
    for row in connection.execute(sa.select(table.c.agent, table.c.name, table.c.document)).all():
        on_disk = json.loads(row.document).get("on_disk")
        if on_disk is not None:
            issued = datetime.fromisoformat(on_disk["not_before"]) - datetime(1970, 1, 1, tzinfo=UTC)
            one = sa.update(table).where(table.c.agent == row.agent, table.c.name == row.name)
            connection.execute(one.values(issued_at=issued // timedelta(microseconds=1)))
