"""Preflight: look from here, have somebody look from beside the CA, conclude, grade, judge. Changes nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from certagent.agent.rehearsal import Ask, Plantable, planted, unavailable
from certagent.domain.conclusions import conclude
from certagent.domain.conclusions.evidence import DirectoryCheck, Evidence, ResponderCheck
from certagent.domain.conclusions.ordering import fault_found
from certagent.domain.deployments import Fault
from certagent.domain.policy import Judgement, Policy, judged
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import Rehearsal, RehearsalRequest


class Responder(Plantable, Protocol):
    """A responder of this node: plantable, and checked on loopback before anybody else is asked."""

    async def answers(self, request: RehearsalRequest) -> ResponderCheck:
        """Whether the planted token comes back on loopback."""
        ...


FindFaults = Callable[[str], Awaitable[Sequence[Fault]]]
"""What keeps the targets of an identifier's certificate from being written."""
CheckDirectory = Callable[[], Awaitable[Sequence[DirectoryCheck]]]


class Preflight:
    """Judges identifiers of this node. `responders` are by identifier; `ask` is None without a collector."""

    def __init__(
        self,
        node: str,
        addresses: Callable[[], tuple[str, ...]],
        *,
        responders: Mapping[str, Responder],
        ask: Ask | None,
        check_directory: CheckDirectory,
        find_faults: FindFaults,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._node = node
        self._addresses = addresses
        self._responders = responders
        self._ask = ask
        self._check_directory = check_directory
        self._find_faults = find_faults
        self._policy = policy
        self._clock = clock

    async def judge(self, identifiers: Sequence[str]) -> list[Judgement]:
        """All at once, in their order. The CA's directory is looked at once for all of them."""
        async with asyncio.TaskGroup() as group:
            directory = group.create_task(_whole(self._check_directory()), name="look at the directory")
            rehearsals = [
                group.create_task(self._rehearse(identifier), name=f"rehearse {identifier}")
                for identifier in identifiers
            ]
        return [
            await self._conclude(identifier, directory.result(), *rehearsal.result())
            for identifier, rehearsal in zip(identifiers, rehearsals, strict=True)
        ]

    async def rehearse(self, identifier: str) -> Rehearsal:
        """The rehearsal alone."""
        return (await self._rehearse(identifier))[1]

    async def _conclude(
        self,
        identifier: str,
        directory: tuple[DirectoryCheck, ...],
        responder: ResponderCheck | None,
        rehearsal: Rehearsal,
    ) -> Judgement:
        evidence = Evidence(
            identifier=identifier,
            node=self._node,
            addresses=self._addresses(),
            rehearsal=rehearsal,
            responder=responder,
            directory=directory,
        )
        faults = [fault_found(self._node, fault, identifier) for fault in await self._find_faults(identifier)]
        return judged(self._policy, identifier, [*faults, *conclude(evidence)], rehearsal)

    async def _rehearse(self, identifier: str) -> tuple[ResponderCheck | None, Rehearsal]:
        responder = self._responders.get(identifier)
        if responder is None:
            return None, unavailable(identifier, self._clock.now(), "no responder of this node answers for it")
        with planted(responder, identifier) as request:
            here = await responder.answers(request)
            if self._ask is None:
                return here, unavailable(identifier, self._clock.now(), "no collector is configured")
            return here, await self._ask(request)


async def _whole(checks: Awaitable[Sequence[DirectoryCheck]]) -> tuple[DirectoryCheck, ...]:
    return tuple(await checks)
