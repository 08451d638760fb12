"""The agent links: WebSockets that agents keep open. Which agents are connected, what they are asked, their answers.

An agent is asked to rehearse (the one beside the CA) and to judge again; nothing else.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from certagent.collector.access import HttpProblem
from certagent.collector.records import Caller, StoreFailed, TokenRole
from certagent.collector.sql.fleet_queries import find_identifiers, find_owners, find_peer_findings
from certagent.collector.sql.ingest import store_rehearsals
from certagent.collector.store import Store
from certagent.domain.catalogue import Trait, has_trait
from certagent.domain.findings import redact
from certagent.domain.link_messages import (
    Answer,
    Ask,
    JudgeAgain,
    Refused,
    Rehearse,
    Rehearsed,
    decode_answer,
    encode,
)
from certagent.domain.path_trace import addresses_met
from certagent.domain.ports import Clock
from certagent.domain.rate_limiter import RateLimiter
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome, RehearsalRequest

log = logging.getLogger(__name__)

LARGEST_ANSWER = 1024 * 1024
CLOSE_SECONDS = 1.0  # for the agent's closing frame
LONGEST_WAIT_SECONDS = 36.0
_PING_SECONDS = 30.0
_AUTHORITY_PING_SECONDS = 5.0  # all rehearsals wait for it: that it is gone has to be known soon
_SEND_SECONDS = 5.0
_RECONNECT_SECONDS = 3.0  # for so long an authority that was lost is waited for
_BURST, _EVERY = 200, timedelta(milliseconds=50)  # rehearsals of one caller
_SENDS_AT_ONCE = 64
_STOPPING = b"the collector ends"


def ping_seconds_for(caller: Caller) -> float:
    """Seconds between two pings; a link without an answer after half of that is closed."""
    return _AUTHORITY_PING_SECONDS if caller.role is TokenRole.AUTHORITY else _PING_SECONDS


class LinkClosed(Exception):
    """The agent is not connected, or its link closed before the answer came."""


class AgentLink:
    """One agent's open link."""

    def __init__(self, caller: Caller, socket: web.WebSocketResponse, is_valid: Callable[[], Awaitable[bool]]) -> None:
        self.caller = caller
        self.socket = socket
        self._is_valid = is_valid
        self._awaited: dict[str, asyncio.Future[Answer]] = {}

    async def ask(self, question: Ask) -> Answer:
        """The answer to the question. Raises `LinkClosed`; bound it with a timeout."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._awaited[question.id] = future
        try:
            await self.send(question)
            return await future
        finally:
            del self._awaited[question.id]

    async def send(self, question: Ask) -> None:
        """Send the question; its answer is only logged. Raises `LinkClosed`, also when the token was revoked."""
        if not await self._check():
            raise LinkClosed(self.caller.name)
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await self.socket.send_str(encode(question).decode())
        except (ConnectionError, TimeoutError) as error:
            raise LinkClosed(self.caller.name) from error

    async def listen(self, seconds: float | None = None) -> None:
        """Take answers until the link closes, the agent sends anything else, its token is revoked, or `seconds` have
        passed: then the certificate that opened it has expired."""
        try:
            async with asyncio.timeout(seconds):
                await self._take_answers()
        except TimeoutError:
            log.info("the certificate of %s expired", self.caller.name)
            await self.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"the certificate expired")

    def close_questions(self) -> None:
        """The link is gone: nobody will answer."""
        for future in self._awaited.values():
            if not future.done():
                future.set_exception(LinkClosed(self.caller.name))

    async def _take_answers(self) -> None:
        with suppress(ConnectionError):  # of a pong that aiohttp sends by itself, when the connection has just broken
            async for message in self.socket:
                if message.type is not WSMsgType.TEXT or not await self._check():
                    break
                try:
                    self._receive(decode_answer(redact(message.data)))  # an older agent may not have redacted it
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    log.warning("%s sent an invalid answer: %s", self.caller.name, error)
                    await self.socket.close(code=WSCloseCode.INVALID_TEXT, message=b"not an answer")

    async def _check(self) -> bool:
        if await self._is_valid():
            return True
        log.info("the token of %s was revoked", self.caller.name)
        await self.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"the token was revoked")
        return False

    def _receive(self, answer: Answer) -> None:
        future = self._awaited.get(answer.id)
        if future is not None and not future.done():
            future.set_result(answer)
        elif isinstance(answer, Refused):
            log.warning("%s refused %s: %s", self.caller.name, answer.id, answer.reason)


class AgentLinks:
    """All open links, at most one per agent."""

    def __init__(self) -> None:
        self._open: dict[str, AgentLink] = {}
        self._opened = asyncio.Event()
        self._authority_lost_at = -math.inf
        self._listeners: list[Callable[[str], None]] = []
        self._is_closing = False

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the name of each agent that connects or disconnects."""
        self._listeners.append(listener)

    def names(self) -> frozenset[str]:
        """Which agents are connected."""
        return frozenset(self._open)

    def find(self, name: str) -> AgentLink | None:
        """That agent's link, if it is open."""
        return self._open.get(name)

    async def authority(self) -> AgentLink | None:
        """The newest link of an agent that may rehearse. One that has just been lost is waited for: an agent opens its
        link again at once, if it can."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._authority_lost_at + _RECONNECT_SECONDS):
                while self._find_authority() is None:
                    self._opened.clear()
                    await self._opened.wait()
        return self._find_authority()

    async def add(self, link: AgentLink) -> None:
        """Take the link in, in place of an older one of the same agent. When all are being closed, close it, too."""
        if self._is_closing:
            await link.socket.close(code=WSCloseCode.GOING_AWAY, message=_STOPPING)
            return
        older = self._open.pop(link.caller.name, None)
        self._open[link.caller.name] = link
        self._opened.set()
        if older is not None:
            older.close_questions()
            await older.socket.close(code=WSCloseCode.OK, message=b"a newer connection replaced this one")
        self._notify(link)

    def remove(self, link: AgentLink) -> None:
        """The link is closed."""
        link.close_questions()
        if self._open.get(link.caller.name) is link:
            del self._open[link.caller.name]
            if link.caller.role is TokenRole.AUTHORITY:
                self._authority_lost_at = asyncio.get_running_loop().time()
            self._notify(link)

    async def close(self) -> None:
        """Close all, because the collector stops."""
        self._is_closing = True
        async with asyncio.TaskGroup() as group:
            for link in tuple(self._open.values()):
                close = link.socket.close(code=WSCloseCode.GOING_AWAY, message=_STOPPING)
                group.create_task(close, name=f"close {link.caller.name}")

    def _find_authority(self) -> AgentLink | None:
        links = reversed(self._open.values())
        return next((link for link in links if link.caller.role is TokenRole.AUTHORITY), None)

    def _notify(self, link: AgentLink) -> None:
        for listener in self._listeners:
            listener(link.caller.name)


class RehearsalBroker:
    """Passes rehearsals from any agent to the one beside the CA. It saw what it brokered: nobody has to be believed."""

    def __init__(self, store: Store, links: AgentLinks, clock: Clock) -> None:
        self.links = links
        self._store = store
        self._clock = clock
        self._limiter = RateLimiter(clock, burst=_BURST, every=_EVERY)

    async def rehearse(self, caller: Caller, request: RehearsalRequest, wait_seconds: float) -> Rehearsal:
        """What the agent beside the CA saw; `unavailable` with the reason if it could not be asked.

        Raises `HttpProblem` 403 for an identifier that is not the caller's, 429 for too many.
        """
        await self._check(caller, request)
        rehearsal = await self._ask(caller, request, min(wait_seconds, LONGEST_WAIT_SECONDS))
        if rehearsal.outcome is not RehearsalOutcome.UNAVAILABLE:
            await self._store.write(store_rehearsals, (rehearsal,), brokered=True)
        return rehearsal

    async def _check(self, caller: Caller, request: RehearsalRequest) -> None:
        is_operator = caller.role is TokenRole.OPERATOR
        if not is_operator and request.identifier not in await self._store.read(find_identifiers, caller.name):
            detail = f"{request.identifier!r} is in none of the certificates that {caller.name} reported"
            raise HttpProblem(403, "Forbidden", detail)
        wait = self._limiter.take(caller.name)
        if wait > 0:
            headers = {"Retry-After": str(math.ceil(wait))}
            raise HttpProblem(429, "Too Many Requests", "too many rehearsals", headers=headers)

    async def _ask(self, caller: Caller, request: RehearsalRequest, seconds: float) -> Rehearsal:
        node = "the agent beside the CA"
        try:
            async with asyncio.timeout(seconds):
                link = await self.links.authority()
                if link is None:
                    return self._unavailable(request, "no agent beside the CA is connected to the collector")
                node = link.caller.name
                answer = await self._ask_over(link, request)
        except TimeoutError:
            return self._unavailable(request, f"{node} did not answer within {seconds:.0f} s")
        except LinkClosed:
            return self._unavailable(request, f"{node} lost its connection to the collector")
        if not isinstance(answer, Rehearsed) or answer.rehearsal.identifier != request.identifier:
            reason = getattr(answer, "reason", "an answer to another question")
            return self._unavailable(request, f"{node} refused: {reason}")
        return await self._complete(caller, node, answer.rehearsal)

    async def _ask_over(self, link: AgentLink, request: RehearsalRequest) -> Answer:
        """A link that is lost meanwhile is usually open again at once: then the question is asked once more."""
        try:
            return await link.ask(Rehearse(id=_new_id(), request=request))
        except LinkClosed:
            reopened = await self.links.authority()
            if reopened is None:
                raise
            return await reopened.ask(Rehearse(id=_new_id(), request=request))

    async def _complete(self, caller: Caller, node: str, rehearsal: Rehearsal) -> Rehearsal:
        """The rehearsal with whose addresses occur in it, and what other nodes found in their own files."""
        owners = await self._store.read(find_owners, frozenset(addresses_met(rehearsal)))
        found = await self._store.read(find_peer_findings, rehearsal.identifier)
        of_peers = tuple(
            finding
            for finding in found
            if finding.reporter not in (node, caller.name)
            or has_trait(finding.code, Trait.NAMESERVER_FILES)  # both look themselves
        )
        return msgspec.structs.replace(rehearsal, node=node, owners=owners, testimony=of_peers)

    def _unavailable(self, request: RehearsalRequest, reason: str) -> Rehearsal:
        return Rehearsal(
            identifier=request.identifier,
            challenge=request.challenge,
            outcome=RehearsalOutcome.UNAVAILABLE,
            at=self._clock.now(),
            reason=reason,
        )


async def ask_to_judge_again(links: AgentLinks, identifiers_of: Mapping[str, frozenset[str]]) -> None:
    """Ask those agents to judge those identifiers again. One that is not connected is asked when it connects."""
    slots = asyncio.Semaphore(_SENDS_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for agent, identifiers in identifiers_of.items():
            link = links.find(agent)
            if link is not None and identifiers:
                group.create_task(_ask_to_judge_again(link, identifiers, slots), name=f"judge again: {agent}")


async def _ask_to_judge_again(link: AgentLink, identifiers: frozenset[str], slots: asyncio.Semaphore) -> None:
    async with slots:
        try:
            await link.send(JudgeAgain(id=_new_id(), identifiers=tuple(sorted(identifiers))))
        except LinkClosed:
            log.info("%s disconnected before it could be asked to judge again", link.caller.name)
        except StoreFailed as error:  # whether its token is valid cannot be seen now; it judges by its timer
            log.warning("%s was not asked to judge again: %s", link.caller.name, error)


def _new_id() -> str:
    return uuid4().hex
