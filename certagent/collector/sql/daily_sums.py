"""What became of renewals, summed by day and zone as the reports come in: few rows, kept for years, when the
reports are long gone. Written in the transaction that stores the reports.

Of each day and zone: how many renewals were done, kept alive without a challenge, or failed, by cause; and how many
certificates were replaced, with the least life that was left of one of them: the nearest call.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, insert, or_, select, tuple_, update

from certagent.collector.sql.schema import daily_sums, identifiers
from certagent.collector.sql.statements import MOST_PRUNED, Transaction, chunks, delete_by
from certagent.domain.catalogue.entries import CATALOGUE
from certagent.domain.identifiers import zone_of
from certagent.domain.reports import CertificateState, Outcome, Report

_MOST_ROWS = 5_000  # of one day; what would need more is summed together: an agent may name as many zones as it likes
OTHER = "(other)"
UNKNOWN = "(unknown)"


class SumKind(StrEnum):
    """What is counted."""

    RENEWED = "renewed"
    KEPT = "kept"
    FAILED = "failed"
    REPLACED = "replaced"


class NearestCall(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate that was replaced with the least life left; negative: it had expired."""

    left: timedelta
    node: str
    certificate: str
    day: str


class ZoneYear(msgspec.Struct, frozen=True, kw_only=True):
    """One zone's renewals. `failures`: by cause, the most frequent first."""

    zone: str
    renewed: int
    kept: int
    failures: dict[str, int]
    nearest: NearestCall | None

    @property
    def failed(self) -> int:
        """Of all causes."""
        return sum(self.failures.values())


class _Sum(msgspec.Struct):
    """What is added to one row."""

    number: int = 0
    least_left: int | None = None
    agent: str | None = None
    certificate: str | None = None


_ENDINGS = (Outcome.KEPT, Outcome.BLOCKED, Outcome.FAILED, Outcome.INTERRUPTED)
_Key = tuple[str, str, str, str]  # day, zone, kind, cause


def sum_renewals(transaction: Transaction, renewals: Sequence[tuple[Report, datetime]]) -> None:
    """Add those runs, each with when it ended."""
    names = _identifiers_of(
        transaction.connection, {(report.agent, report.certificate or "") for report, _ in renewals}
    )
    sums: dict[_Key, _Sum] = {}
    for report, at in renewals:
        kind, cause = _result_of(report)
        for zone in _zones_of(names.get((report.agent, report.certificate or ""), report.verdicts)):
            sums.setdefault((_day_of(at), zone, kind, cause), _Sum()).number += report.count
    _add(transaction.connection, sums)


def sum_replacements(
    transaction: Transaction,
    agent: str,
    before: Iterable[CertificateState],
    after: Iterable[CertificateState],
    at: datetime,
) -> None:
    """Add the certificates that a newer one has replaced since the agent's earlier inventory; `at`: the newer one's."""
    known = {certificate.name: certificate.on_disk for certificate in before}
    sums: dict[_Key, _Sum] = {}
    for certificate in after:
        old, new = known.get(certificate.name), certificate.on_disk
        if old is None or new is None or old.fingerprint == new.fingerprint or new.ends_at <= old.ends_at:
            continue
        left = int((old.ends_at - at).total_seconds())
        for zone in _zones_of(certificate.identifiers):
            total = sums.setdefault((_day_of(at), zone, SumKind.REPLACED, ""), _Sum())
            total.number += 1
            if total.least_left is None or left < total.least_left:
                total.least_left, total.agent, total.certificate = left, agent, certificate.name
    _add(transaction.connection, sums)


def list_zone_years(connection: Connection, first: str, last: str) -> list[ZoneYear]:
    """Each zone from the one day to the other, both as `2026-11-29`: the nearest call first, then by most failures."""
    within = daily_sums.c.day.between(first, last)
    columns = daily_sums.c.zone, daily_sums.c.kind, daily_sums.c.cause
    counts: dict[str, dict[tuple[str, str], int]] = {}
    query = select(*columns, func.sum(daily_sums.c.number)).where(within).group_by(*columns)
    for zone, kind, cause, number in connection.execute(query):
        counts.setdefault(zone, {})[kind, cause] = int(number)
    nearest = _nearest_calls(connection, within)
    zones = [_zone_year(zone, found, nearest.get(zone)) for zone, found in counts.items()]
    return sorted(zones, key=lambda one: (one.nearest is None, one.nearest and one.nearest.left, -one.failed, one.zone))


def list_years(connection: Connection) -> list[int]:
    """The years of which there are sums, the latest first."""
    first, last = connection.execute(select(func.min(daily_sums.c.day), func.max(daily_sums.c.day))).one()
    return [] if first is None else list(range(int(last[:4]), int(first[:4]) - 1, -1))


def prune_sums(transaction: Transaction, before: datetime) -> int:
    """Delete sums of earlier days; answers how many: less than `MOST_PRUNED` means all."""
    old = select(*daily_sums.primary_key).where(daily_sums.c.day < _day_of(before)).limit(MOST_PRUNED)
    keys = [row._asdict() for row in transaction.connection.execute(old)]
    delete_by(transaction.connection, daily_sums, keys)
    return len(keys)


def _zone_year(zone: str, counts: Mapping[tuple[str, str], int], nearest: NearestCall | None) -> ZoneYear:
    failures = {cause: number for (kind, cause), number in counts.items() if kind == SumKind.FAILED}
    return ZoneYear(
        zone=zone,
        renewed=counts.get((SumKind.RENEWED, ""), 0),
        kept=sum(number for (kind, _), number in counts.items() if kind == SumKind.KEPT),
        failures=dict(sorted(failures.items(), key=lambda item: (-item[1], item[0]))),
        nearest=nearest,
    )


def _nearest_calls(connection: Connection, within: ColumnElement[bool]) -> dict[str, NearestCall]:
    """By zone; of equal ones the earliest."""
    of_zone = select(daily_sums.c.zone, func.min(daily_sums.c.least_left).label("left"))
    least = of_zone.where(within, daily_sums.c.least_left.is_not(None)).group_by(daily_sums.c.zone).subquery()
    same = and_(daily_sums.c.zone == least.c.zone, daily_sums.c.least_left == least.c.left)
    rows = connection.execute(select(daily_sums).join(least, same).where(within).order_by(daily_sums.c.day.desc()))
    return {
        row.zone: NearestCall(
            left=timedelta(seconds=row.least_left), node=row.agent, certificate=row.certificate, day=row.day
        )
        for row in rows
    }


def _result_of(report: Report) -> tuple[SumKind, str]:
    """What it counts as, and why it failed: the gravest finding's code, else how it ended."""
    if report.outcome in (Outcome.DONE, Outcome.FOUND):
        return SumKind.RENEWED, ""
    grave = min(report.findings, key=lambda finding: finding.severity.rank, default=None)
    cause = grave.code if grave is not None else str(report.outcome)
    kind = SumKind.KEPT if report.outcome is Outcome.KEPT else SumKind.FAILED
    return kind, cause if cause in CATALOGUE or cause in _ENDINGS else OTHER


def _zones_of(names: Iterable[str]) -> set[str]:
    return {zone_of(name) for name in names} or {UNKNOWN}


def _day_of(at: datetime) -> str:
    return at.strftime("%Y-%m-%d")


def _identifiers_of(connection: Connection, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    """Of those certificates, (agent, name) each."""
    found: dict[tuple[str, str], list[str]] = {}
    key = tuple_(identifiers.c.agent, identifiers.c.certificate)
    for piece in chunks(wanted):
        for row in connection.execute(select(identifiers).where(key.in_(piece))):
            found.setdefault((row.agent, row.certificate), []).append(row.identifier)
    return found


def _add(connection: Connection, sums: Mapping[_Key, _Sum]) -> None:
    """To the rows that there are, or as new ones. One statement each, by the database's own numbers: several writers
    lose nothing."""
    for key, total in sorted(sums.items()):
        if not _increase(connection, key, total):
            day, _, kind, cause = key
            if _is_full(connection, day):
                key = (day, OTHER, kind, OTHER if cause else "")
                if _increase(connection, key, total):
                    continue
            connection.execute(insert(daily_sums).values(dict(zip(_KEY, key, strict=True)) | _values_of(total)))


_KEY = ("day", "zone", "kind", "cause")


def _increase(connection: Connection, key: _Key, total: _Sum) -> bool:
    """Whether there was such a row."""
    of_key = [daily_sums.c[name] == value for name, value in zip(_KEY, key, strict=True)]
    more = update(daily_sums).where(*of_key).values(number=daily_sums.c.number + total.number)
    if connection.execute(more).rowcount == 0:
        return False
    if total.least_left is not None:
        is_less = or_(daily_sums.c.least_left.is_(None), daily_sums.c.least_left > total.least_left)
        values = {name: value for name, value in _values_of(total).items() if name != "number"}
        connection.execute(update(daily_sums).where(*of_key, is_less).values(values))
    return True


def _values_of(total: _Sum) -> dict[str, Any]:
    return msgspec.structs.asdict(total)


def _is_full(connection: Connection, day: str) -> bool:
    rows = select(func.count()).select_from(daily_sums).where(daily_sums.c.day == day)
    return connection.execute(rows).scalar_one() >= _MOST_ROWS
