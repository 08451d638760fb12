"""One deployment: stage, check, promote, validate, reload, prove; when that fails, roll back and prove that.

It may be killed anywhere and is then simply done again: what was done is found done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from certagent.config import CommandTarget, DeployTarget, HaproxyTarget, NginxTarget, TraefikTarget
from certagent.deployers.command import CommandService
from certagent.deployers.faults import fault_about, fault_of, rolled_back, unreadable
from certagent.deployers.haproxy import Haproxy
from certagent.deployers.nginx import Nginx
from certagent.deployers.pair_inspection import KEY, check_pair, may_read
from certagent.deployers.target import Target
from certagent.deployers.traefik import Traefik
from certagent.deployers.wave import Member
from certagent.domain.deployments import (
    Deployment,
    DeploymentOutcome,
    Fault,
    Generation,
    Proof,
    RollbackResult,
    Step,
    WantedCertificate,
)
from certagent.domain.ports import Clock
from certagent.domain.web_servers.nginx_tls import WorkerReader
from certagent.system.files import UnknownOwnerError, find_user
from certagent.system.processes import ReloadCoordinator

Prove = Callable[[WantedCertificate], Awaitable[Proof]]
"""Look at this target's endpoints until that certificate is served there, or time is up."""


def make_target(
    name: str, settings: DeployTarget, reloads: ReloadCoordinator, worker: WorkerReader | None = None
) -> Target:
    """The target that the settings of the certificate called `name` describe; its reloads go through `reloads`.
    `worker`: that nginx's workers read the pair."""
    match settings:
        case NginxTarget():
            return Nginx(name, settings, reloads, worker)
        case TraefikTarget():
            return Traefik(name, settings)
        case HaproxyTarget():
            return Haproxy(name, settings, reloads)
        case CommandTarget():
            return CommandService(name, settings, reloads)


class Deployer:
    """Deploys generations of one certificate to its targets, one target at a time."""

    def __init__(self, identifiers: tuple[str, ...], roots: tuple[x509.Certificate, ...], clock: Clock) -> None:
        self._identifiers = identifiers
        self._roots = roots
        self._clock = clock

    async def deploy(self, target: Target, generation: Generation, prove: Prove) -> Deployment:
        """Make `target` serve `generation`, or leave it as it was. Raises nothing that a disk or a service may do."""
        return await _Attempt(self, target, generation, prove).run()

    async def prepare(self, target: Target) -> list[Fault]:
        """What would keep a deployment to `target` from being written; for the preflight, before any order."""
        try:
            await asyncio.to_thread(target.prepare)
        except (OSError, UnknownOwnerError) as error:
            return [fault_of(error, target)]
        return []

    async def check(self, target: Target, generation: Generation) -> list[Fault]:
        """Stage, and look at what is on disk then. See `Target` for what is raised."""
        folder, faults, reader = await asyncio.to_thread(self._stage, target, generation)
        if reader is not None and not await may_read(folder / KEY, find_user(reader)):
            faults.append(unreadable(target, target.key_file(folder), reader))
        return faults

    def _stage(self, target: Target, generation: Generation) -> tuple[Path, list[Fault], str | None]:
        folder = target.stage(generation)
        return folder, check_pair(folder, self._identifiers, self._clock.now(), self._roots), target.reader()

    @property
    def clock(self) -> Clock:
        """What the steps are timed with."""
        return self._clock


class _Attempt:
    """The procedure, with what it notes down on the way."""

    def __init__(self, deployer: Deployer, target: Target, generation: Generation, prove: Prove) -> None:
        self._deployer = deployer
        self._target = target
        self._generation = generation
        self._prove = prove
        self._steps: list[Step] = []
        self._faults: list[Fault] = []

    async def run(self) -> Deployment:
        try:
            with self._step("stage"):
                self._faults += await self._deployer.check(self._target, self._generation)
        except (OSError, UnknownOwnerError) as error:
            self._faults.append(fault_of(error, self._target))
        if self._faults:
            return self._ended(DeploymentOutcome.FAILED)
        member = Member(self._target, self._generation, self._deployer.clock)
        proof = await self._bring_live(member)
        if proof is None or proof.missing:
            return await self._roll_back(member, proof)
        if not await self._settle():
            return self._ended(DeploymentOutcome.FAILED, proof=proof)
        return self._ended(DeploymentOutcome.PROVEN if proof.is_proven else DeploymentOutcome.UNPROVEN, proof=proof)

    async def _settle(self) -> bool:
        """Record that this generation is proven. Where that fails it stays in place, and the deployment is tried again:
        the next roll-back would go further back than it should.
        """
        try:
            with self._step("settle"):
                await asyncio.to_thread(self._target.settle, self._generation)
        except OSError as error:
            self._faults.append(fault_of(error, self._target))
            return False
        return True

    async def _bring_live(self, member: Member) -> Proof | None:
        """With all others of the service, then look; None when the service does not accept it, or cannot be told of it,
        or when it could not be written at all."""
        await member.go_live()
        self._steps += member.steps
        if member.error is not None:
            self._faults.append(fault_of(member.error, self._target))
        if member.refused is not None:
            self._faults.append(member.refused)
        if member.error is not None or member.refused is not None:
            return None
        with self._step("prove"):
            facts = self._generation.facts
            may_flicker = not self._target.has_settled()
            wanted = WantedCertificate(fingerprint=facts.fingerprint, key=facts.key, may_flicker=may_flicker)
            proof = await self._prove(wanted)
        if member.trouble is not None and not proof.endpoints:  # no evidence, but here there is no other
            self._faults.append(member.trouble)
            return None
        if proof.missing:
            self._faults += [member.trouble] if member.trouble else []
            self._faults += await self._target.explain(self._generation, proof)
            self._faults += [fault_about(missing, self._target) for missing in proof.missing]
        return proof

    async def _roll_back(self, member: Member, proof: Proof | None) -> Deployment:
        """The pair from before, loaded and proven; where there is none, the new one stays: it is the better of two."""
        restored = member.restored or await self._go_back()
        if restored is None:
            return self._ended(DeploymentOutcome.FAILED, proof=proof)
        with self._step("reload again"):
            await Member(self._target, None, self._deployer.clock).go_live()
        seen = None
        if restored.fingerprint is not None:
            with self._step("prove again"):
                seen = await self._prove(WantedCertificate(fingerprint=restored.fingerprint, is_restored=True))
        self._faults.append(rolled_back(self._target, seen))
        return self._ended(DeploymentOutcome.ROLLED_BACK, proof=proof, restored=seen)

    async def _go_back(self) -> RollbackResult | None:
        try:
            async with self._target.writing():
                with self._step("roll back"):
                    return await asyncio.to_thread(self._target.roll_back)
        except OSError as error:
            self._faults.append(fault_of(error, self._target))
            return None

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        started = self._deployer.clock.monotonic()
        try:
            yield
        finally:
            took = timedelta(seconds=self._deployer.clock.monotonic() - started)
            self._steps.append(Step(name=name, took=took))

    def _ended(
        self, outcome: DeploymentOutcome, *, proof: Proof | None = None, restored: Proof | None = None
    ) -> Deployment:
        return Deployment(
            target=self._target.name,
            kind=self._target.kind,
            generation=self._generation.number,
            fingerprint=self._generation.facts.fingerprint,
            outcome=outcome,
            steps=tuple(self._steps),
            faults=tuple(self._faults),
            proof=proof,
            restored=restored,
        )
