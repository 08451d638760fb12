"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """From nothing."""
    _create_access()
    _create_reports()
    _create_incidents()


def downgrade() -> None:
    """To nothing."""
    for table in sa.inspect(op.get_bind()).get_table_names():
        if table != "alembic_version":
            op.drop_table(table)


def _create_access() -> None:
    """Who may speak, and what each node says of itself."""
    op.create_table(
        "tokens",
        sa.Column("number", _SERIAL, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("digest"),
    )
    op.create_index("ix_tokens_name", "tokens", ["name"])
    op.create_table(
        "agents",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("token_role", sa.String(length=16), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.String(length=128)),
        sa.Column("inventory", sa.Text()),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "addresses",
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("agent", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("address", "agent"),
    )
    op.create_index("ix_addresses_agent", "addresses", ["agent"])
    op.create_table(
        "certificates",
        sa.Column("agent", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("agent", "name"),
    )
    op.create_table(
        "identifiers",
        sa.Column("identifier", sa.String(length=256), nullable=False),
        sa.Column("agent", sa.String(length=128), nullable=False),
        sa.Column("certificate", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("identifier", "agent", "certificate"),
    )
    op.create_index("ix_identifiers_agent", "identifiers", ["agent"])


def _create_reports() -> None:
    """What was reported, and what of it stands."""
    op.create_table(
        "reports",
        sa.Column("number", _SERIAL, nullable=False),
        sa.Column("agent", sa.String(length=128), nullable=False),
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("agent", "id"),
    )
    op.create_table(
        "scopes",
        sa.Column("agent", sa.String(length=128), nullable=False),
        sa.Column("scope", sa.String(length=1024), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("agent", "scope"),
    )
    op.create_table(
        "findings",
        sa.Column("number", _SERIAL, nullable=False),
        sa.Column("agent", sa.String(length=128), nullable=False),
        sa.Column("scope", sa.String(length=1024), nullable=False),
        sa.Column("identifier", sa.String(length=256)),
        sa.Column("key", sa.String(length=2048), nullable=False),
        sa.Column("is_grave", sa.Boolean(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_findings_agent_scope", "findings", ["agent", "scope"])
    op.create_index("ix_findings_identifier", "findings", ["identifier"])
    op.create_index("ix_findings_key", "findings", ["key"])
    op.create_table(
        "rehearsals",
        sa.Column("identifier", sa.String(length=256), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("brokered", sa.Boolean(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("identifier"),
    )


def _create_incidents() -> None:
    """Incidents, their history, and the messages about them."""
    op.create_table(
        "incidents",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=2048), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("announced", sa.Boolean(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_incidents_key", "incidents", ["key"])
    op.create_index("ix_incidents_state", "incidents", ["state"])
    op.create_table(
        "parties",
        sa.Column("agent", sa.String(length=128), nullable=False),
        sa.Column("incident", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("agent", "incident"),
    )
    op.create_index("ix_parties_incident", "parties", ["incident"])
    op.create_table(
        "transitions",
        sa.Column("number", _SERIAL, nullable=False),
        sa.Column("incident", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(length=128)),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_transitions_incident", "transitions", ["incident"])
    op.create_table(
        "outbox",
        sa.Column("number", _SERIAL, nullable=False),
        sa.Column("transition", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(length=128), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger()),
        sa.Column("failure", sa.Text()),
        sa.Column("given_up", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_outbox_channel", "outbox", ["channel"])
