"""Tokens: 256 random bits, shown once, kept as SHA-256. Works on the database itself, beside a running collector.

An agent may show a certificate instead: then what is kept is which identifier speaks as whom. What is kept of a token,
a certificate and a session differs in its first letter, so that none can be passed off as another.
"""

import hashlib
import re
import secrets
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from certagent.collector.sql.database import writing
from certagent.collector.sql.schema import tokens
from certagent.collector.store import Token, TokenRole

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MOST_VALID = 2  # the one in use, and the one that replaces it


def digest_of(secret: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(secret.encode()).hexdigest()


def session_digest_of(secret: str) -> str:
    """What is kept of a session."""
    return "s" + digest_of(secret)[:63]


def certificate_digest_of(identifier: str) -> str:
    """What is kept of a certificate's identifier."""
    return "x" + digest_of(identifier.lower())[:63]


def check_name(name: str) -> None:
    """Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r}: letters, digits, dot, dash and underscore only")


def add_token(url: str, name: str, role: TokenRole, now: datetime) -> str:
    """A new token beside one that the name may have already: two are valid during a rotation. Raises ValueError."""
    check_name(name)
    secret = secrets.token_urlsafe(32)
    with writing(url) as connection:
        if len(_valid(connection, name)) >= _MOST_VALID:
            raise ValueError(f"{name} has {_MOST_VALID} valid tokens: revoke the older one first (--older)")
        _insert(connection, name, role, digest_of(secret), now)
    return secret


def add_certificate(url: str, name: str, role: TokenRole, identifier: str, now: datetime) -> None:
    """From now on, whoever shows a verified certificate of that identifier speaks as `name`. Raises ValueError."""
    check_name(name)
    digest = certificate_digest_of(identifier)
    with writing(url) as connection:
        known = connection.execute(select(tokens).where(tokens.c.digest == digest)).one_or_none()
        if known is not None and known.revoked_at is None:
            raise ValueError(f"{identifier} speaks as {known.name} already: revoke that first")
        if known is not None:
            values = {"name": name, "role": role, "created_at": now, "revoked_at": None}
            connection.execute(update(tokens).where(tokens.c.number == known.number).values(values))
        else:
            _insert(connection, name, role, digest, now)


def list_tokens(url: str) -> list[Token]:
    """All tokens that ever were, oldest first, without their secrets."""
    with writing(url) as connection:
        rows = connection.execute(select(tokens).order_by(tokens.c.number)).all()
    return [
        Token(name=row.name, role=TokenRole(row.role), created_at=row.created_at, revoked_at=row.revoked_at)
        for row in rows
    ]


def revoke_tokens(url: str, name: str, now: datetime, *, older: bool = False) -> int:
    """Revoke all valid tokens of that name, or all but the newest; answers how many there were."""
    with writing(url) as connection:
        numbers = _valid(connection, name)[: -1 if older else None]
        connection.execute(update(tokens).where(tokens.c.number.in_(numbers)).values(revoked_at=now))
        if not older:
            rest = update(tokens).where(tokens.c.name == name, tokens.c.revoked_at.is_(None)).values(revoked_at=now)
            return len(numbers) + connection.execute(rest).rowcount
    return len(numbers)


def _valid(connection: Connection, name: str) -> list[int]:
    """The name's valid tokens, the oldest first; certificates are none."""
    query = select(tokens.c.number).where(tokens.c.name == name, tokens.c.revoked_at.is_(None))
    query = query.where(~tokens.c.digest.startswith("x")).order_by(tokens.c.number)
    return list(connection.execute(query).scalars())


def _insert(connection: Connection, name: str, role: TokenRole, digest: str, now: datetime) -> None:
    connection.execute(insert(tokens).values(name=name, role=role, digest=digest, created_at=now))
