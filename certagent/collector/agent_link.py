"""The agent links: WebSockets that agents keep open. Which agents are connected, what they are asked, their answers.

An agent is asked to rehearse (the one beside the CA) and to judge again; nothing else. `rehearsal_broker` asks the one.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from uuid import uuid4

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from certagent.collector.records import Caller, StoreFailed, TokenRole
from certagent.domain.findings import redact
from certagent.domain.link_messages import (
    Answer,
    Ask,
    Cancel,
    JudgeAgain,
    Refused,
    decode_answer,
    encode,
)
from certagent.domain.speakers import Voice

log = logging.getLogger(__name__)

LARGEST_ANSWER = 1024 * 1024
CLOSE_SECONDS = 1.0  # for the agent's closing frame
_PING_SECONDS = 30.0
_AUTHORITY_PING_SECONDS = 5.0  # all rehearsals wait for it: that it is gone has to be known soon
_SEND_SECONDS = 5.0
_RECONNECT_SECONDS = 3.0  # for so long an authority that was lost is waited for
_SENDS_AT_ONCE = 64
_CANCEL = "cancel-"  # what the id of each `Cancel` begins with, and that of its answer
_STOPPING = b"the collector ends"


def ping_seconds_for(caller: Caller) -> float:
    """Seconds between two pings; a link without an answer after half of that is closed."""
    return _AUTHORITY_PING_SECONDS if caller.role is TokenRole.AUTHORITY else _PING_SECONDS


class LinkClosed(Exception):
    """The agent is not connected, or its link closed before the answer came."""


class AgentLink:
    """One agent's open link; `voice`: which of its processes opened it."""

    def __init__(
        self,
        caller: Caller,
        socket: web.WebSocketResponse,
        is_valid: Callable[[], Awaitable[bool]],
        voice: Voice = Voice("", ""),  # noqa: B008 - a frozen value
    ) -> None:
        self.caller = caller
        self.socket = socket
        self.voice = voice
        self._is_valid = is_valid
        self._awaited: dict[str, asyncio.Future[Answer]] = {}
        self._knows_cancel = True

    async def ask(self, question: Ask) -> Answer:
        """The answer to the question. Raises `LinkClosed`; bound it with a timeout: the agent is told when nobody waits
        for its answer any more."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._awaited[question.id] = future
        try:
            await self.send(question)
            return await future
        except asyncio.CancelledError:
            await self._cancel(question)
            raise
        finally:
            del self._awaited[question.id]

    async def responds(self, seconds: float) -> bool:
        """Whether the agent answers by then; it is asked to judge nothing, which every version answers."""
        try:
            async with asyncio.timeout(seconds):
                await self.ask(JudgeAgain(id=new_id(), identifiers=()))
        except (TimeoutError, LinkClosed):
            return False
        return True

    async def send(self, question: Ask) -> None:
        """Send the question; its answer is only logged. Raises `LinkClosed`, also when the token was revoked."""
        if not await self.check():
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
                async for message in self.socket:
                    if message.type is not WSMsgType.TEXT or not await self.check():
                        break
                    await self._take(message.data)
        except ConnectionError:  # of a pong that aiohttp sends by itself, when the connection has just broken
            pass
        except TimeoutError:
            log.info("the certificate of %s expired", self.caller.name)
            await self.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"the certificate expired")

    async def check(self) -> bool:
        """Whether its credential is still the agent's; closes it if not."""
        if await self._is_valid():
            return True
        log.info("the token of %s was revoked", self.caller.name)
        await self.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"the token was revoked")
        return False

    def close_questions(self) -> None:
        """The link is gone: nobody will answer."""
        for future in self._awaited.values():
            if not future.done():
                future.set_exception(LinkClosed(self.caller.name))

    async def _take(self, text: str) -> None:
        try:
            self._receive(decode_answer(redact(text)))  # an older agent may not have redacted it
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.warning("%s sent an invalid answer: %s", self.caller.name, error)
            await self.socket.close(code=WSCloseCode.INVALID_TEXT, message=b"not an answer")

    async def _cancel(self, question: Ask) -> None:
        """Let the agent end what it does for the question. An older one refuses: it is not bothered again."""
        if not self._knows_cancel:
            return
        cancel = Cancel(id=_CANCEL + new_id(), question=question.id)
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(_SEND_SECONDS):
                await self.socket.send_str(encode(cancel).decode())

    def _receive(self, answer: Answer) -> None:
        future = self._awaited.get(answer.id)
        if answer.id.startswith(_CANCEL):
            self._knows_cancel = not isinstance(answer, Refused)
        elif future is not None and not future.done():
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
        self._elsewhere: frozenset[str] = frozenset()
        self._is_closing = False
        self.is_draining = False

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the name of each agent that connects or disconnects."""
        self._listeners.append(listener)

    def names(self) -> frozenset[str]:
        """Which agents are connected, here or to another collector."""
        return self._elsewhere | self._open.keys()

    def roles(self) -> dict[str, TokenRole]:
        """Which agents are connected here, and what they are."""
        return {name: link.caller.role for name, link in self._open.items()}

    def is_connected(self, name: str) -> bool:
        """Whether that agent is, here or to another collector."""
        return name in self._open or name in self._elsewhere

    def note_elsewhere(self, names: Collection[str]) -> None:
        """Which agents are connected to other collectors."""
        before, self._elsewhere = self._elsewhere, frozenset(names)
        for name in (before ^ self._elsewhere) - self._open.keys():
            for listener in self._listeners:
                listener(name)

    def find(self, name: str) -> AgentLink | None:
        """That agent's link, if it is open."""
        return self._open.get(name)

    async def authority(self) -> AgentLink | None:
        """The newest link of an agent that may rehearse. One that has just been lost is waited for: an agent opens its
        link again at once, if it can."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._authority_lost_at + _RECONNECT_SECONDS):
                while self.find_authority() is None:
                    self._opened.clear()
                    await self._opened.wait()
        return self.find_authority()

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

    async def close_revoked(self) -> None:
        """Close those whose credential is not their agent's any more."""
        for link in tuple(self._open.values()):
            await link.check()

    async def replace(self, link: AgentLink) -> None:
        """Another process speaks in place of the one that opened the link: close it."""
        self.remove(link)
        await link.socket.close(code=WSCloseCode.OK, message=b"another process speaks for this agent")

    async def drain(self, wait_seconds: float, spread_seconds: float) -> None:
        """Say that this collector stops, let balancers see that, then close the links one after another, so that their
        agents do not all come to the other collectors at once."""
        self.is_draining = True
        await asyncio.sleep(wait_seconds)
        self._is_closing = True
        await _close_in_turn(tuple(self._open.values()), spread_seconds, _STOPPING)

    async def send_away(self, names: Collection[str], spread_seconds: float) -> None:
        """Close those agents' links one after another, so that they connect to another collector."""
        links = tuple(link for name in names if (link := self._open.get(name)) is not None)
        await _close_in_turn(links, spread_seconds, b"another collector has fewer agents")

    async def close(self) -> None:
        """Close all, because the collector stops."""
        self._is_closing = True
        async with asyncio.TaskGroup() as group:
            for link in tuple(self._open.values()):
                close = link.socket.close(code=WSCloseCode.GOING_AWAY, message=_STOPPING)
                group.create_task(close, name=f"close {link.caller.name}")

    def find_authority(self) -> AgentLink | None:
        """The newest link of an agent that may rehearse, if there is one now."""
        links = reversed(self._open.values())
        return next((link for link in links if link.caller.role is TokenRole.AUTHORITY), None)

    def _notify(self, link: AgentLink) -> None:
        for listener in self._listeners:
            listener(link.caller.name)


async def _close_in_turn(links: Sequence[AgentLink], spread_seconds: float, reason: bytes) -> None:
    async with asyncio.TaskGroup() as group:
        for number, link in enumerate(links, 1):
            close = _close_after(link, spread_seconds * number / len(links), reason)
            group.create_task(close, name=f"close {link.caller.name}")


async def _close_after(link: AgentLink, seconds: float, reason: bytes) -> None:
    await asyncio.sleep(seconds)
    await link.socket.close(code=WSCloseCode.GOING_AWAY, message=reason)


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
            await link.send(JudgeAgain(id=new_id(), identifiers=tuple(sorted(identifiers))))
        except LinkClosed:
            log.info("%s disconnected before it could be asked to judge again", link.caller.name)
        except StoreFailed as error:  # whether its token is valid cannot be seen now; it judges by its timer
            log.warning("%s was not asked to judge again: %s", link.caller.name, error)


def new_id() -> str:
    """Of a question that no other has."""
    return uuid4().hex
