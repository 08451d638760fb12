"""Who is recognised by what: tokens, certificates, people and their sessions."""

import hmac
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from certagent.collector.sql.schema import people, sessions, tokens
from certagent.collector.store import Caller, KnownUser, TokenRole


def list_callers(connection: Connection) -> dict[str, Caller]:
    """See `Store.callers`."""
    query = select(tokens.c.digest, tokens.c.name, tokens.c.role).where(tokens.c.revoked_at.is_(None))
    return {digest: Caller(name, TokenRole(role)) for digest, name, role in connection.execute(query).all()}


def token_revision(connection: Connection) -> tuple[Any, ...]:
    """Differs whenever a token was added or revoked."""
    edition = select(func.max(tokens.c.number), func.count(), func.count(tokens.c.revoked_at))
    return tuple(connection.execute(edition.select_from(tokens)).one())


def find_caller(connection: Connection, digest: str, now: datetime) -> Caller | None:
    """See `Store.caller`. A role belongs to the person, not to the session: it is read anew each time."""
    kept = select(tokens.c.digest, tokens.c.name, tokens.c.role).where(tokens.c.revoked_at.is_(None))
    session = select(sessions.c.digest, people.c.name, people.c.role).join(people, people.c.name == sessions.c.person)
    for query in (
        kept.where(tokens.c.digest == digest),
        session.where(sessions.c.digest == digest, sessions.c.expires_at > now),
    ):
        row = connection.execute(query).one_or_none()
        if row is not None and hmac.compare_digest(row.digest, digest):
            return Caller(row.name, TokenRole(row.role))
    return None


def find_user(connection: Connection, name: str) -> KnownUser | None:
    """See `Store.person`."""
    row = connection.execute(select(people).where(people.c.name == name)).one_or_none()
    return KnownUser(name=row.name, role=TokenRole(row.role), password=row.password) if row is not None else None


def open_session(connection: Connection, person: str, digest: str, now: datetime, expires_at: datetime) -> None:
    """See `Store.open_session`."""
    connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
    values = {"digest": digest, "person": person, "created_at": now, "expires_at": expires_at}
    connection.execute(insert(sessions).values(values))


def end_session(connection: Connection, digest: str) -> None:
    """See `Store.end_session`."""
    connection.execute(delete(sessions).where(sessions.c.digest == digest))
