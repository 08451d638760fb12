"""Tokens: 256 random bits, shown once, kept as SHA-256. Works on the database itself, beside a running collector."""

import hashlib
import re
import secrets
from datetime import datetime

from sqlalchemy import insert, select, update

from certagent.collector.sql.database import writing
from certagent.collector.sql.schema import tokens
from certagent.collector.store import Token, TokenRole

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def digest_of(secret: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(secret.encode()).hexdigest()


def add_token(url: str, name: str, role: TokenRole, now: datetime) -> str:
    """A new token, beside any that the name has already: two are valid during a rotation. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r}: letters, digits, dot, dash and underscore only")
    secret = secrets.token_urlsafe(32)
    with writing(url) as connection:
        connection.execute(insert(tokens).values(name=name, role=role, digest=digest_of(secret), created_at=now))
    return secret


def list_tokens(url: str) -> list[Token]:
    """All tokens that ever were, oldest first, without their secrets."""
    with writing(url) as connection:
        rows = connection.execute(select(tokens).order_by(tokens.c.number)).all()
    return [
        Token(name=row.name, role=TokenRole(row.role), created_at=row.created_at, revoked_at=row.revoked_at)
        for row in rows
    ]


def revoke_tokens(url: str, name: str, now: datetime) -> int:
    """Revoke all valid tokens of that name; answers how many there were."""
    statement = update(tokens).where(tokens.c.name == name, tokens.c.revoked_at.is_(None)).values(revoked_at=now)
    with writing(url) as connection:
        return connection.execute(statement).rowcount
