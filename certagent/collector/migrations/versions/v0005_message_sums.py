"""Whose incident a message is about and how grave it is, so that one node's messages do not bury those of others."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_RANKS = {"fatal": 0, "error": 1, "warn": 2, "info": 3}


def upgrade() -> None:
    """From 0004."""
    op.add_column("outbox", sa.Column("node", sa.String(length=128), nullable=False, server_default=""))
    op.add_column("outbox", sa.Column("rank", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("outbox", sa.Column("summed_in", sa.BigInteger()))
    op.drop_index("ix_outbox_channel", "outbox")
    op.create_index("ix_outbox_channel_sent_at", "outbox", ["channel", "sent_at"])
    op.create_index("ix_outbox_summed_in", "outbox", ["summed_in"])
    _fill_in()


def downgrade() -> None:
    """Back to 0004."""
    op.drop_index("ix_outbox_summed_in", "outbox")
    op.drop_index("ix_outbox_channel_sent_at", "outbox")
    op.create_index("ix_outbox_channel", "outbox", ["channel"])
    for column in ("summed_in", "rank", "node"):
        op.drop_column("outbox", column)


def _fill_in() -> None:
    """Node and rank of the messages that wait, out of their incidents."""
    outbox = sa.table("outbox", *map(sa.column, ("number", "transition", "sent_at", "given_up", "node", "rank")))
    transitions = sa.table("transitions", *map(sa.column, ("number", "document")))
    waiting = sa.and_(outbox.c.sent_at.is_(None), outbox.c.given_up.is_(sa.false()))
    query = sa.select(outbox.c.number, transitions.c.document).join_from(
        outbox, transitions, transitions.c.number == outbox.c.transition
    )
    connection = op.get_bind()
    for row in connection.execute(query.where(waiting)).all():
        incident = json.loads(row.document)
        node = incident["culprit"].get("node") or next(iter(incident["reporters"]), "")
        values = {"node": node[:128], "rank": _RANKS.get(incident["severity"], 1)}
        connection.execute(sa.update(outbox).where(outbox.c.number == row.number).values(**values))
