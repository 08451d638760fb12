"""Where DNS leads for what a node claims, what nodes claimed before, and who speaks from an address. It only adds: a
program of before decides by who claimed first, and forgets what a node no longer claims."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """From 0013."""
    op.add_column("identifiers", sa.Column("led_at", sa.BigInteger()))
    op.create_table(
        "earlier_claims",
        sa.Column("identifier", sa.String(length=256), nullable=False),
        sa.Column("agent", sa.String(length=128), nullable=False),
        sa.Column("since", sa.BigInteger()),
        sa.Column("proven_at", sa.BigInteger()),
        sa.Column("led_at", sa.BigInteger()),
        sa.Column("left_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("identifier", "agent"),
    )
    for column in ("agent", "left_at"):
        op.create_index(f"ix_earlier_claims_{column}", "earlier_claims", [column])
    op.create_index("ix_speakers_address", "speakers", ["address"])
    op.execute("UPDATE alembic_version SET as_of = '0014'")


def downgrade() -> None:
    """Back to 0013."""
    op.drop_index("ix_speakers_address", "speakers")
    op.drop_table("earlier_claims")
    op.drop_column("identifiers", "led_at")
    op.execute("UPDATE alembic_version SET as_of = '0013'")
