"""The lines that bring a new agent its token: each good once, for a few minutes, for one name."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """From 0009."""
    op.create_table(
        "enrolments",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("used_from", sa.String(length=64), nullable=True),
        sa.Column("reused_at", sa.BigInteger(), nullable=True),
        sa.Column("reused_from", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("ix_enrolments_name", "enrolments", ["name"])


def downgrade() -> None:
    """Back to 0009."""
    op.drop_table("enrolments")
