"""Asking for a rehearsal: plant here, have somebody beside the CA fetch it. Planting is never remote."""

import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Protocol

import aiohttp
import msgspec

from certagent.domain.ports import Clock
from certagent.domain.rehearsals import (
    REHEARSAL_MARK,
    Rehearsal,
    RehearsalOutcome,
    RehearsalRequest,
    digest_for,
)
from certagent.system.pinned_http import PinnedClient

ANSWER_SECONDS = 38.0  # the fetch as long as the CA's own, and the way there and back

Ask = Callable[[RehearsalRequest], Awaitable[Rehearsal]]


class Plantable(Protocol):
    """A responder that can show the body of a rehearsal in place of a key authorization."""

    challenge_type: str

    def rehearsed(self, token: str) -> str:
        """What that token is to be answered with: as a rule the body that is planted for it."""
        ...

    async def show(self, request: RehearsalRequest, body: str) -> None:
        """Show `body` for the request's token and identifier, for `LONGEST_PLANTING_SECONDS` at most."""
        ...

    async def withdraw(self, request: RehearsalRequest) -> None:
        """Show it no longer."""
        ...


@asynccontextmanager
async def planted(responder: Plantable, identifier: str) -> AsyncIterator[RehearsalRequest]:
    """A fresh token in the responder, withdrawn at the end; yields what to ask for."""
    token = REHEARSAL_MARK + secrets.token_urlsafe(32)
    body = responder.rehearsed(token)
    digest = hashlib.sha256(body.encode()).hexdigest()
    request = RehearsalRequest(identifier=identifier, challenge=responder.challenge_type, token=token, digest=digest)
    try:
        await responder.show(request, body)
        yield request
    finally:
        await responder.withdraw(request)


def unplanted(identifier: str, challenge: str) -> RehearsalRequest:
    """What to ask where somebody else answers the challenges: how far the way leads. Nothing is shown anywhere."""
    token = secrets.token_urlsafe(32)
    return RehearsalRequest(
        identifier=identifier, challenge=challenge, token=token, digest=digest_for(token), planted=False
    )


def through_collector(client: PinnedClient, clock: Clock) -> Ask:
    """Asks the collector, which asks the agent beside the CA; every failure is an unavailable rehearsal."""

    async def ask(request: RehearsalRequest) -> Rehearsal:
        try:
            status, body = await client.request(
                "POST",
                "/v1/rehearsals",
                timeout=ANSWER_SECONDS,
                data=msgspec.json.encode(request),
                headers={"Content-Type": "application/json"},
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            return unavailable(request, clock.now(), f"the collector cannot be reached: {error}")
        if status != 200:
            return unavailable(request, clock.now(), f"the collector answered {status}: {_detail(body)}")
        try:
            return _decode_rehearsal(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return unavailable(request, clock.now(), f"the collector's answer cannot be read: {error}")

    return ask


_decode_rehearsal = msgspec.json.Decoder(Rehearsal).decode


class _Problem(msgspec.Struct):
    """RFC 9457, as much of it as is shown."""

    detail: str = ""


def _detail(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Problem).detail
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "without a reason"


def unavailable(request: RehearsalRequest, at: datetime, reason: str) -> Rehearsal:
    """No rehearsal was to be had, and why."""
    return Rehearsal(
        identifier=request.identifier,
        challenge=request.challenge,
        outcome=RehearsalOutcome.UNAVAILABLE,
        at=at,
        reason=reason,
    )
