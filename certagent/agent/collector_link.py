"""The agent's end of the channel: it opens it, answers the few questions there are, and opens it again."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import aiohttp

from certagent.domain.link_messages import (
    Accepted,
    Answer,
    Ask,
    JudgeAgain,
    Refused,
    Rehearse,
    Rehearsed,
    decode_ask,
    encode,
)
from certagent.domain.ports import Clock, CollectorContactLog
from certagent.domain.redaction import without_secrets
from certagent.domain.rehearsals import Rehearsal, RehearsalRequest
from certagent.system.pinned_http import PinnedClient

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 5.0
MOST_QUESTIONS_AT_ONCE = 16
MOST_QUESTIONS_WAITING = 256
MOST_REFUSALS = 10  # on one channel; who asks for more is no collector of ours

Rehearsing = Callable[[RehearsalRequest], Awaitable[Rehearsal]]
JudgingAgain = Callable[[tuple[str, ...]], None]
Refusing = Callable[[Refused], None]


class CollectorLink:
    """Answers `rehearse` (only with a vantage beside the CA) and `judge_again`; refuses and reports all else."""

    def __init__(
        self,
        client: PinnedClient,
        clock: Clock,
        *,
        rehearse: Rehearsing | None,
        judge_again: JudgingAgain,
        refused: Refusing,
        contact: CollectorContactLog,
    ) -> None:
        self._client = client
        self._clock = clock
        self._rehearse = rehearse
        self._judge_again = judge_again
        self._refused = refused
        self._contact = contact

    async def run(self) -> None:
        """Keep the channel open, for ever."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                socket = await self._client.open_channel("/v1/channel", heartbeat=HEARTBEAT_SECONDS)
            except (aiohttp.ClientError, TimeoutError) as error:
                log.info("the collector's channel cannot be opened: %s", error)
                self._contact.missed("channel", str(error) or "no answer in time")
                await self._clock.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            async with socket:
                log.info("the collector's channel is open")
                self._contact.reached("channel")
                is_sound = await self._serve(socket)
                log.info("the collector's channel is closed (%s)", socket.exception() or socket.close_code)
            self._contact.missed("channel", "its channel was closed")
            pause = FIRST_PAUSE_SECONDS if is_sound else LONGEST_PAUSE_SECONDS
            await self._clock.sleep(pause)

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse) -> bool:
        """Answer until the channel closes. False when what came was not what a collector asks."""
        refused = 0
        waiting: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            slots = asyncio.Semaphore(MOST_QUESTIONS_AT_ONCE)
            async for message in _messages_of(socket):
                if message.type is aiohttp.WSMsgType.ERROR:  # of the way, as a rule: that is no fault of the collector
                    break
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return False
                ask = decode_ask(message.data)
                refused += isinstance(ask, Refused)
                if refused > MOST_REFUSALS or len(waiting) >= MOST_QUESTIONS_WAITING:
                    await socket.close()
                    return False
                task = group.create_task(self._reply(socket, ask, slots), name=f"answer {ask.id}")
                waiting.add(task)
                task.add_done_callback(waiting.discard)
        return refused == 0

    async def _reply(
        self, socket: aiohttp.ClientWebSocketResponse, ask: Ask | Refused, slots: asyncio.Semaphore
    ) -> None:
        async with slots:
            answer = await self._answer(ask)
        if isinstance(answer, Refused):
            self._refused(answer)
        with suppress(ConnectionError):  # who asked has gone; the question is asked again when it is back
            await socket.send_str(encode(answer).decode())

    async def _answer(self, ask: Ask | Refused) -> Answer:
        match ask:
            case Rehearse() if self._rehearse is not None:
                return Rehearsed(id=ask.id, rehearsal=without_secrets(await self._rehearse(ask.request)))
            case Rehearse():
                return Refused(id=ask.id, reason="this agent is not beside the CA: no [vantage] is configured")
            case JudgeAgain():
                self._judge_again(ask.identifiers)
                return Accepted(id=ask.id)
            case Refused():
                return ask


async def _messages_of(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[aiohttp.WSMessage]:
    """Until the channel closes. aiohttp answers a ping by itself, and raises when the way has just broken."""
    with suppress(ConnectionError):
        async for message in socket:
            yield message
