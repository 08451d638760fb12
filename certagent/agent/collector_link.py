"""The agent's end of the WebSocket to the collector: opens it, answers the few questions there are, reopens it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import aiohttp

from certagent.agent.context import AgentContext
from certagent.agent.lifecycle import Lifecycle
from certagent.domain import catalogue
from certagent.domain.backoff import Backoff
from certagent.domain.findings import Culprit, Vantage, without_secrets
from certagent.domain.link_messages import (
    Accepted,
    Answer,
    Ask,
    Cancel,
    JudgeAgain,
    Refused,
    Rehearse,
    Rehearsed,
    decode_ask,
    encode,
)
from certagent.domain.ports import CollectorContactLog
from certagent.domain.reports import Outcome, RunKind, Trigger
from certagent.system.pinned_http import PinnedClient, failure_words

if TYPE_CHECKING:
    from certagent.vantage.authority_vantage import AuthorityVantage

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 30.0
FIRST_PAUSE = timedelta(milliseconds=250)
LONGEST_PAUSE = timedelta(seconds=5)
MOST_QUESTIONS_UNDER_WAY = 512  # more than there are places for rehearsals: it has too slow a connection
MOST_REFUSALS = 10  # on one connection; who asks for more is not our collector


class CollectorLink:
    """Answers `rehearse` (only beside the CA, where there is an `authority`), `cancel` and `judge_again`; refuses and
    reports everything else."""

    def __init__(
        self,
        context: AgentContext,
        client: PinnedClient,
        lifecycle: Lifecycle,
        contact_log: CollectorContactLog,
        authority: "AuthorityVantage | None",
    ) -> None:
        self._context = context
        self._clock = context.clock
        self._client = client
        self._lifecycle = lifecycle
        self._contact_log = contact_log
        self._authority = authority

    async def run(self) -> None:
        """Keep it open; never returns."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                socket = await self._client.open_channel("/v1/channel", heartbeat=HEARTBEAT_SECONDS)
            except (aiohttp.ClientError, TimeoutError) as error:
                reason = failure_words(error)
                log.info("the collector's channel cannot be opened: %s", reason)
                self._contact_log.missed("channel", reason)
                await self._clock.sleep(backoff.next_pause().total_seconds())
                continue
            backoff.reset()
            async with socket:
                log.info("the collector's channel is open")
                self._contact_log.reached("channel")
                is_sound = await self._serve(socket)
                log.info("the collector's channel is closed (%s)", socket.exception() or socket.close_code)
            self._contact_log.missed("channel", "its channel was closed")
            await self._clock.sleep((FIRST_PAUSE if is_sound else LONGEST_PAUSE).total_seconds())

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse) -> bool:
        """Answer until it is closed. False when what came was not what a collector asks."""
        refused = 0
        under_way: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            async for message in _messages_of(socket):
                if message.type is aiohttp.WSMsgType.ERROR:  # the network's, as a rule, and no fault of the collector
                    break
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return False
                ask = decode_ask(message.data)
                refused += isinstance(ask, Refused)
                if refused > MOST_REFUSALS or len(under_way) >= MOST_QUESTIONS_UNDER_WAY:
                    await socket.close()
                    return False
                if isinstance(ask, Cancel) and (cancelled := under_way.get(ask.question)) is not None:
                    cancelled.cancel()
                task = group.create_task(self._reply(socket, ask), name=f"answer {ask.id}")
                under_way[ask.id] = task
                task.add_done_callback(partial(_forget, under_way, ask.id))
        return refused == 0

    async def _reply(self, socket: aiohttp.ClientWebSocketResponse, ask: Ask | Refused) -> None:
        answer = await self._answer(ask)
        if isinstance(answer, Refused):
            self._report_refused(answer)
        with suppress(ConnectionError):  # the collector has gone; it asks again when it is back
            await socket.send_str(encode(answer).decode())

    async def _answer(self, ask: Ask | Refused) -> Answer:
        match ask:
            case Rehearse() if self._authority is not None:
                rehearsal = await self._authority.rehearse(ask.request, ask.caller)
                return Rehearsed(id=ask.id, rehearsal=without_secrets(rehearsal))
            case Rehearse():
                return Refused(id=ask.id, reason="this agent is not beside the CA: no [vantage] is configured")
            case JudgeAgain():
                self._lifecycle.judge_again(ask.identifiers)
                return Accepted(id=ask.id)
            case Cancel():
                return Accepted(id=ask.id)
            case Refused():
                return ask

    def _report_refused(self, refused: Refused) -> None:
        finding = catalogue.finding(
            "channel.refused_question",
            vantage=Vantage.PEER,
            reporter=self._context.node,
            culprit=Culprit(role="collector"),
            said=refused.reason,
        )
        reporter = self._context.reporter
        run = reporter.begin(RunKind.INVENTORY, Trigger.REQUEST)
        reporter.end(run, Outcome.FOUND, findings=[self._context.policy.grade(finding)])


def _forget(under_way: dict[str, asyncio.Task[None]], identity: str, task: asyncio.Task[None]) -> None:
    if under_way.get(identity) is task:
        del under_way[identity]


async def _messages_of(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[aiohttp.WSMessage]:
    """Until it is closed. aiohttp answers a ping by itself, and raises when the connection has just broken."""
    with suppress(ConnectionError):
        async for message in socket:
            yield message
