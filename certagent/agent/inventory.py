"""Taking stock: this node as it knows itself, and its certificates on disk against what is served."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from certagent import __version__
from certagent.agent.drift import DriftMonitor
from certagent.agent.reporter import Reporter
from certagent.config import AgentSettings, CertificateSection
from certagent.domain.certificates import CertificateFacts
from certagent.domain.diagnosis.drift import Serving
from certagent.domain.findings import Finding
from certagent.domain.ports import Clock
from certagent.domain.reports import CertificateState, Inventory, Outcome, Resolver, RunKind, Trigger
from certagent.state import State
from certagent.system.processes import ReloadCoordinator


class NodeObserver(Protocol):
    """This node, looked at."""

    def addresses(self) -> tuple[str, ...]:
        """Its own addresses."""
        ...

    def role(self) -> str | None:
        """What it serves."""
        ...

    def resolver(self) -> Resolver:
        """How names are resolved on it."""
        ...


class InventoryReporter:
    """Takes and reports the inventory. `facts` gives a certificate's newest generation, or None."""

    def __init__(
        self,
        settings: AgentSettings,
        *,
        looking: NodeObserver,
        facts: Callable[[str], CertificateFacts | None],
        serving: DriftMonitor,
        state: State,
        due_at: Callable[[str, CertificateFacts], datetime],
        reporter: Reporter,
        clock: Clock,
    ) -> None:
        self._node = settings.agent.name
        self._role = settings.agent.role
        self._certificates = {one.name: one for one in settings.certificate}
        self._looking = looking
        self._facts = facts
        self._serving = serving
        self._state = state
        self._due_at = due_at
        self._reporter = reporter
        self._clock = clock
        self._turns = ReloadCoordinator(clock)
        self._wanted: set[str] = set()
        self._states: dict[str, CertificateState] = {}
        self._last: Inventory | None = None

    async def report(self, trigger: Trigger, names: Sequence[str] = ()) -> None:
        """Look at those certificates (default: all), and report one inventory; none when the timer finds what was
        reported last. Whoever asks while one is being taken shares the next."""
        self._wanted.update(names or self._certificates)
        await self._turns.run_shared("stock", partial(self._report, trigger))

    async def keep(self, every: timedelta) -> None:
        """Take stock by the timer, for ever: what is served can change without anything happening here."""
        while True:
            await self._clock.sleep(every.total_seconds())
            await self.report(Trigger.TIMER)

    async def states(self) -> tuple[list[CertificateState], list[Finding]]:
        """Each certificate: on disk, served on every address, due, last outcome; and what is wrong, graded."""
        looks = await self._look(self._certificates)
        states = [self._state_of(self._certificates[one.name], one) for one in looks]
        return states, await asyncio.to_thread(self._serving.findings, looks)

    async def _report(self, trigger: Trigger) -> None:
        run = self._reporter.begin(RunKind.INVENTORY, trigger)
        names, self._wanted = self._wanted, set()
        try:
            looks = await self._look([name for name in self._certificates if name in names])
        except BaseException:
            self._wanted |= names  # whoever shares this turn asked for them as well
            raise
        self._states |= {one.name: self._state_of(self._certificates[one.name], one) for one in looks}
        inventory = Inventory(
            node=self._node,
            addresses=await asyncio.to_thread(self._looking.addresses),
            role=self._role or await asyncio.to_thread(self._looking.role),
            version=__version__,
            resolver=await asyncio.to_thread(self._looking.resolver),
            certificates=tuple(self._states[name] for name in self._certificates if name in self._states),
        )
        if trigger is not Trigger.TIMER or inventory != self._last:
            self._last = inventory
            self._reporter.end(run, Outcome.DONE, inventory=inventory)
        await self._serving.report(looks, trigger)
        await self._serving.look_around(trigger)

    async def _look(self, names: Sequence[str] | dict[str, CertificateSection]) -> list[Serving]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._serving.look(self._certificates[name]), name=f"look at {name}")
                for name in names
            ]
        return [task.result() for task in tasks]

    def _state_of(self, certificate: CertificateSection, seen: Serving) -> CertificateState:
        facts = self._facts(certificate.name) if certificate.manage else _of_others(seen)
        wanted = facts.fingerprint if facts else ""
        served: dict[str, str | None] = {}
        for proof in seen.served:  # one name that is served otherwise speaks for its endpoint
            if proof.endpoint not in served or proof.fingerprint != wanted:
                served[proof.endpoint] = proof.fingerprint
        last = self._state.certificate(certificate.name).last()
        return CertificateState(
            name=certificate.name,
            identifiers=certificate.identifiers,
            manage=certificate.manage,
            on_disk=facts,
            served=served,
            due_at=self._due_at(certificate.name, facts) if facts and certificate.manage else None,
            last_outcome=last.outcome if last else None,
            last_outcome_at=last.at if last else None,
        )


def _of_others(seen: Serving) -> CertificateFacts | None:
    """What others renew: as it lies on disk; where that cannot be looked at (Traefik's acme.json), as it is served."""
    on_disk = [one.pair.facts for one in seen.live if one.pair.facts is not None]
    served = [one.leaf for one in seen.served if one.leaf is not None and one.distrust is None]
    return next(iter((*on_disk, *served)), None)
