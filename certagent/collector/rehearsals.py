"""Brokering rehearsals between an agent and the agent beside the CA, and telling agents to judge again."""

import asyncio
import logging
import math
from collections.abc import Mapping
from datetime import timedelta

import msgspec

from certagent.collector.agent_link import AgentLink, AgentLinks, LinkClosed, new_id
from certagent.collector.problems import HttpProblem
from certagent.collector.store import Caller, Store, StoreFailed, TokenRole
from certagent.domain.catalogue import Trait, has_trait
from certagent.domain.link_messages import Answer, JudgeAgain, Rehearse, Rehearsed
from certagent.domain.path_trace import addresses_met
from certagent.domain.ports import Clock
from certagent.domain.rate_limiter import RateLimiter
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome, RehearsalRequest

log = logging.getLogger(__name__)

LONGEST_WAIT_SECONDS = 36.0
_BURST, _EVERY = 200, timedelta(milliseconds=50)  # rehearsals of one caller
_TELL_AT_ONCE = 64


class Broker:
    """Passes rehearsals on. What it brokered is recorded: nobody's word is needed for it."""

    def __init__(self, store: Store, channels: AgentLinks, clock: Clock) -> None:
        self._store = store
        self._channels = channels
        self._clock = clock
        self._limiter = RateLimiter(clock, burst=_BURST, every=_EVERY)

    async def rehearse(self, caller: Caller, request: RehearsalRequest, wait_seconds: float) -> Rehearsal:
        """What the agent beside the CA saw; `unavailable` with the reason if there is none to be had.

        Raises `HttpProblem` 403 for an identifier that is not the caller's, 429 for too many.
        """
        await self._check(caller, request)
        rehearsal = await self._ask(caller, request, min(wait_seconds, LONGEST_WAIT_SECONDS))
        await self._store.record_rehearsal(rehearsal)
        return rehearsal

    async def _check(self, caller: Caller, request: RehearsalRequest) -> None:
        is_operator = caller.role is TokenRole.OPERATOR
        if not is_operator and request.identifier not in await self._store.identifiers_of(caller.name):
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
                channel = await self._channels.authority()
                if channel is None:
                    return self._unavailable(request, "no agent beside the CA is connected to the collector")
                node = channel.caller.name
                answer = await self._put(channel, request)
        except TimeoutError:
            return self._unavailable(request, f"{node} did not answer within {seconds:.0f} s")
        except LinkClosed:
            return self._unavailable(request, f"{node} lost its connection to the collector")
        if not isinstance(answer, Rehearsed) or answer.rehearsal.identifier != request.identifier:
            reason = getattr(answer, "reason", "an answer to another question")
            return self._unavailable(request, f"{node} refused: {reason}")
        owners = await self._store.owners(frozenset(addresses_met(answer.rehearsal)))
        told = await self._store.testimony(request.identifier)
        others = tuple(
            finding
            for finding in told
            if finding.reporter not in (node, caller.name)
            or has_trait(finding.code, Trait.NAMESERVER_FILES)  # they look themselves
        )
        return msgspec.structs.replace(answer.rehearsal, node=node, owners=owners, testimony=others)

    async def _put(self, channel: AgentLink, request: RehearsalRequest) -> Answer:
        """A channel that is lost meanwhile is as a rule there again at once: then the question is put once more."""
        try:
            return await channel.ask(Rehearse(id=new_id(), request=request))
        except LinkClosed:
            again = await self._channels.authority()
            if again is None:
                raise
            return await again.ask(Rehearse(id=new_id(), request=request))

    def _unavailable(self, request: RehearsalRequest, reason: str) -> Rehearsal:
        return Rehearsal(
            identifier=request.identifier,
            outcome=RehearsalOutcome.UNAVAILABLE,
            at=self._clock.now(),
            reason=reason,
        )


async def tell_to_judge_again(channels: AgentLinks, wanted: Mapping[str, frozenset[str]]) -> None:
    """Ask those agents to judge those identifiers again. Who is not connected is asked when it connects."""
    slots = asyncio.Semaphore(_TELL_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for agent, identifiers in wanted.items():
            channel = channels.find(agent)
            if channel is not None and identifiers:
                group.create_task(_tell(channel, identifiers, slots), name=f"judge again: {agent}")


async def _tell(channel: AgentLink, identifiers: frozenset[str], slots: asyncio.Semaphore) -> None:
    async with slots:
        try:
            await channel.tell(JudgeAgain(id=new_id(), identifiers=tuple(sorted(identifiers))))
        except LinkClosed:
            log.info("%s went away before it could be asked to judge again", channel.caller.name)
        except StoreFailed as error:  # whether its token holds cannot be seen now; it judges by its timer
            log.warning("%s was not asked to judge again: %s", channel.caller.name, error)
