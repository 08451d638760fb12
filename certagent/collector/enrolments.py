"""Enrolments: a secret that is good once, for a few minutes, for one name, and is exchanged for that name's token.

It is stored as SHA-256, like a token. Everything about it is in the audit: who made it, who used it, and who came with
one that is used, over, of another name or unknown.
"""

import logging
import math
import secrets
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec
from aiohttp import web
from sqlalchemy import Connection, Row, delete, insert, select, update

from certagent.collector.access import HttpProblem, Route, json_response
from certagent.collector.bodies import Bodies
from certagent.collector.credentials import check_new_token, digest_of, insert_token
from certagent.collector.records import AuditAction, Author, TokenRole
from certagent.collector.sql.audit_queries import append_entry, append_refused_enrolment, local_author
from certagent.collector.sql.database import writing
from certagent.collector.sql.schema import enrolments, tokens
from certagent.collector.sql.statements import Transaction, text_of
from certagent.collector.store import Store
from certagent.domain.enrolment import VALID_FOR, Enrolment, Reuse
from certagent.domain.ports import Clock
from certagent.domain.rate_limiter import RateLimiter, network_of

log = logging.getLogger(__name__)

_KEPT_FOR = timedelta(days=30)  # so that a use after the first one is known for what it is
_TRIES, _TRY_EVERY = 10, timedelta(seconds=6)  # of one address
_decode = msgspec.json.Decoder(Enrolment).decode
_BROUGHT = (tokens.c.name == enrolments.c.name) & (tokens.c.created_at == enrolments.c.used_at)
_REUSED = (
    select(enrolments).join(tokens, _BROUGHT & tokens.c.revoked_at.is_(None)).where(enrolments.c.reused_at.is_not(None))
)


class Refusal(StrEnum):
    """Why a secret is exchanged for nothing."""

    UNKNOWN = "unknown"
    USED = "used"
    EXPIRED = "expired"
    TOKENS = "tokens"
    """The name has as many valid tokens as it may have, or another role, by now."""


_SENTENCES = {
    Refusal.UNKNOWN: "no such enrolment",
    Refusal.USED: "this enrolment has already been used: unless that was you, revoke the token (certagent token "
    "revoke)",
    Refusal.EXPIRED: "this enrolment has expired: create another one (certagent enrol NAME)",
    Refusal.TOKENS: "this name now has another role, or two valid tokens: revoke one (certagent token revoke)",
}


def add_enrolment(url: str, enrolment: Enrolment, now: datetime) -> tuple[str, datetime]:
    """(the secret, until when it is good) of a new enrolment, in place of an unused one of that name. Raises ValueError
    for a name that cannot have another token of that role, `StoreFailed`."""
    secret, expires_at = secrets.token_urlsafe(32), now + VALID_FOR
    with writing(url) as connection:
        check_new_token(connection, enrolment.name, TokenRole(enrolment.role))
        is_replaced = (enrolments.c.name == enrolment.name) & enrolments.c.used_at.is_(None)
        connection.execute(delete(enrolments).where(is_replaced | (enrolments.c.expires_at < now - _KEPT_FOR)))
        row = {
            "digest": digest_of(secret),
            "name": enrolment.name,
            "document": text_of(enrolment),
            "expires_at": expires_at,
        }
        connection.execute(insert(enrolments).values(row))
        append_entry(connection, now, local_author(), AuditAction.ENROLMENT_ADDED, enrolment.name, role=enrolment.role)
    return secret, expires_at


def redeem(transaction: Transaction, name: str, secret: str, address: str) -> Enrolment | Refusal:
    """The name's new token, in exchange for the secret, which is used up with that; or why not, which is noted."""
    connection, now = transaction.connection, transaction.now
    row = connection.execute(select(enrolments).where(enrolments.c.digest == digest_of(secret))).one_or_none()
    refusal = _refusal_of(connection, row, name, now)
    if row is None or refusal is not None:
        reason = refusal or Refusal.UNKNOWN
        first_use = {"used_at": row.used_at, "used_from": row.used_from} if row is not None and row.used_at else {}
        append_refused_enrolment(transaction, row.name if row is not None else None, address, reason, **first_use)
        if row is not None and reason is Refusal.USED:
            again = {"reused_at": now, "reused_from": address[:64]}
            connection.execute(update(enrolments).where(enrolments.c.digest == row.digest).values(again))
        return reason
    enrolment, token = _decode(row.document), secrets.token_urlsafe(32)
    used = {"used_at": now, "used_from": address[:64]}
    connection.execute(update(enrolments).where(enrolments.c.digest == row.digest).values(used))
    name, role = enrolment.name, TokenRole(enrolment.role)
    insert_token(connection, name, role, token, now)  # `find_reuses` knows it by the instant
    append_entry(connection, now, Author(name, address), AuditAction.ENROLMENT_USED, name, role=role)
    return msgspec.structs.replace(enrolment, token=token)


def find_reuses(connection: Connection) -> tuple[Reuse, ...]:
    """The lines that were used again, as long as the token that the first use brought is valid."""
    rows = {row.digest: row for row in connection.execute(_REUSED)}
    return tuple(
        Reuse(node=row.name, used_from=row.used_from, reused_from=row.reused_from, reused_at=row.reused_at)
        for row in rows.values()
    )


def _refusal_of(
    connection: Connection, row: Row[tuple[object, ...]] | None, name: str, now: datetime
) -> Refusal | None:
    if row is None or row.name != name:
        return Refusal.UNKNOWN
    if row.used_at is not None:
        return Refusal.USED
    if row.expires_at <= now:
        return Refusal.EXPIRED
    try:
        check_new_token(connection, name, TokenRole(_decode(row.document).role))
    except ValueError:
        return Refusal.TOKENS
    return None


class Enrolments:
    """The handler of the exchange: open to everybody who has the secret, bounded for everybody else."""

    def __init__(self, store: Store, bodies: Bodies, clock: Clock) -> None:
        self._store = store
        self._bodies = bodies
        self._by_address = RateLimiter(clock, burst=_TRIES, every=_TRY_EVERY)

    def routes(self) -> tuple[Route, ...]:
        """Without a credential: the agent is about to get one."""
        return (Route("POST", "/v1/enrolments", self.enrol, None),)

    async def enrol(self, request: web.Request) -> web.Response:
        """A token for `name` and `secret`. Raises `HttpProblem` 403, 429, and what forms raise."""
        address = request.remote or ""
        if (wait := self._by_address.take(network_of(address))) > 0:  # before anything is read
            headers = {"Retry-After": str(math.ceil(wait)), "Connection": "close"}
            raise HttpProblem(429, "Too Many Requests", f"too many attempts: wait {math.ceil(wait)} s", headers=headers)
        form = await self._bodies.form_of(request)
        answer = await self._store.write(redeem, form.get("name", "")[:128], form.get("secret", "")[:128], address)
        if isinstance(answer, Refusal):
            log.warning("an enrolment from %s was refused (%s); the audit log counts further ones", address, answer)
            raise HttpProblem(403, "Forbidden", _SENTENCES[answer], reason=answer)
        log.info("%s was enrolled from %s", answer.name, address)
        return json_response(answer)
