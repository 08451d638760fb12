"""The targets of this node's certificates: owned by one agent, deployed to one after the other, each proven."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from certagent.agent.context import AgentContext
from certagent.agent.nginx_reader import NginxReader
from certagent.config import CertificateSection, DeployTarget, Endpoint, NginxTarget
from certagent.deployers.deploy import Deployer, make_target
from certagent.deployers.pair_inspection import find_pair_faults
from certagent.deployers.target import Target
from certagent.domain import catalogue
from certagent.domain.certificates import read_roots
from certagent.domain.chains import Roots
from certagent.domain.deployments import Deployment, Fault, Generation, Proof, WantedCertificate
from certagent.domain.diagnosis.drift import LiveTarget
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.proof import Prover, Trust
from certagent.system.files import LockedError, lock_file
from certagent.system.processes import ReloadCoordinator


class DeploymentService:
    """Deploys a generation to all targets of its certificate, one target after the other."""

    def __init__(self, context: AgentContext, prover: Prover) -> None:
        self._root = context.settings.authority.root
        self._policy = context.policy.proof
        self._clock = context.clock
        self._prover = prover
        self._reloads = ReloadCoordinator(context.clock)
        self._nginx = NginxReader()

    async def deploy(self, certificate: CertificateSection, generation: Generation) -> list[Deployment]:
        """One deployment per target, in the order of the configuration; a failed one does not stop the next."""
        deployer = Deployer(certificate.identifiers, await asyncio.to_thread(self._roots), self._clock)
        return [await self._deploy_to(deployer, certificate, section, generation) for section in certificate.deploy]

    @contextmanager
    def expect_reload(self, certificate: CertificateSection) -> Iterator[None]:
        """Around a renewal: a reload of its targets' services for other certificates may wait for this one."""
        with ExitStack() as stack:
            for target in self._targets(certificate):
                if target.service is not None:
                    stack.enter_context(self._reloads.expecting(target.service, certificate.name))
            yield

    async def find_faults(self, certificate: CertificateSection) -> list[Fault]:
        """What would keep the certificate's targets from being written, before anything is ordered. Changes nothing."""
        deployer = Deployer(certificate.identifiers, (), self._clock)
        return [fault for target in self._targets(certificate) for fault in await deployer.prepare(target)]

    async def find_pair_faults(self, certificate: CertificateSection, generation: Generation) -> list[Fault]:
        """What speaks against the pair itself, wherever it is deployed to."""
        roots, now = await asyncio.to_thread(self._roots), self._clock.now()
        return await asyncio.to_thread(find_pair_faults, generation, certificate.identifiers, now, roots)

    def lock_files(self, certificate: CertificateSection) -> list[Path]:
        """What to lock while this agent owns the certificate's targets."""
        return [target.lock_file() for target in self._targets(certificate)]

    def read_live(self, certificate: CertificateSection) -> list[LiveTarget]:
        """What each target has live on disk; leaves out one that cannot be read. Blocks."""
        found = []
        for target in self._targets(certificate):
            with suppress(OSError):
                found.append(LiveTarget(target=target.name, pair=target.live()))
        return found

    async def split_provable(self, section: DeployTarget) -> tuple[list[Endpoint], list[Fault]]:
        """(the endpoints that a handshake shows, what keeps it from showing the others)."""
        if not isinstance(section, NginxTarget) or not section.prove:
            return list(section.prove), []
        return await asyncio.to_thread(self._nginx.split, f"nginx {section.certificate}", section.prove)

    def _roots(self) -> Roots:
        return read_roots(self._root.read_bytes())

    def _targets(self, certificate: CertificateSection) -> list[Target]:
        return [make_target(certificate.name, section, self._reloads) for section in certificate.deploy]

    async def _deploy_to(
        self, deployer: Deployer, certificate: CertificateSection, section: DeployTarget, generation: Generation
    ) -> Deployment:
        endpoints, unproven = await self.split_provable(section)
        worker = None
        if isinstance(section, NginxTarget):
            worker = await asyncio.to_thread(self._nginx.find_worker, section)
        target = make_target(certificate.name, section, self._reloads, worker)
        longest = self._policy.for_kind(target.kind)

        async def prove(wanted: WantedCertificate) -> Proof:
            trust = Trust(is_needed=not wanted.is_restored)
            return await self._prover.prove(
                wanted.fingerprint, endpoints, certificate.identifiers, longest, key=wanted.key, trust=trust
            )

        deployment = await deployer.deploy(target, generation, prove)
        return msgspec.structs.replace(deployment, faults=(*deployment.faults, *unproven))


class CertificateLocks:
    """One owner per certificate: the agent that manages it holds its locks, in the state and at each target.

    Two agents that are configured with the same certificate would issue and deploy against each other for ever. What
    is acquired is held to the end. Use as a context manager.
    """

    def __init__(self, context: AgentContext, deployment: DeploymentService) -> None:
        self._context = context
        self._deployment = deployment
        self._held = ExitStack()
        self._names: set[str] = set()

    def __enter__(self) -> "CertificateLocks":
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def holds(self, name: str) -> bool:
        """Whether this agent owns that certificate."""
        return name in self._names

    def acquire(self, certificate: CertificateSection) -> Finding | None:
        """Own it from now on; a finding (cert.two_owners) that names the owner if that is another agent. Blocks."""
        if certificate.name in self._names:
            return None
        holder = f"the agent {self._context.node}, process {os.getpid()}"
        with ExitStack() as acquired:
            try:
                with suppress(OSError):  # a state that cannot be written is reported by whoever writes
                    acquired.enter_context(self._context.state.certificate(certificate.name).lock(holder))
                for path in self._deployment.lock_files(certificate):
                    with suppress(OSError):  # then it cannot be deployed to, either
                        acquired.enter_context(lock_file(path, holder))
            except LockedError as error:
                return _two_owners(self._context.node, certificate, str(error))
            self._held.push(acquired.pop_all())
            self._names.add(certificate.name)
        return None


def _two_owners(node: str, certificate: CertificateSection, owner: str) -> Finding:
    return catalogue.finding(
        "cert.two_owners",
        vantage=Vantage.STATIC,
        reporter=node,
        identifier=certificate.identifiers[0],
        culprit=Culprit(node=node),
        holder=owner,
        certificate=certificate.name,
    )
