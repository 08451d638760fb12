"""What several collectors on one database share: leases, claims on what waits in the outbox, who they are, which agent
is connected to which of them, and the questions that one passes to another. Only adds."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """From 0008."""
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=160), nullable=False),
        sa.Column("holder", sa.String(length=32), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "collectors",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "links",
        sa.Column("agent", sa.String(length=128), nullable=False),
        sa.Column("collector", sa.String(length=32), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("agent"),
    )
    op.create_index("ix_links_collector", "links", ["collector"])
    op.create_index("ix_links_role", "links", ["role"])
    op.create_table(
        "relays",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("collector", sa.String(length=32), nullable=False),
        sa.Column("asker", sa.String(length=32), nullable=False),
        sa.Column("agent", sa.String(length=128), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
        prefixes=["UNLOGGED"] if op.get_bind().dialect.name == "postgresql" else [],
    )
    op.create_index("ix_relays_collector", "relays", ["collector"])
    op.add_column("outbox", sa.Column("claim", sa.String(length=32)))
    op.add_column("outbox", sa.Column("claimed_until", sa.BigInteger()))


def downgrade() -> None:
    """Back to 0008."""
    op.drop_column("outbox", "claimed_until")
    op.drop_column("outbox", "claim")
    for table in ("relays", "links", "collectors", "leases"):
        op.drop_table(table)
