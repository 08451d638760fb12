"""One round of several collectors: which policy each of them has and which is in force, and when the last round ended.
Only adds."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """From 0010."""
    op.create_table(
        "policies",
        sa.Column("collector", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("in_force_since", sa.BigInteger()),
        sa.PrimaryKeyConstraint("collector"),
    )
    op.create_table(
        "rounds",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("collector", sa.String(length=128), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.add_column("collectors", sa.Column("policy", sa.String(length=64), nullable=False, server_default=""))


def downgrade() -> None:
    """Back to 0010."""
    op.drop_column("collectors", "policy")
    for table in ("rounds", "policies"):
        op.drop_table(table)
