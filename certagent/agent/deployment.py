"""Deployments for the renewal: every target of a certificate, each proven at its own endpoints."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cryptography import x509

from certagent.config import CertificateSection, DeployTarget
from certagent.deployers.deploy import Deployer, make_target
from certagent.domain.deployments import Deployment, Fault, Generation, Proof
from certagent.domain.diagnosis.drift import LiveTarget
from certagent.domain.policy import ProofPolicy
from certagent.domain.ports import Clock
from certagent.proof import Prover
from certagent.system.processes import ReloadCoordinator


class DeploymentService:
    """Deploys a generation to all targets of its certificate, one target after the other."""

    def __init__(self, prover: Prover, root: Path, policy: ProofPolicy, clock: Clock) -> None:
        self._prover = prover
        self._root = root
        self._policy = policy
        self._clock = clock
        self._turns = ReloadCoordinator(clock)

    async def deploy(self, certificate: CertificateSection, generation: Generation) -> list[Deployment]:
        """One deployment per target, in the order of the configuration; a failed one does not stop the next."""
        pem = await asyncio.to_thread(self._root.read_bytes)
        deployer = Deployer(certificate.identifiers, tuple(x509.load_pem_x509_certificates(pem)), self._clock)
        return [await self._deploy_to(deployer, certificate, target, generation) for target in certificate.deploy]

    @contextmanager
    def expecting(self, certificate: CertificateSection) -> Iterator[None]:
        """While it is renewed: a reload of its targets' services, for others, may wait for it."""
        with ExitStack() as stack:
            for settings in certificate.deploy:
                service = make_target(certificate.name, settings, self._turns).service
                if service is not None:
                    stack.enter_context(self._turns.expecting(service, certificate.name))
            yield

    async def faults(self, certificate: CertificateSection) -> list[Fault]:
        """What would keep the certificate's targets from being written, before anything is ordered. Changes nothing."""
        deployer = Deployer(certificate.identifiers, (), self._clock)
        targets = [make_target(certificate.name, settings, self._turns) for settings in certificate.deploy]
        return [fault for target in targets for fault in await deployer.prepare(target)]

    def lock_files(self, certificate: CertificateSection) -> list[Path]:
        """What to hold while this agent looks after the certificate's targets."""
        return [make_target(certificate.name, one, self._turns).lock_file() for one in certificate.deploy]

    def live(self, certificate: CertificateSection) -> list[LiveTarget]:
        """What each target has live on disk; nothing of one that cannot be read. Blocks."""
        found = []
        for settings in certificate.deploy:
            target = make_target(certificate.name, settings, self._turns)
            with suppress(OSError):
                found.append(LiveTarget(target=target.name, pair=target.live()))
        return found

    async def _deploy_to(
        self, deployer: Deployer, certificate: CertificateSection, settings: DeployTarget, generation: Generation
    ) -> Deployment:
        target = make_target(certificate.name, settings, self._turns)
        within = self._policy.for_kind(target.kind)

        async def prove(fingerprint: str) -> Proof:
            return await self._prover.prove(fingerprint, settings.prove, certificate.identifiers, within)

        return await deployer.deploy(target, generation, prove)
