"""People: a name, a role, a password kept as scrypt's hash. Works on the database, beside a running collector."""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime

from sqlalchemy import delete, insert, select, update

from certagent.collector.sql.database import writing
from certagent.collector.sql.schema import people, sessions
from certagent.collector.store import KnownUser, TokenRole
from certagent.collector.tokens import check_name

ROLES = (TokenRole.OPERATOR, TokenRole.VIEWER)
_SHORTEST, _LONGEST = 12, 1_024
_COST, _BLOCK, _LANES = 2**15, 8, 1  # 32 MiB and a twentieth of a second
_MEMORY = 64 * 1024 * 1024
_NOBODY = (
    f"scrypt${_COST}${_BLOCK}${_LANES}${base64.b64encode(bytes(16)).decode()}${base64.b64encode(bytes(32)).decode()}"
)


def hash_password(password: str) -> str:
    """`scrypt$n$r$p$salt$key`. Raises ValueError for one that is too short or too long."""
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise ValueError(f"a password has from {_SHORTEST} to {_LONGEST} characters")
    salt = secrets.token_bytes(16)
    key = _derive(password, salt, _COST, _BLOCK, _LANES)
    return f"scrypt${_COST}${_BLOCK}${_LANES}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


def is_password(password: str, kept: str | None) -> bool:
    """Whether it is the one that was hashed; takes as long for a person who does not exist (`kept` is None)."""
    _, cost, block, lanes, salt, key = (kept or _NOBODY).split("$")
    derived = _derive(password[:_LONGEST], base64.b64decode(salt), int(cost), int(block), int(lanes))
    return hmac.compare_digest(derived, base64.b64decode(key)) and kept is not None


def add_user(url: str, name: str, role: TokenRole, password: str, now: datetime) -> None:
    """A new person. Raises ValueError: the name is taken or not one, the password too short."""
    check_name(name)
    kept = hash_password(password)
    with writing(url) as connection:
        if connection.execute(select(people.c.name).where(people.c.name == name)).first() is not None:
            raise ValueError(f"there is a {name} already")
        connection.execute(insert(people).values(name=name, role=role, password=kept, created_at=now))


def set_password(url: str, name: str, password: str) -> bool:
    """Another password; all sessions of the person end. Whether there is such a person. Raises ValueError."""
    kept = hash_password(password)
    with writing(url) as connection:
        connection.execute(delete(sessions).where(sessions.c.person == name))
        return connection.execute(update(people).where(people.c.name == name).values(password=kept)).rowcount == 1


def list_users(url: str) -> list[KnownUser]:
    """All of them by name; their hashes stay where they are."""
    with writing(url) as connection:
        rows = connection.execute(select(people).order_by(people.c.name)).all()
    return [KnownUser(name=row.name, role=TokenRole(row.role), password="") for row in rows]


def remove_user(url: str, name: str) -> bool:
    """The person and all sessions are gone. Whether there was one."""
    with writing(url) as connection:
        connection.execute(delete(sessions).where(sessions.c.person == name))
        return connection.execute(delete(people).where(people.c.name == name)).rowcount == 1


def _derive(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=lanes, maxmem=_MEMORY, dklen=32)
