"""Preflight: look from here, have somebody look from beside the CA, conclude, grade, judge. Changes nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from certagent.agent.rehearsal import Ask, Plantable, planted, unavailable, unplanted
from certagent.agent.rehearsal_history import RehearsalHistory
from certagent.domain.deployments import Fault
from certagent.domain.diagnosis import conclude
from certagent.domain.diagnosis.evidence import DirectoryCheck, Evidence, ResponderCheck
from certagent.domain.diagnosis.flapping import settled_later
from certagent.domain.diagnosis.order_result import fault_found
from certagent.domain.findings import Impact
from certagent.domain.observations import NodeObservation, WebServerObservation
from certagent.domain.policy import Judgement, Policy, judged, with_impact
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import Rehearsal, RehearsalRequest


class Responder(Plantable, Protocol):
    """A responder of this node: plantable, and checked from here before anybody else is asked."""

    async def answers(self, request: RehearsalRequest) -> ResponderCheck:
        """Whether what was planted comes back on this node (for dns-01: whether it was published)."""
        ...


FindFaults = Callable[[str], Awaitable[Sequence[Fault]]]
"""What keeps the targets of an identifier's certificate from being written."""
CheckDirectory = Callable[[], Awaitable[Sequence[DirectoryCheck]]]


class PreflightObserver(Protocol):
    """This node, looked at for one identifier."""

    async def look_here(self, identifier: str) -> NodeObservation | None:
        """Names, listeners; None where there is nothing to say."""
        ...

    async def look_at_gateways(self, identifier: str) -> Sequence[WebServerObservation]:
        """What the web servers here do with the challenge of that identifier."""
        ...


_Seen = TypeVar("_Seen")
ImpactOn = Callable[[str], Impact | None]
"""The certificate of an identifier, as it stands on disk: what a trouble with it will hurt, and when."""


class Preflight:
    """Judges identifiers of this node. `responders` and `challenges` (their types, whoever answers them) are by
    identifier; `ask` is None without a collector."""

    def __init__(
        self,
        node: str,
        addresses: Callable[[], tuple[str, ...]],
        *,
        responders: Mapping[str, Responder],
        challenges: Mapping[str, str],
        ask: Ask | None,
        check_directory: CheckDirectory,
        find_faults: FindFaults,
        looking: PreflightObserver,
        impact_on: ImpactOn,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._node = node
        self._addresses = addresses
        self._responders = responders
        self._challenges = challenges
        self._ask = ask
        self._check_directory = check_directory
        self._find_faults = find_faults
        self._looking = looking
        self._impact_on = impact_on
        self._policy = policy
        self._clock = clock
        self._memory = RehearsalHistory()

    async def judge(self, identifiers: Sequence[str]) -> list[Judgement]:
        """All at once, in their order. The CA's directory is looked at once for all of them."""
        async with asyncio.TaskGroup() as group:
            directory = group.create_task(_whole(self._check_directory()), name="look at the directory")
            tasks = [group.create_task(self._look(one), name=f"look at {one}") for one in identifiers]
        return [
            await self._conclude(msgspec.structs.replace(task.result(), directory=directory.result())) for task in tasks
        ]

    async def rehearse(self, identifier: str) -> Rehearsal:
        """The rehearsal alone."""
        return (await self._rehearse(identifier))[1]

    async def _look(self, identifier: str) -> Evidence:
        """All that is to be seen of one identifier, at once; the directory is the same for all and comes later."""
        async with asyncio.TaskGroup() as group:
            rehearsed = group.create_task(self._rehearse(identifier), name=f"rehearse {identifier}")
            here = group.create_task(self._looking.look_here(identifier), name=f"look here for {identifier}")
            gateways = group.create_task(
                _whole(self._looking.look_at_gateways(identifier)), name=f"look at gateways for {identifier}"
            )
        responder, rehearsal = rehearsed.result()
        return Evidence(
            identifier=identifier,
            node=self._node,
            addresses=self._addresses(),
            rehearsal=rehearsal,
            responder=responder,
            here=here.result(),
            gateways=gateways.result(),
            past=self._memory.of(identifier),
        )

    async def _conclude(self, evidence: Evidence) -> Judgement:
        identifier = evidence.identifier
        faults = [fault_found(self._node, fault, identifier) for fault in await self._find_faults(identifier)]
        judgement = judged(self._policy, identifier, [*faults, *conclude(evidence)], evidence.rehearsal)
        return with_impact(judgement, self._impact_on(identifier))

    async def _rehearse(self, identifier: str) -> tuple[ResponderCheck | None, Rehearsal]:
        responder = self._responders.get(identifier)
        if responder is None:
            request = unplanted(identifier, self._challenges.get(identifier, "http-01"))
            if self._ask is None:
                return None, unavailable(request, self._clock.now(), "no responder of this node answers for it")
            return None, await self._ask(request)
        async with planted(responder, identifier) as request:
            here = await responder.answers(request)
            if here.withheld:
                return here, unavailable(request, self._clock.now(), here.withheld)
            if self._ask is None:
                return here, unavailable(request, self._clock.now(), "no collector is configured")
            rehearsal = await self._ask(request)
        self._memory.note(rehearsal)
        return here, settled_later(rehearsal, self._memory.of(identifier))


async def _whole(looks: Awaitable[Sequence[_Seen]]) -> tuple[_Seen, ...]:
    return tuple(await looks)
