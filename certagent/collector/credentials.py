"""Tokens, client certificates, users and sessions: what is stored of each, and who is recognised by it.

A token is 256 random bits, shown once and stored as SHA-256. A password is stored as scrypt's hash. What is stored of a
token, a certificate and a session differs in its first letter, so that none can be passed off as another.

The functions that take `url` work on the database itself, beside a running collector, and raise `StoreFailed`.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from certagent.collector.records import Caller, KnownUser, Token, TokenRole
from certagent.collector.sql.database import writing
from certagent.collector.sql.schema import people, sessions, tokens
from certagent.collector.sql.statements import Transaction

USER_ROLES = (TokenRole.OPERATOR, TokenRole.VIEWER)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MOST_VALID = 2  # the token in use, and the one that replaces it
_SHORTEST, _LONGEST = 12, 1_024  # characters of a password
_COST, _BLOCK, _LANES = 2**15, 8, 1  # 32 MiB and a twentieth of a second
_MEMORY = 64 * 1024 * 1024
_NO_HASH = (
    f"scrypt${_COST}${_BLOCK}${_LANES}${base64.b64encode(bytes(16)).decode()}${base64.b64encode(bytes(32)).decode()}"
)


class ValidTokens(msgspec.Struct, frozen=True):
    """The callers by the digests of all valid tokens. `revision` differs whenever a token was added or revoked."""

    revision: tuple[Any, ...] = ()
    callers: Mapping[str, Caller] = {}


def digest_of(secret: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(secret.encode()).hexdigest()


def session_digest_of(secret: str) -> str:
    """What is stored of a session."""
    return "s" + digest_of(secret)[:63]


def certificate_digest_of(identifier: str) -> str:
    """What is stored of a certificate's identifier."""
    return "x" + digest_of(identifier.lower())[:63]


def read_tokens(connection: Connection, known: ValidTokens) -> ValidTokens:
    """The valid tokens; `known` itself if nothing has changed since."""
    columns = func.max(tokens.c.number), func.count(), func.count(tokens.c.revoked_at)
    revision = tuple(connection.execute(select(*columns).select_from(tokens)).one())
    if revision == known.revision:
        return known
    query = select(tokens.c.digest, tokens.c.name, tokens.c.role).where(tokens.c.revoked_at.is_(None))
    rows = connection.execute(query).all()
    return ValidTokens(revision, {digest: Caller(name, TokenRole(role)) for digest, name, role in rows})


def find_caller(connection: Connection, digest: str, now: datetime) -> Caller | None:
    """Whose valid token, certificate or session that is. A session has its user's present role."""
    valid = select(tokens.c.digest, tokens.c.name, tokens.c.role).where(tokens.c.revoked_at.is_(None))
    session = select(sessions.c.digest, people.c.name, people.c.role).join(people, people.c.name == sessions.c.person)
    for query in (
        valid.where(tokens.c.digest == digest),
        session.where(sessions.c.digest == digest, sessions.c.expires_at > now),
    ):
        row = connection.execute(query).one_or_none()
        if row is not None and hmac.compare_digest(row.digest, digest):
            return Caller(row.name, TokenRole(row.role))
    return None


def find_user(connection: Connection, name: str) -> KnownUser | None:
    """The user of that name, with the password's hash."""
    row = connection.execute(select(people).where(people.c.name == name)).one_or_none()
    return KnownUser(name=row.name, role=TokenRole(row.role), password=row.password) if row is not None else None


def open_session(transaction: Transaction, user: str, digest: str, expires_at: datetime) -> None:
    """Recognise the session until then; expired ones are deleted."""
    transaction.connection.execute(delete(sessions).where(sessions.c.expires_at <= transaction.now))
    values = {"digest": digest, "person": user, "created_at": transaction.now, "expires_at": expires_at}
    transaction.connection.execute(insert(sessions).values(values))


def end_session(transaction: Transaction, digest: str) -> None:
    """Recognise it no longer."""
    transaction.connection.execute(delete(sessions).where(sessions.c.digest == digest))


def add_token(url: str, name: str, role: TokenRole, now: datetime) -> str:
    """A new token of that name: two are valid during a rotation. Raises ValueError."""
    _check_name(name)
    secret = secrets.token_urlsafe(32)
    with writing(url) as connection:
        if len(_valid(connection, name)) >= _MOST_VALID:
            raise ValueError(f"{name} has {_MOST_VALID} valid tokens: revoke the older one first (--older)")
        _insert(connection, name, role, digest_of(secret), now)
    return secret


def add_certificate(url: str, name: str, role: TokenRole, identifier: str, now: datetime) -> None:
    """Recognise as `name` whoever shows a verified certificate of that identifier. Raises ValueError."""
    _check_name(name)
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


def hash_password(password: str) -> str:
    """`scrypt$n$r$p$salt$key`. Raises ValueError for one that is too short or too long."""
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise ValueError(f"a password has from {_SHORTEST} to {_LONGEST} characters")
    salt = secrets.token_bytes(16)
    key = _derive(password, salt, _COST, _BLOCK, _LANES)
    return f"scrypt${_COST}${_BLOCK}${_LANES}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


def is_password(password: str, stored: str | None) -> bool:
    """Whether it is the one that was hashed; takes as long for a user who does not exist (`stored` is None)."""
    _, cost, block, lanes, salt, key = (stored or _NO_HASH).split("$")
    derived = _derive(password[:_LONGEST], base64.b64decode(salt), int(cost), int(block), int(lanes))
    return hmac.compare_digest(derived, base64.b64decode(key)) and stored is not None


def add_user(url: str, name: str, role: TokenRole, password: str, now: datetime) -> None:
    """A new user. Raises ValueError: the name is taken or not allowed, the password too short."""
    _check_name(name)
    hashed = hash_password(password)
    with writing(url) as connection:
        if connection.execute(select(people.c.name).where(people.c.name == name)).first() is not None:
            raise ValueError(f"there is a {name} already")
        connection.execute(insert(people).values(name=name, role=role, password=hashed, created_at=now))


def set_password(url: str, name: str, password: str) -> bool:
    """Change the password and end all sessions of the user; whether there is such a user. Raises ValueError."""
    hashed = hash_password(password)
    with writing(url) as connection:
        connection.execute(delete(sessions).where(sessions.c.person == name))
        return connection.execute(update(people).where(people.c.name == name).values(password=hashed)).rowcount == 1


def list_users(url: str) -> list[KnownUser]:
    """All users by name, without their hashes."""
    with writing(url) as connection:
        rows = connection.execute(select(people).order_by(people.c.name)).all()
    return [KnownUser(name=row.name, role=TokenRole(row.role), password="") for row in rows]


def remove_user(url: str, name: str) -> bool:
    """Delete the user and all sessions of theirs; whether there was one."""
    with writing(url) as connection:
        connection.execute(delete(sessions).where(sessions.c.person == name))
        return connection.execute(delete(people).where(people.c.name == name)).rowcount == 1


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r}: letters, digits, dot, dash and underscore only")


def _valid(connection: Connection, name: str) -> list[int]:
    """The name's valid tokens, the oldest first; certificates are none."""
    query = select(tokens.c.number).where(tokens.c.name == name, tokens.c.revoked_at.is_(None))
    query = query.where(~tokens.c.digest.startswith("x")).order_by(tokens.c.number)
    return list(connection.execute(query).scalars())


def _insert(connection: Connection, name: str, role: TokenRole, digest: str, now: datetime) -> None:
    connection.execute(insert(tokens).values(name=name, role=role, digest=digest, created_at=now))


def _derive(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=lanes, maxmem=_MEMORY, dklen=32)
