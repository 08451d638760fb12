"""What became of renewals, as a sum of each day and zone that is kept for years; begins with the reports that are still
kept. It only adds: an older program goes on beside it, and what that takes in is in no sum."""

import ipaddress
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """From 0012."""
    op.create_table(
        "daily_sums",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("zone", sa.String(length=256), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.String(length=128), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("least_left", sa.BigInteger()),
        sa.Column("agent", sa.String(length=128)),
        sa.Column("certificate", sa.String(length=256)),
        sa.PrimaryKeyConstraint("day", "zone", "kind", "cause"),
    )
    _fill_in()
    op.execute("UPDATE alembic_version SET as_of = '0013'")


def downgrade() -> None:
    """Back to 0012."""
    op.drop_table("daily_sums")
    op.execute("UPDATE alembic_version SET as_of = '0012'")


_RANKS = {"fatal": 0, "error": 1, "warn": 2, "info": 3}
_KINDS = {"done": "renewed", "found": "renewed", "kept": "kept"}


def _fill_in() -> None:
    """The sums of the renewals whose reports are still there; how near a call was, they do not say."""
    connection = op.get_bind()
    reports = sa.table("reports", *map(sa.column, ("agent", "kind", "document")))
    names = sa.table("identifiers", *map(sa.column, ("agent", "certificate", "identifier")))
    zones: dict[tuple[str, str], set[str]] = {}
    for agent, certificate, identifier in connection.execute(sa.select(*names.c)):
        zones.setdefault((agent, certificate), set()).add(_zone_of(identifier))
    sums: Counter[tuple[str, str, str, str]] = Counter()
    for agent, document in connection.execute(
        sa.select(reports.c.agent, reports.c.document).where(reports.c.kind == "renewal")
    ):
        report = json.loads(document)
        for zone in zones.get((agent, report.get("certificate") or ""), {"(unknown)"}):
            sums[report["finished_at"][:10], zone, *_result_of(report)] += report.get("count", 1)
    _insert(sums.items())


def _insert(sums: Iterable[tuple[tuple[str, str, str, str], int]]) -> None:
    keys = ("day", "zone", "kind", "cause")
    rows = [dict(zip(keys, key, strict=True)) | {"number": number} for key, number in sums]
    if rows:
        op.bulk_insert(sa.table("daily_sums", *map(sa.column, (*keys, "number"))), rows)


def _result_of(report: dict[str, Any]) -> tuple[str, str]:
    outcome = report["outcome"]
    kind = _KINDS.get(outcome, "failed")
    if kind == "renewed":
        return kind, ""
    grave = min(report.get("findings", ()), key=lambda finding: _RANKS.get(finding["severity"], 9), default=None)
    return kind, str(grave["code"] if grave is not None else outcome)[:128]


def _zone_of(identifier: str) -> str:
    try:
        return str(ipaddress.ip_address(identifier))
    except ValueError:
        name = identifier.lower().rstrip(".").removeprefix("*.")
        parent = name.partition(".")[2]
        return parent if "." in parent else name
