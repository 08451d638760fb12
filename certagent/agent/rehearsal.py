"""Asking for a rehearsal: plant here, have somebody beside the CA fetch it. Planting is never remote."""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

import aiohttp
import msgspec

from certagent.domain.ports import Clock
from certagent.domain.rehearsals import (
    LONGEST_PLANTING_SECONDS,
    Rehearsal,
    RehearsalOutcome,
    RehearsalRequest,
    body_for,
)
from certagent.world.pinned import PinnedClient

ANSWER_SECONDS = 12.0

Ask = Callable[[RehearsalRequest], Awaitable[Rehearsal]]


class Plantable(Protocol):
    """A responder that serves planted bodies under the challenge path."""

    def plant(self, token: str, body: str, seconds: float) -> None:
        """Serve `body` for `token`, for that long at most."""
        ...

    def remove(self, token: str) -> None:
        """Serve it no longer."""
        ...


@contextmanager
def planted(responder: Plantable, identifier: str) -> Iterator[RehearsalRequest]:
    """A fresh token in the responder, removed at the end; yields what to ask for."""
    token = secrets.token_urlsafe(32)
    body = body_for(token)
    responder.plant(token, body, LONGEST_PLANTING_SECONDS)
    try:
        yield RehearsalRequest(identifier=identifier, token=token, digest=hashlib.sha256(body.encode()).hexdigest())
    finally:
        responder.remove(token)


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
            return unavailable(request.identifier, clock.now(), f"the collector cannot be reached: {error}")
        if status != 200:
            return unavailable(request.identifier, clock.now(), f"the collector answered {status}: {_detail(body)}")
        return msgspec.json.decode(body, type=Rehearsal)

    return ask


class _Problem(msgspec.Struct):
    """RFC 9457, as much of it as is shown."""

    detail: str = ""


def _detail(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Problem).detail
    except msgspec.MsgspecError:
        return "without a reason"


def unavailable(identifier: str, at: datetime, reason: str) -> Rehearsal:
    """No rehearsal was to be had, and why."""
    return Rehearsal(identifier=identifier, outcome=RehearsalOutcome.UNAVAILABLE, at=at, reason=reason)
