"""The inventory: this node as it knows itself, and its certificates on disk against what is served."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from certagent import __version__
from certagent.agent.context import AgentContext
from certagent.agent.drift import DriftMonitor
from certagent.agent.schedule import Schedule, in_turns
from certagent.config import CertificateSection
from certagent.domain.certificates import CertificateFacts
from certagent.domain.deployments import EndpointProof
from certagent.domain.diagnosis.drift import Serving
from certagent.domain.findings import Finding
from certagent.domain.reports import (
    CertificateState,
    Inventory,
    Outcome,
    RunKind,
    Trigger,
    certificate_scope,
    identifier_scope,
)
from certagent.issuance.directory import fingerprints_of_files
from certagent.system.processes import ReloadCoordinator
from certagent.vantage.node_vantage import NodeVantage

_RECORD = "spoken-for"


class InventoryReporter:
    """Takes and reports the inventory: of those certificates, and whenever it is asked for."""

    def __init__(self, context: AgentContext, node: NodeVantage, drift: DriftMonitor, schedule: Schedule) -> None:
        self._context = context
        self._certificates = {section.name: section for section in context.settings.certificate}
        self._node = node
        self._drift = drift
        self._schedule = schedule
        self._coordinator = ReloadCoordinator(context.clock)
        self._requested: dict[str, tuple[EndpointProof, ...] | None] = {}
        self._states: dict[str, CertificateState] = {}
        self._last: Inventory | None = None

    async def report(
        self, trigger: Trigger, names: Sequence[str] = (), served: tuple[EndpointProof, ...] | None = None
    ) -> None:
        """Observe those certificates (default: all), and report one inventory; none when the timer finds what was
        reported last. Whoever asks while one is being taken shares the next. `served`: what a proof has just shown of
        them, so that nobody has to look again."""
        for name in names or self._certificates:
            self._requested[name] = self._requested.get(name, served) and served
        await self._coordinator.run_shared("inventory", partial(self._report, trigger))

    def is_known(self, name: str, chain_pem: bytes) -> bool:
        """Whether that is what was last seen to be served as it should be."""
        return self._drift.is_well_served(name, chain_pem)

    def troubles(self) -> frozenset[str]:
        """The certificates that are not served as they should be, as far as that is reported."""
        return self._drift.find_troubled()

    async def states(self) -> tuple[list[CertificateState], list[Finding]]:
        """Each certificate: on disk, served on every address, due, last outcome; and what is wrong, graded."""
        turns = in_turns(list(self._certificates))
        observed = [serving for names in turns for serving in await self._observe(dict.fromkeys(names))]
        states = [self._state_of(serving) for serving in observed]
        return states, await asyncio.to_thread(self._drift.findings, observed)

    async def _report(self, trigger: Trigger) -> None:
        """In turns: what is wrong is told after each, the inventory before the last is."""
        run = self._context.reporter.begin(RunKind.INVENTORY, trigger)
        names, self._requested = self._requested, {}
        try:
            observed: list[Serving] = []
            for turn in in_turns([name for name in self._certificates if name in names]):
                if observed:
                    await self._drift.report(observed, trigger)
                observed = await self._observe({name: names[name] for name in turn})
                self._states |= {serving.name: self._state_of(serving) for serving in observed}
        except BaseException:
            self._requested |= dict.fromkeys(names)  # whoever shares this turn asked for them as well
            raise
        inventory = await self._take()
        if trigger is not Trigger.TIMER or inventory != self._last:
            self._last = inventory
            await self._context.reporter.end_with_others(run, Outcome.DONE, inventory=inventory)
        await self._drift.report(observed, trigger)
        await self._drift.inspect_web_servers(trigger)

    async def _take(self) -> Inventory:
        return Inventory(
            node=self._context.node,
            addresses=await asyncio.to_thread(self._node.addresses),
            role=self._context.settings.agent.role or await asyncio.to_thread(self._node.role),
            version=__version__,
            resolver=await asyncio.to_thread(self._node.resolver),
            roots=await asyncio.to_thread(fingerprints_of_files, self._context.settings.authority.root),
            certificates=tuple(self._states.get(name) or _unobserved(one) for name, one in self._certificates.items()),
        )

    async def _observe(self, names: Mapping[str, tuple[EndpointProof, ...] | None]) -> list[Serving]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._drift.observe(self._certificates[name], served), name=f"observe {name}")
                for name, served in names.items()
            ]
        return [task.result() for task in tasks]

    def _state_of(self, serving: Serving) -> CertificateState:
        certificate = self._certificates[serving.name]
        folder = self._context.state.certificate(certificate.name)
        facts = folder.facts() if certificate.manage else _foreign_facts(serving)
        due_at = self._schedule.due_at(certificate.name, facts) if facts and certificate.manage else None
        last = folder.last()
        return CertificateState(
            name=certificate.name,
            identifiers=certificate.identifiers,
            manage=certificate.manage,
            on_disk=facts,
            served=_served_fingerprints(serving, facts.fingerprint if facts else ""),
            due_at=due_at,
            last_outcome=last.outcome if last else None,
            last_outcome_at=last.at if last else None,
            unverified=tuple(dict.fromkeys(seen.endpoint for seen in serving.served if seen.distrust == "untrusted")),
        )


def _unobserved(certificate: CertificateSection) -> CertificateState:
    """That it is there: what an inventory leaves out, the node no longer has."""
    return CertificateState(name=certificate.name, identifiers=certificate.identifiers, manage=certificate.manage)


def _served_fingerprints(serving: Serving, wanted: str) -> dict[str, str | None]:
    """By endpoint; one name that is served otherwise speaks for its endpoint."""
    served: dict[str, str | None] = {}
    for proof in serving.served:
        if proof.endpoint not in served or proof.fingerprint != wanted:
            served[proof.endpoint] = proof.fingerprint
    return served


def _foreign_facts(serving: Serving) -> CertificateFacts | None:
    """Of what somebody else renews: as it lies on disk; where that cannot be read (Traefik's acme.json), as served."""
    on_disk = [live.pair.facts for live in serving.live if live.pair.facts is not None]
    served = [proof.leaf for proof in serving.served if proof.leaf is not None and proof.distrust is None]
    return next(iter((*on_disk, *served)), None)


# --- what the configuration no longer names ---------------------------------------------------------------------------


class ConfiguredNames(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration names, and this agent reports about: a record of the state folder."""

    identifiers: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()


def report_removed(context: AgentContext) -> None:
    """Clear the scopes of what the configuration no longer names: its findings would stand for ever, for nobody judges
    it. Run at each start, before anything is judged."""
    before = context.state.read_record(_RECORD, ConfiguredNames) or ConfiguredNames()
    sections, reporter = context.settings.certificate, context.reporter
    now = ConfiguredNames(
        identifiers=tuple(sorted({identifier for section in sections for identifier in section.identifiers})),
        certificates=tuple(sorted(section.name for section in sections)),
    )
    for gone in in_turns(sorted(set(before.identifiers) - set(now.identifiers))):
        run = reporter.begin(RunKind.PREFLIGHT, Trigger.START)
        reporter.end(run, Outcome.DONE, scopes=[identifier_scope(name) for name in gone])
    for gone in in_turns(sorted(set(before.certificates) - set(now.certificates))):
        run, only = reporter.begin(RunKind.RENEWAL, Trigger.START), gone[0] if len(gone) == 1 else None
        reporter.end(run, Outcome.DONE, scopes=[certificate_scope(name) for name in gone], certificate=only)
    if before != now:
        context.state.write_record(_RECORD, now)
