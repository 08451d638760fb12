"""Which processes speak under an agent's name, so that two at once are told from one that restarts."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """From 0007."""
    op.create_table(
        "speakers",
        sa.Column("agent", sa.String(length=128), nullable=False),
        sa.Column("instance", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("standing", sa.String(length=16), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("heard_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("agent", "instance"),
    )
    op.create_index("ix_speakers_heard_at", "speakers", ["heard_at"])


def downgrade() -> None:
    """Back to 0007."""
    op.drop_table("speakers")
