"""The database says which programs may work on its schema: in `alembic_version`, beside the revision.

From here on, a migration that only adds (tables, indexes, columns that are nullable or have a server default) ends with

    op.execute("UPDATE alembic_version SET as_of = '0013'")

and what `tolerates` says stays as it is. One that takes something away, renames it or changes its meaning also sets
`tolerates`, to the revision of the oldest program that can do without: as a rule that of the migration before, whose
program no longer used it. One that says nothing tolerates no older program.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """From 0011, whose programs do not look here: they start on no newer schema."""
    for name in ("as_of", "tolerates"):
        op.add_column("alembic_version", sa.Column(name, sa.String(length=32)))
    op.execute("UPDATE alembic_version SET as_of = '0012', tolerates = '0012'")


def downgrade() -> None:
    """Back to 0011."""
    for name in ("tolerates", "as_of"):
        op.drop_column("alembic_version", name)
