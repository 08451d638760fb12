"""The audit: what people and tokens did. Entries are appended, and deleted by age; none is ever changed.

What strangers and agents can cause is bounded: more of the same within an hour is counted beside the first entry, and
what is too much of different things becomes one entry with a count.
"""

import socket
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from certagent.collector.records import AuditAction, AuditEntry, Author, Page
from certagent.collector.sql.api_queries import cursor_of, page_of
from certagent.collector.sql.incident_writer import acknowledge_incident
from certagent.collector.sql.schema import audit, audit_repeats
from certagent.collector.sql.statements import MOST_PRUNED, Transaction, delete_by, text_of
from certagent.domain.incidents import Incident
from certagent.domain.reports import FixEvent
from certagent.system.invoker import invoking_user

_WINDOW = timedelta(hours=1)
_MOST_FAILED_LOGINS = 20  # entries within the window, of all addresses together
_MOST_FIXES = 20  # of one node
_SEVERAL = "several"
_LONGEST = {"who": 128, "origin": 256, "subject": 256}  # characters, as the columns

_decode_detail = msgspec.json.Decoder(dict[str, Any]).decode


def local_author() -> Author:
    """Whoever runs this command on the collector's node."""
    return Author(invoking_user(), f"command on {socket.gethostname()}")


def append_entry(
    connection: Connection,
    now: datetime,
    author: Author,
    action: AuditAction,
    subject: str | None = None,
    **detail: object,
) -> None:
    """Add what the author did, and to what."""
    row = {"at": now, "action": action, "detail": text_of(detail)}
    words = {"who": author.name, "origin": author.origin, "subject": subject}
    connection.execute(insert(audit).values(row | {name: _bounded(name, word) for name, word in words.items()}))


def append_failed_login(transaction: Transaction, user: str | None, address: str) -> bool:
    """Add or count a login that failed; whether an entry was added. `user`: only one that there is: whatever else was
    typed may be a password."""
    return _append_or_count(transaction, Author(user or "", address), AuditAction.LOGIN_FAILED)


def append_refused_enrolment(
    transaction: Transaction, name: str | None, address: str, reason: str, **detail: object
) -> bool:
    """Add or count an enrolment that is refused, likewise. `name`: only that of an enrolment that there is."""
    said = {"reason": reason, **detail}
    return _append_or_count(transaction, Author(name or "", address), AuditAction.ENROLMENT_REFUSED, name, **said)


def _append_or_count(
    transaction: Transaction, author: Author, action: AuditAction, subject: str | None = None, **detail: object
) -> bool:
    """What strangers can cause: of each author once within the window, and of few authors."""
    connection, now = transaction.connection, transaction.now
    recent = select(audit.c.number, audit.c.who, audit.c.origin).where(
        audit.c.action == action, audit.c.at > now - _WINDOW
    )
    entries = {(row.who, row.origin): row.number for row in connection.execute(recent)}
    author = Author(author.name, author.origin[: _LONGEST["origin"]])
    is_stranger = not author.name or action is AuditAction.LOGIN_FAILED
    if (author.name, author.origin) not in entries and len(entries) >= _MOST_FAILED_LOGINS and is_stranger:
        author = Author("", _SEVERAL)
    number = entries.get((author.name, author.origin))
    if number is None:
        append_entry(connection, now, author, action, subject, **detail)
    else:
        _count_repeat(connection, number, now)
    return number is None


def append_fixes(transaction: Transaction, reported: Iterable[tuple[str, FixEvent]]) -> None:
    """Add the fixes that nodes' agents report, each once. Who ran them is the agent's word, and shown as such."""
    connection, now = transaction.connection, transaction.now
    for node, event in reported:
        action = AuditAction.FIX_UNDONE if event.is_undone else AuditAction.FIX_APPLIED
        of_node = (audit.c.action == action) & (audit.c.who == node)
        known = select(audit.c.number).where(of_node, audit.c.subject == event.id).limit(1)
        if connection.execute(known).first() is not None:
            continue
        recent = select(audit.c.number).where(of_node, audit.c.at > now - _WINDOW).order_by(audit.c.number.desc())
        numbers = list(connection.execute(recent.limit(_MOST_FIXES)).scalars())
        if len(numbers) >= _MOST_FIXES:
            _count_repeat(connection, numbers[0], now)
            continue
        said = {"files": event.files, "incident": event.incident, "by": event.by, "at": event.at}
        append_entry(connection, now, Author(node, f"report of the agent {node}"), action, event.id, **said)


def acknowledge(transaction: Transaction, identity: str, author: Author) -> Incident | None:
    """Put the author's name on an open incident; None if there is no such incident."""
    changed_before = len(transaction.incidents)
    incident = acknowledge_incident(transaction, identity, author.name)
    if len(transaction.incidents) > changed_before:
        append_entry(transaction.connection, transaction.now, author, AuditAction.INCIDENT_ACKNOWLEDGED, identity)
    return incident


def append_policy(transaction: Transaction, collector: str, digest: str, changed: Mapping[str, object]) -> None:
    """Add the policy that this collector works by, unless it is the one that it worked by before.

    `changed`: what differs from the default policy, by key path."""
    latest = select(audit.c.subject).where(audit.c.action == AuditAction.POLICY_IN_FORCE, audit.c.who == collector)
    latest = latest.order_by(audit.c.number.desc()).limit(1)
    if transaction.connection.execute(latest).scalar() != digest:
        author = Author(collector, f"start of the collector on {collector}")
        append_entry(
            transaction.connection, transaction.now, author, AuditAction.POLICY_IN_FORCE, digest, changed=changed
        )


def list_audit(
    connection: Connection, after: str | None, limit: int, *, action: str | None = None, who: str | None = None
) -> Page:
    """`AuditEntry`s, the latest first."""
    query = select(audit, audit_repeats.c["count"].label("repeats"), audit_repeats.c.last_at)
    query = query.outerjoin(audit_repeats, audit_repeats.c.entry == audit.c.number).order_by(audit.c.number.desc())
    if action is not None:
        query = query.where(audit.c.action == action)
    if who is not None:
        query = query.where(audit.c.who == who)
    if after is not None:
        query = query.where(audit.c.number < cursor_of(after, int)[0])
    return page_of(connection, query, limit, _read_entry, lambda row: (row.number,))


def prune_audit(transaction: Transaction, before: datetime) -> int:
    """Delete entries that are older; answers how many: less than `MOST_PRUNED` means all."""
    old = select(audit.c.number).where(audit.c.at < before).order_by(audit.c.at).limit(MOST_PRUNED)
    numbers = list(transaction.connection.execute(old).scalars())
    delete_by(transaction.connection, audit_repeats, [{"entry": number} for number in numbers])
    if numbers:
        one = delete(audit).where(audit.c.number == bindparam("old"))
        transaction.connection.execute(one, [{"old": number} for number in numbers])
    return len(numbers)


def take_entries(connection: Connection) -> list[dict[str, Any]]:
    """Take all entries out of a store that a backup is about to fill: what happened in it stays told, by
    `put_entries`, after what the backup holds."""
    rows = [
        dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
        for row in connection.execute(
            select(audit, audit_repeats.c["count"].label("repeats"), audit_repeats.c.last_at)
            .outerjoin(audit_repeats, audit_repeats.c.entry == audit.c.number)
            .order_by(audit.c.number)
        )
    ]
    for table in (audit_repeats, audit):
        connection.execute(delete(table))
    return rows


def put_entries(connection: Connection, rows: Iterable[dict[str, Any]]) -> None:
    """Append them again, under numbers of their own."""
    for row in rows:
        entry = {name: row[name] for name in ("at", "action", "who", "origin", "subject", "detail")}
        number = connection.execute(insert(audit).values(entry).returning(audit.c.number)).scalar_one()
        if row["repeats"] is not None:
            repeats = {"entry": number, "count": row["repeats"], "last_at": row["last_at"]}
            connection.execute(insert(audit_repeats).values(repeats))


def _count_repeat(connection: Connection, number: int, now: datetime) -> None:
    more = update(audit_repeats).where(audit_repeats.c.entry == number)
    if connection.execute(more.values(count=audit_repeats.c["count"] + 1, last_at=now)).rowcount == 0:
        connection.execute(insert(audit_repeats).values(entry=number, count=1, last_at=now))


def _read_entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        at=row.at,
        action=row.action,
        who=row.who,
        origin=row.origin,
        subject=row.subject,
        detail=_decode_detail(row.detail),
        count=1 + (row.repeats or 0),
        last_at=row.last_at or row.at,
    )


def _bounded(name: str, word: str | None) -> str | None:
    """As long as the column, and one line."""
    if word is None:
        return None
    return "".join(character if character.isprintable() else " " for character in word[: _LONGEST[name]])
