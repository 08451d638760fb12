"""The agents' channels: who is connected, what is asked of whom, and the answers. Asks nothing by itself."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import uuid4

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from certagent.collector.store import Caller, TokenRole
from certagent.domain.link_messages import Answer, Ask, Refused, decode_answer, encode
from certagent.domain.redaction import redact

log = logging.getLogger(__name__)

_HEARTBEAT_SECONDS = 30.0
_AUTHORITY_HEARTBEAT_SECONDS = 5.0  # everybody's rehearsals wait for it: that it is gone has to be known soon
SEND_SECONDS = 5.0
BACK_WITHIN_SECONDS = 3.0  # of being lost: so long the authority is waited for
CLOSE_SECONDS = 1.0  # for the agent's own goodbye
LARGEST_ANSWER = 1024 * 1024
_ENDING = b"the collector ends"


def heartbeat_for(caller: Caller) -> float:
    """Seconds between two pings; a channel without an answer after half of that is closed."""
    return _AUTHORITY_HEARTBEAT_SECONDS if caller.role is TokenRole.AUTHORITY else _HEARTBEAT_SECONDS


class LinkClosed(Exception):
    """The agent is not connected, or its channel closed before the answer came."""


class AgentLink:
    """One agent's open channel."""

    def __init__(self, caller: Caller, socket: web.WebSocketResponse, is_valid: Callable[[], Awaitable[bool]]) -> None:
        self.caller = caller
        self.socket = socket
        self._is_valid = is_valid
        self._awaited: dict[str, asyncio.Future[Answer]] = {}

    async def ask(self, ask: Ask) -> Answer:
        """The answer to the question. Raises `LinkClosed`; bound it with a timeout."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._awaited[ask.id] = future
        try:
            await self.tell(ask)
            return await future
        finally:
            del self._awaited[ask.id]

    async def tell(self, ask: Ask) -> None:
        """Send the question; its answer is only logged. Raises `LinkClosed`, also when the token was revoked."""
        if not await self._check():
            raise LinkClosed(self.caller.name)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self.socket.send_str(encode(ask).decode())
        except (ConnectionError, TimeoutError) as error:
            raise LinkClosed(self.caller.name) from error

    async def listen(self, seconds: float | None = None) -> None:
        """Take answers until the channel closes, says nonsense, its token is revoked, or `seconds` have passed: then
        the certificate has expired that opened it."""
        try:
            async with asyncio.timeout(seconds):
                await self._take_answers()
        except TimeoutError:
            log.info("the certificate of %s expired", self.caller.name)
            await self.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"the certificate expired")

    async def _take_answers(self) -> None:
        with suppress(ConnectionError):  # of a pong that aiohttp sends by itself, when the way has just broken
            async for message in self.socket:
                if message.type is not WSMsgType.TEXT or not await self._check():
                    break
                try:
                    self._receive(decode_answer(redact(message.data)))  # an older agent may not have done it
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    log.warning("%s sent what is no answer: %s", self.caller.name, error)
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

    def lose(self) -> None:
        """The channel is gone: nobody will answer."""
        for future in self._awaited.values():
            if not future.done():
                future.set_exception(LinkClosed(self.caller.name))


class AgentLinks:
    """All open channels, at most one per agent. `notify` is called with a name that came or went."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self._open: dict[str, AgentLink] = {}
        self._came = asyncio.Event()
        self._authority_lost_at = -math.inf
        self._notify = notify
        self._is_ending = False

    def names(self) -> frozenset[str]:
        """Who is connected."""
        return frozenset(self._open)

    def find(self, name: str) -> AgentLink | None:
        """That agent's channel, if it is open."""
        return self._open.get(name)

    def _authority(self) -> AgentLink | None:
        return next((one for one in reversed(self._open.values()) if one.caller.role is TokenRole.AUTHORITY), None)

    async def authority(self) -> AgentLink | None:
        """The channel of an agent that may rehearse; the one that came last. One that has just been lost is waited for:
        an agent opens its channel again at once, if it can."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._authority_lost_at + BACK_WITHIN_SECONDS):
                while self._authority() is None:
                    self._came.clear()
                    await self._came.wait()
        return self._authority()

    async def admit(self, channel: AgentLink) -> None:
        """Take the channel in, in place of an older one of the same agent. One that comes while all end ends, too."""
        if self._is_ending:
            await channel.socket.close(code=WSCloseCode.GOING_AWAY, message=_ENDING)
            return
        older = self._open.pop(channel.caller.name, None)
        self._open[channel.caller.name] = channel
        self._came.set()
        if older is not None:
            older.lose()
            await older.socket.close(code=WSCloseCode.OK, message=b"a newer channel took over")
        self._notify(channel.caller.name)

    def dismiss(self, channel: AgentLink) -> None:
        """The channel is closed."""
        channel.lose()
        if self._open.get(channel.caller.name) is channel:
            del self._open[channel.caller.name]
            if channel.caller.role is TokenRole.AUTHORITY:
                self._authority_lost_at = asyncio.get_running_loop().time()
            self._notify(channel.caller.name)

    async def close(self) -> None:
        """Close all, because the collector ends."""
        self._is_ending = True
        async with asyncio.TaskGroup() as group:
            for channel in tuple(self._open.values()):
                close = channel.socket.close(code=WSCloseCode.GOING_AWAY, message=_ENDING)
                group.create_task(close, name=f"close {channel.caller.name}")


def new_id() -> str:
    """A question's id."""
    return uuid4().hex
