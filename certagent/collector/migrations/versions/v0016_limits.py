"""What is bounded over all collectors: attempts to log in, and what each agent has stored. It only adds: a program of
before counts for itself."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """From 0015."""
    op.add_column("agents", sa.Column("kept_until", sa.BigInteger()))
    op.create_table(
        "limits",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        prefixes=["UNLOGGED"] if op.get_bind().dialect.name == "postgresql" else [],
    )
    op.execute("UPDATE alembic_version SET as_of = '0016'")


def downgrade() -> None:
    """Back to 0015."""
    op.drop_table("limits")
    op.drop_column("agents", "kept_until")
    op.execute("UPDATE alembic_version SET as_of = '0015'")
