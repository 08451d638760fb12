"""What a look at the whole fleet asks for, by index. It only adds: a program of before goes on beside it. What that one
writes has nothing in the new columns, which says that nobody has looked yet; so it is looked at."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_PLAIN = {
    "ix_agents_last_seen": ("agents", ["last_seen"]),
    "ix_agents_role_name": ("agents", ["role", "name"]),
    "ix_agents_token_role": ("agents", ["token_role"]),
    "ix_certificates_life_expires_at": ("certificates", ["life", "expires_at"]),
    "ix_changes_at": ("changes", ["at"]),
    "ix_incidents_opened_at_id": ("incidents", ["opened_at", "id"]),
    "ix_rehearsals_at": ("rehearsals", ["at"]),
}
_PENDING = "sent_at IS NULL AND given_up IS {false}"
_PARTIAL = {
    "ix_addresses_contested": ("addresses", ["address"], "contested IS NOT {false}"),
    "ix_enrolments_reused": ("enrolments", ["reused_at"], "reused_at IS NOT NULL"),
    "ix_findings_disagreed": ("findings", ["number"], "\"key\" LIKE '%\\:preflight.disagreed:%'"),
    "ix_findings_grave": ("findings", ["number"], "{is_grave}"),
    "ix_identifiers_contested": ("identifiers", ["identifier"], "contested IS NOT {false}"),
    "ix_incidents_unresolved": ("incidents", ["opened_at"], "state != 'resolved'"),
    "ix_outbox_given_up": ("outbox", ["channel", "due_at"], "{given_up}"),
    "ix_outbox_pending": ("outbox", ["channel", "due_at"], _PENDING),
    "ix_outbox_sums": ("outbox", ["channel", "due_at"], "summed_in = number"),
    "ix_speakers_clones": ("speakers", ["heard_at"], "standing = 'clone'"),
    "ix_rehearsals_failed": ("rehearsals", ["identifier"], 'document LIKE \'%"outcome":"failed"%\''),
}
_DIALECTS = {
    "sqlite": {"false": "0", "is_grave": "is_grave = 1", "given_up": "given_up = 1"},
    "postgresql": {"false": "false", "is_grave": "is_grave", "given_up": "given_up"},
}
_HOUR = 3_600_000_000  # microseconds


def upgrade() -> None:
    """From 0014."""
    op.add_column("certificates", sa.Column("life", sa.Integer()))
    for table in ("addresses", "identifiers"):
        op.add_column(table, sa.Column("contested", sa.Boolean()))
    _fill_in()
    for name, (table, columns) in _PLAIN.items():
        op.create_index(name, table, columns)
    words = _DIALECTS[op.get_bind().dialect.name]
    for name, (table, columns, where) in _PARTIAL.items():
        condition = sa.text(where.format(**words))
        op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
    op.execute("UPDATE alembic_version SET as_of = '0015'")


def downgrade() -> None:
    """Back to 0014."""
    for name, (table, *_) in (_PLAIN | _PARTIAL).items():
        op.drop_index(name, table)
    for table in ("addresses", "identifiers"):
        op.drop_column(table, "contested")
    op.drop_column("certificates", "life")
    op.execute("UPDATE alembic_version SET as_of = '0014'")


def _fill_in() -> None:
    """By the database alone: how long each certificate lives, and which identifiers and addresses several claim."""
    table = sa.table("certificates", *map(sa.column, ("life", "issued_at", "expires_at")))
    lives_for = table.c.expires_at - table.c.issued_at
    for number in range(18):
        unknown = table.c.life.is_(None) & (lives_for <= _HOUR * 2**number)
        op.execute(table.update().where(unknown).values(life=number))
    op.execute(table.update().where(table.c.life.is_(None), lives_for.is_not(None)).values(life=18))
    for name, subject in (("addresses", "address"), ("identifiers", "identifier")):
        claims = sa.table(name, *map(sa.column, (subject, "agent", "contested")))
        others = claims.alias("others")
        same = others.c[subject] == claims.c[subject]
        several = sa.exists().where(same, others.c.agent != claims.c.agent).correlate(claims)
        op.execute(claims.update().values(contested=several))
