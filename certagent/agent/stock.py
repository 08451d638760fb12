"""Taking stock: this node as it knows itself, and its certificates on disk against what is served."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from certagent import __version__
from certagent.agent.reporter import Reporter
from certagent.config import AgentSettings, CertificateSection
from certagent.domain.certificates import CertificateFacts
from certagent.domain.ports import Clock
from certagent.domain.reports import CertificateState, Inventory, Outcome, RunKind, Trigger
from certagent.proof import Prover
from certagent.state import State


class Looking(Protocol):
    """This node, looked at."""

    def addresses(self) -> tuple[str, ...]:
        """Its own addresses."""
        ...

    def role(self) -> str | None:
        """What it serves."""
        ...


class Stock:
    """Takes and reports the inventory. `facts` gives a certificate's newest generation, or None."""

    def __init__(
        self,
        settings: AgentSettings,
        *,
        looking: Looking,
        facts: Callable[[str], CertificateFacts | None],
        prover: Prover,
        state: State,
        due_at: Callable[[str, CertificateFacts], datetime],
        reporter: Reporter,
    ) -> None:
        self._node = settings.agent.name
        self._role = settings.agent.role
        self._certificates = settings.certificate
        self._looking = looking
        self._facts = facts
        self._prover = prover
        self._state = state
        self._due_at = due_at
        self._reporter = reporter
        self._last: Inventory | None = None

    async def report(self, trigger: Trigger) -> None:
        """One inventory report; none when the timer finds what was reported last."""
        run = self._reporter.begin(RunKind.INVENTORY, trigger)
        inventory = Inventory(
            node=self._node,
            addresses=await asyncio.to_thread(self._looking.addresses),
            role=self._role or await asyncio.to_thread(self._looking.role),
            version=__version__,
            certificates=tuple(await self.states()),
        )
        if trigger is not Trigger.TIMER or inventory != self._last:
            self._last = inventory
            self._reporter.end(run, Outcome.DONE, inventory=inventory)

    async def keep(self, every: timedelta, clock: Clock) -> None:
        """Take stock by the timer, for ever: what is served can change without anything happening here."""
        while True:
            await clock.sleep(every.total_seconds())
            await self.report(Trigger.TIMER)

    async def states(self) -> list[CertificateState]:
        """Each certificate: on disk, served on every address, due, last outcome."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._state_of(one), name=f"look at {one.name}") for one in self._certificates]
        return [task.result() for task in tasks]

    async def _state_of(self, certificate: CertificateSection) -> CertificateState:
        facts = self._facts(certificate.name)
        endpoints = [endpoint for target in certificate.deploy for endpoint in target.prove]
        wanted = facts.fingerprint if facts else ""
        seen = await self._prover.served_now(wanted, endpoints, certificate.identifiers)
        served: dict[str, str | None] = {}
        for proof in seen:  # one name that is served otherwise speaks for its endpoint
            if proof.endpoint not in served or proof.fingerprint != wanted:
                served[proof.endpoint] = proof.fingerprint
        last = self._state.certificate(certificate.name).last()
        return CertificateState(
            name=certificate.name,
            identifiers=certificate.identifiers,
            manage=certificate.manage,
            on_disk=facts,
            served=served,
            due_at=self._due_at(certificate.name, facts) if facts else None,
            last_outcome=last.outcome if last else None,
            last_outcome_at=last.at if last else None,
        )
