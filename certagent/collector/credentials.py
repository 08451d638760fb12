"""Tokens, client certificates, users and sessions: what is stored of each, and who is recognised by it.

A token is 256 random bits, shown once and stored as SHA-256. A password is stored as scrypt's hash. What is stored of a
session ("s"), of a certificate's identifier ("x") and of one certificate of it, by its fingerprint ("p"), begins with a
letter that no hexadecimal digit is, so that none can be passed off as another, or as a token.

The functions that take `url` work on the database itself, beside a running collector, and raise `StoreFailed`.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from certagent.collector.records import AuditAction, Author, Caller, KnownUser, Token, TokenRole
from certagent.collector.sql.audit_queries import append_entry, local_author
from certagent.collector.sql.claim_queries import bind
from certagent.collector.sql.database import writing
from certagent.collector.sql.schema import people, sessions, tokens
from certagent.collector.sql.statements import Transaction
from certagent.domain.claims import ClaimKind

AGENT_ROLES = (TokenRole.AGENT, TokenRole.AUTHORITY)
USER_ROLES = (TokenRole.OPERATOR, TokenRole.VIEWER)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MOST_VALID = 2  # the token in use, and the one that replaces it
_SHORTEST, _LONGEST = 12, 1_024  # characters of a password
_COST, _BLOCK, _LANES = 2**15, 8, 1  # 32 MiB and a twentieth of a second
_MEMORY = 64 * 1024 * 1024
_NO_HASH = (
    f"scrypt${_COST}${_BLOCK}${_LANES}${base64.b64encode(bytes(16)).decode()}${base64.b64encode(bytes(32)).decode()}"
)


_KINDS = {"x": "certificate", "p": "fingerprint"}  # by what their digests begin with
_IS_CERTIFICATE = tokens.c.digest.startswith("x") | tokens.c.digest.startswith("p")


class ValidTokens(msgspec.Struct, frozen=True):
    """The callers by the digests of all valid tokens. `revision` differs whenever a token was added or revoked."""

    revision: tuple[Any, ...] = ()
    callers: Mapping[str, Caller] = {}


def digest_of(secret: str) -> str:
    """What is stored of a token. Bytes that are no text come from a header as lone surrogates."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def session_digest_of(secret: str) -> str:
    """What is stored of a session."""
    return "s" + digest_of(secret)[:63]


def certificate_digest_of(identifier: str) -> str:
    """What is stored of a certificate's identifier."""
    return "x" + digest_of(identifier.lower())[:63]


def fingerprint_digest_of(certificate_digest: str, fingerprint: str) -> str:
    """What is stored of one certificate of an identifier: `certificate_digest` is the identifier's."""
    return "p" + digest_of(f"{certificate_digest} {fingerprint}")[:63]


def read_tokens(connection: Connection, known: ValidTokens) -> ValidTokens:
    """The valid tokens; `known` itself if nothing has changed since."""
    columns = (
        *(func.max(tokens.c.number), func.count(), func.count(tokens.c.revoked_at)),
        *(func.max(tokens.c.created_at), func.max(tokens.c.revoked_at)),
    )
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


def open_session(transaction: Transaction, author: Author, digest: str, expires_at: datetime) -> None:
    """Recognise the user by that session until then; expired ones are deleted."""
    transaction.connection.execute(delete(sessions).where(sessions.c.expires_at <= transaction.now))
    values = {"digest": digest, "person": author.name, "created_at": transaction.now, "expires_at": expires_at}
    transaction.connection.execute(insert(sessions).values(values))
    append_entry(transaction.connection, transaction.now, author, AuditAction.LOGIN)


def end_session(transaction: Transaction, author: Author, digest: str) -> None:
    """Recognise it no longer."""
    transaction.connection.execute(delete(sessions).where(sessions.c.digest == digest))
    append_entry(transaction.connection, transaction.now, author, AuditAction.LOGOUT)


def add_token(url: str, name: str, role: TokenRole, now: datetime) -> str:
    """A new token of that name: two are valid during a rotation. Raises ValueError."""
    secret = secrets.token_urlsafe(32)
    with writing(url) as connection:
        check_new_token(connection, name, role)
        insert_token(connection, name, role, secret, now)
        append_entry(connection, now, local_author(), AuditAction.TOKEN_ADDED, name, role=role)
    return secret


def check_new_token(connection: Connection, name: str, role: TokenRole) -> None:
    """Raises ValueError for a bad name, for one with as many valid tokens as it may have, or with another role."""
    _check_name(name)
    if len(_valid(connection, name)) >= _MOST_VALID:
        raise ValueError(f"{name} has {_MOST_VALID} valid tokens: revoke the older one first (--older)")
    _check_role(connection, name, role)


def insert_token(connection: Connection, name: str, role: TokenRole, secret: str, now: datetime) -> None:
    """Recognise the secret as that name's from now on."""
    _insert(connection, name, role, digest_of(secret), now)


def add_certificate(url: str, name: str, role: TokenRole, identifier: str, now: datetime) -> None:
    """Recognise as `name` whoever shows a verified certificate of that identifier. Raises ValueError."""
    _check_name(name)
    digest = certificate_digest_of(identifier)
    with writing(url) as connection:
        known = connection.execute(select(tokens).where(tokens.c.digest == digest)).one_or_none()
        if known is not None and known.revoked_at is None:
            raise ValueError(f"{identifier} already authenticates as {known.name}: revoke that first")
        _check_role(connection, name, role)
        _make_valid(connection, name, role, digest, now)
        detail = {"role": role, "certificate": identifier}
        append_entry(connection, now, local_author(), AuditAction.TOKEN_ADDED, name, **detail)


def bind_claims(url: str, names: Sequence[str], subjects: Iterable[tuple[ClaimKind, str]], now: datetime) -> None:
    """Let each of those identifiers and addresses be those nodes' alone; without names: nobody's by an operator's word.
    Raises ValueError for a name that has neither a valid token nor a certificate."""
    with writing(url) as connection:
        valid = select(tokens.c.name).where(tokens.c.name.in_(names), tokens.c.revoked_at.is_(None))
        if unknown := set(names) - set(connection.execute(valid).scalars()):
            raise ValueError(f"{', '.join(sorted(unknown))}: no valid token of that name")
        action = AuditAction.TOKEN_BOUND if names else AuditAction.TOKEN_UNBOUND
        for kind, subject in subjects:
            bind(connection, names, kind, subject, now)
            append_entry(connection, now, local_author(), action, subject, kind=kind, nodes=sorted(set(names)))


def bind_fingerprints(url: str, name: str, fingerprints: Sequence[str], now: datetime) -> None:
    """Of the certificates that speak as `name`, let only these do, whatever was bound before. Raises ValueError if no
    certificate does."""
    with writing(url) as connection:
        identities = _identities_of(connection, name)
        if not identities:
            raise ValueError(f"{name} has no certificate: certagent token add {name} --certificate IDENTIFIER")
        wanted = {fingerprint_digest_of(row.digest, one): row.role for row in identities for one in fingerprints}
        others = (tokens.c.name == name) & tokens.c.revoked_at.is_(None) & tokens.c.digest.not_in(wanted)
        connection.execute(update(tokens).where(others, _IS_CERTIFICATE).values(revoked_at=now))
        for digest, role in wanted.items():
            _make_valid(connection, name, TokenRole(role), digest, now)
        for fingerprint in fingerprints:
            detail = {"kind": "fingerprint", "nodes": [name]}
            append_entry(connection, now, local_author(), AuditAction.TOKEN_BOUND, fingerprint, **detail)


def unbind_fingerprints(url: str, fingerprints: Sequence[str], now: datetime) -> None:
    """Let no certificate of these fingerprints speak as anybody: its channel ends. Raises ValueError for one that is
    not bound."""
    with writing(url) as connection:
        identities = [row.digest for row in connection.execute(select(tokens).where(tokens.c.digest.startswith("x")))]
        for fingerprint in fingerprints:
            digests = [fingerprint_digest_of(digest, fingerprint) for digest in identities]
            bound = tokens.c.digest.in_(digests) & tokens.c.revoked_at.is_(None)
            names = sorted(connection.execute(select(tokens.c.name).where(bound)).scalars())
            if not names:
                raise ValueError(f"{fingerprint}: no such fingerprint is bound")
            connection.execute(update(tokens).where(bound).values(revoked_at=now))
            detail = {"kind": "fingerprint", "nodes": names}
            append_entry(connection, now, local_author(), AuditAction.TOKEN_UNBOUND, fingerprint, **detail)


def list_tokens(url: str) -> list[Token]:
    """All tokens that ever were, oldest first, without their secrets."""
    with writing(url) as connection:
        rows = connection.execute(select(tokens).order_by(tokens.c.number)).all()
    return [
        Token(
            kind=_KINDS.get(row.digest[0], "token"),
            name=row.name,
            role=TokenRole(row.role),
            created_at=row.created_at,
            revoked_at=row.revoked_at,
        )
        for row in rows
    ]


def revoke_tokens(url: str, name: str, now: datetime, *, older: bool = False) -> int:
    """Revoke all valid tokens of that name, or all but the newest; answers how many there were."""
    with writing(url) as connection:
        numbers = _valid(connection, name)[: -1 if older else None]
        connection.execute(update(tokens).where(tokens.c.number.in_(numbers)).values(revoked_at=now))
        count = len(numbers)
        if not older:
            rest = update(tokens).where(tokens.c.name == name, tokens.c.revoked_at.is_(None)).values(revoked_at=now)
            count += connection.execute(rest).rowcount
        if count:
            append_entry(connection, now, local_author(), AuditAction.TOKEN_REVOKED, name, revoked=count)
    return count


def hash_password(password: str) -> str:
    """`scrypt$n$r$p$salt$key`. Raises ValueError for one that is too short or too long."""
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise ValueError(f"a password must have {_SHORTEST} to {_LONGEST} characters")
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
            raise ValueError(f"{name} already exists")
        connection.execute(insert(people).values(name=name, role=role, password=hashed, created_at=now))
        append_entry(connection, now, local_author(), AuditAction.USER_ADDED, name, role=role)


def set_password(url: str, name: str, password: str) -> bool:
    """Change the password and end all sessions of the user; whether there is such a user. Raises ValueError."""
    hashed = hash_password(password)
    with writing(url) as connection:
        connection.execute(delete(sessions).where(sessions.c.person == name))
        changed = connection.execute(update(people).where(people.c.name == name).values(password=hashed)).rowcount == 1
        if changed:
            append_entry(connection, _now(), local_author(), AuditAction.USER_PASSWORD_CHANGED, name)
    return changed


def list_users(url: str) -> list[KnownUser]:
    """All users by name, without their hashes."""
    with writing(url) as connection:
        rows = connection.execute(select(people).order_by(people.c.name)).all()
    return [KnownUser(name=row.name, role=TokenRole(row.role), password="") for row in rows]


def remove_user(url: str, name: str) -> bool:
    """Delete the user and all sessions of theirs; whether there was one."""
    with writing(url) as connection:
        connection.execute(delete(sessions).where(sessions.c.person == name))
        removed = connection.execute(delete(people).where(people.c.name == name)).rowcount == 1
        if removed:
            append_entry(connection, _now(), local_author(), AuditAction.USER_REMOVED, name)
    return removed


def _now() -> datetime:
    return datetime.now(UTC)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r}: letters, digits, dot, dash and underscore only")


def _check_role(connection: Connection, name: str, role: TokenRole) -> None:
    """An agent has one role at a time: with two it would change with whoever speaks. Raises ValueError."""
    if role not in AGENT_ROLES:
        return
    query = select(tokens.c.role).where(tokens.c.name == name, tokens.c.revoked_at.is_(None))
    query = query.where(tokens.c.role.in_(AGENT_ROLES), tokens.c.role != role)
    other = connection.execute(query).scalar()
    if other is not None:
        raise ValueError(f"{name} has a valid token or certificate of the role {other}: revoke that first")


def _valid(connection: Connection, name: str) -> list[int]:
    """The name's valid tokens, the oldest first; certificates are none."""
    query = select(tokens.c.number).where(tokens.c.name == name, tokens.c.revoked_at.is_(None))
    return list(connection.execute(query.where(~_IS_CERTIFICATE).order_by(tokens.c.number)).scalars())


def _identities_of(connection: Connection, name: str) -> Sequence[Row[Any]]:
    """The identifiers of which a certificate speaks as `name`; where none does by its identifier alone any more, those
    that did until the latest change."""
    query = select(tokens).where(tokens.c.name == name, tokens.c.digest.startswith("x"))
    rows = connection.execute(query.order_by(tokens.c.number)).all()
    valid = [row for row in rows if row.revoked_at is None]
    latest = max((row.revoked_at for row in rows if row.revoked_at is not None), default=None)
    return valid or [row for row in rows if row.revoked_at == latest]


def _make_valid(connection: Connection, name: str, role: TokenRole, digest: str, now: datetime) -> None:
    """A row for that digest, or the one that there was."""
    values = {"name": name, "role": role, "created_at": now, "revoked_at": None}
    if connection.execute(update(tokens).where(tokens.c.digest == digest).values(values)).rowcount == 0:
        _insert(connection, name, role, digest, now)


def _insert(connection: Connection, name: str, role: TokenRole, digest: str, now: datetime) -> None:
    connection.execute(insert(tokens).values(name=name, role=role, digest=digest, created_at=now))


def _derive(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    typed = password.encode(errors="surrogatepass")
    return hashlib.scrypt(typed, salt=salt, n=cost, r=block, p=lanes, maxmem=_MEMORY, dklen=32)
