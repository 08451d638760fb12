"""The targets of this node's certificates: owned by one agent, deployed to one after the other, each proven."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from certagent.agent.context import AgentContext
from certagent.agent.nginx_reader import NginxReader
from certagent.agent.schedule import Schedule
from certagent.agent.traefik_reader import TraefikReader
from certagent.config import (
    CertificateSection,
    CommandTarget,
    DeployTarget,
    Endpoint,
    HaproxyTarget,
    NginxTarget,
    TraefikTarget,
    endpoint_of,
    split_endpoint,
)
from certagent.deployers import haproxy
from certagent.deployers.deploy import Deployer, make_target
from certagent.deployers.pair_inspection import find_pair_faults
from certagent.deployers.target import Target
from certagent.deployers.traefik import Loss, Traefik
from certagent.domain import catalogue
from certagent.domain.certificates import read_roots
from certagent.domain.chains import Roots
from certagent.domain.deployments import Deployment, Fault, Generation, Proof, WantedCertificate
from certagent.domain.diagnosis.drift import LiveTarget
from certagent.domain.diagnosis.order_result import deployment_failed
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.web_servers.nginx_tls import WorkerReader
from certagent.proof import Prover, Trust
from certagent.system.files import LockedError, UnknownOwnerError, lock_file
from certagent.system.processes import ReloadCoordinator
from certagent.system.procfs import ProcFs
from certagent.system.tls import read_root_files
from certagent.vantage.kept_readings import Stamp, stamp_of

_LOOK_SECONDS = 5.0
Surroundings = tuple[tuple[Stamp, int | None], ...]
"""Of each target: the files around it, and its service's first process."""


class _TargetReading(NamedTuple):
    """What a deployment to one target has to know: the endpoints that a handshake shows and what keeps it from showing
    the others, who reads the pair in place of nginx's master, whether the endpoints are this node's."""

    endpoints: list[Endpoint]
    unproven: list[Fault]
    worker: WorkerReader | None
    is_here: bool
    roots: Roots


class DeploymentService:
    """Deploys a generation to all targets of its certificate, one target after the other."""

    def __init__(self, context: AgentContext, prover: Prover) -> None:
        self._root = context.settings.authority.root
        self._policy = context.policy.proof
        self._clock = context.clock
        self._prover = prover
        self._reloads = ReloadCoordinator(context.clock)
        self._nginx = NginxReader()
        self._traefik = TraefikReader()
        self._sections = context.settings.certificate

    async def deploy(self, certificate: CertificateSection, generation: Generation) -> list[Deployment]:
        """One deployment per target, in the order of the configuration; a failed one does not stop the next."""
        return [await self._deploy_to(certificate, section, generation) for section in certificate.deploy]

    @contextmanager
    def expect_reload(self, certificate: CertificateSection) -> Iterator[None]:
        """Around a renewal: a reload of its targets' services for other certificates may wait for this one."""
        with ExitStack() as stack:
            for target in self._targets(certificate):
                if target.service is not None:
                    stack.enter_context(self._reloads.expecting(target.service, certificate.name))
            yield

    async def find_faults(self, certificate: CertificateSection) -> list[Fault]:
        """What would keep the certificate's targets from being written, or its pair from being served, before anything
        is ordered. Changes nothing."""
        deployer = Deployer(certificate.identifiers, (), self._clock)
        faults = [fault for target in self._targets(certificate) for fault in await deployer.prepare(target)]
        for section in certificate.deploy:
            faults += await self._find_rivals(certificate, section)
        return faults

    async def _find_rivals(self, certificate: CertificateSection, section: DeployTarget) -> list[Fault]:
        if not isinstance(section, TraefikTarget):
            return []
        return await asyncio.to_thread(self._rivals_of, certificate, section)

    def _rivals_of(self, certificate: CertificateSection, section: TraefikTarget) -> list[Fault]:
        return self._traefik.find_rivals(certificate, section, self._sections)

    async def find_pair_faults(self, certificate: CertificateSection, generation: Generation) -> list[Fault]:
        """What speaks against the pair itself, wherever it is deployed to."""
        roots, now = await asyncio.to_thread(self._roots), self._clock.now()
        return await asyncio.to_thread(find_pair_faults, generation, certificate.identifiers, now, roots)

    def lock_files(self, certificate: CertificateSection) -> list[Path]:
        """What to lock while this agent owns the certificate's targets."""
        return [target.lock_file() for target in self._targets(certificate)]

    def live_files(self, certificate: CertificateSection) -> list[Path]:
        """The files that decide what is live, no key; those of Traefik as its YAML names them now. Blocks."""
        files: list[Path] = []
        for section in certificate.deploy:
            if isinstance(section, TraefikTarget):
                with suppress(OSError):
                    files += Traefik(certificate.name, section).live_files()
            else:
                files.append(section.certificate)
        return files

    def find_losses(
        self, certificate: CertificateSection, is_older: Callable[[str], bool]
    ) -> tuple[CertificateSection, list[Loss]]:
        """(the certificate with only the targets that have lost a file of ours, the first such file of each). Of
        Traefik alone; none where a pair of somebody else's is there in place of ours. Blocks."""
        lost: list[tuple[TraefikTarget, Loss]] = []
        for section in certificate.deploy:
            if not isinstance(section, TraefikTarget):
                continue
            with suppress(OSError):
                loss = Traefik(certificate.name, section).find_loss(is_older)
                if loss is not None and not self._rivals_of(certificate, section):
                    lost.append((section, loss))
        narrowed = msgspec.structs.replace(certificate, deploy=tuple(section for section, _ in lost))
        return narrowed, [loss for _, loss in lost]

    def restore(self, certificate: CertificateSection, generation: Generation) -> None:
        """Have the targets know that generation as the proven one, which it was: a roll-back goes to it. What a target
        refuses, its deployment tells. Blocks."""
        for target in self._targets(certificate):
            with suppress(OSError, UnknownOwnerError):
                target.stage(generation)
                target.settle(generation)

    def read_live(self, certificate: CertificateSection) -> list[LiveTarget]:
        """What each target has live on disk; leaves out one that cannot be read. Blocks."""
        found = []
        for target in self._targets(certificate):
            with suppress(OSError):
                found.append(LiveTarget(target=target.name, pair=target.live()))
        return found

    def target_names(self, certificate: CertificateSection) -> dict[str, str]:
        """The name of the target that each endpoint belongs to."""
        pairs = zip(certificate.deploy, self._targets(certificate), strict=True)
        return {endpoint_of(one).address: target.name for section, target in pairs for one in section.prove}

    def surroundings(self, certificate: CertificateSection) -> Surroundings:
        """What decides, beside the pair itself, whether its targets serve it: the files of others that the services
        read, and the processes. Blocks."""
        return tuple(self._around(section) for section in certificate.deploy)

    def _around(self, section: DeployTarget) -> tuple[Stamp, int | None]:
        match section:
            case NginxTarget():
                return self._nginx.stamp(), _process_of("nginx")
            case TraefikTarget():
                others = [path for path in _listed(section.dynamic) if not path.name.startswith("certagent-")]
                return stamp_of(others), _process_of("traefik")
            case HaproxyTarget():
                return stamp_of(_listed(section.configuration) or [section.configuration]), _process_of("haproxy")
            case CommandTarget():
                return (), None

    async def split_provable(self, section: DeployTarget) -> tuple[list[Endpoint], list[Fault]]:
        """(the endpoints that a handshake shows, what keeps it from showing the others)."""
        if isinstance(section, HaproxyTarget | NginxTarget) and section.prove:
            return await asyncio.to_thread(self._split_provable, section)
        return list(section.prove), []

    def _split_provable(self, section: DeployTarget) -> tuple[list[Endpoint], list[Fault]]:
        match section:
            case HaproxyTarget():
                return haproxy.split_provable(section)
            case NginxTarget() if section.prove:
                return self._nginx.split(f"nginx {section.certificate}", section.prove)
            case _:
                return list(section.prove), []

    def _read_surroundings(self, section: DeployTarget) -> _TargetReading:
        endpoints, unproven = self._split_provable(section)
        worker = self._nginx.find_worker(section) if isinstance(section, NginxTarget) else None
        return _TargetReading(endpoints, unproven, worker, _are_here(endpoints), self._roots())

    def _roots(self) -> Roots:
        return read_roots(read_root_files(self._root))

    def _targets(self, certificate: CertificateSection) -> list[Target]:
        return [make_target(certificate.name, section, self._reloads) for section in certificate.deploy]

    async def _deploy_to(
        self, certificate: CertificateSection, section: DeployTarget, generation: Generation
    ) -> Deployment:
        around = await asyncio.to_thread(self._read_surroundings, section)
        deployer = Deployer(certificate.identifiers, around.roots, self._clock)
        target = make_target(certificate.name, section, self._reloads, around.worker)
        longest = self._policy.for_kind(target.kind)

        async def prove(wanted: WantedCertificate) -> Proof:
            trust = Trust(is_needed=not wanted.is_restored)
            return await self._prover.prove(
                wanted.fingerprint,
                around.endpoints,
                certificate.identifiers,
                longest,
                key=wanted.key,
                trust=trust,
                may_flicker=wanted.may_flicker or not around.is_here,
            )

        deployment = await deployer.deploy(target, generation, prove)
        rivals = [] if deployment.is_good else await self._find_rivals(certificate, section)
        return msgspec.structs.replace(deployment, faults=(*rivals, *deployment.faults, *around.unproven))


def _are_here(endpoints: Sequence[Endpoint]) -> bool:
    """Whether they are this node's own: elsewhere nobody here sees what still serves. Blocks."""
    own = ProcFs().addresses() if endpoints else ()
    hosts = [split_endpoint(endpoint_of(endpoint).address)[0] for endpoint in endpoints]
    return all(host in own or host == "::1" or host.startswith("127.") for host in hosts)


def _listed(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _process_of(program: str) -> int | None:
    """The number of the first process of that name: when it was started is read a little otherwise each time."""
    with suppress(OSError):
        return min((process.pid for process in ProcFs().processes(program)), default=None)
    return None


def deployments_failed(
    node: str,
    certificate: CertificateSection,
    deployments: Sequence[Deployment],
    previous: Generation | None,
    retry_at: datetime | None,
) -> list[Finding]:
    """What went wrong at each target; see `deployment_failed`."""
    facts = previous.facts if previous is not None else None
    name, identifier = certificate.name, certificate.identifiers[0]
    return [
        finding
        for one in deployments
        for finding in deployment_failed(node, name, one, identifier=identifier, previous=facts, retry_at=retry_at)
    ]


class TargetWatch:
    """Certificates that are issued and could not be served: what surrounds their targets is looked at until it changes,
    for then the next try has a new reason. Nothing is looked at while all is well."""

    def __init__(self, context: AgentContext, deployment: DeploymentService) -> None:
        self._clock = context.clock
        self._deployment = deployment
        self._known: dict[str, tuple[CertificateSection, Surroundings]] = {}

    def longest_wait(self, usual: float) -> float:
        """For how many seconds nobody has to look."""
        return min(usual, _LOOK_SECONDS) if self._known else usual

    async def note(self, certificate: CertificateSection, *, is_unproven: bool) -> None:
        """A deployment has ended."""
        self._known.pop(certificate.name, None)
        if is_unproven:
            seen = await asyncio.to_thread(self._deployment.surroundings, certificate)
            self._known[certificate.name] = certificate, seen

    async def hurry(self, schedule: Schedule) -> None:
        """Have those tried now around which something has changed."""
        for name, (certificate, before) in list(self._known.items()):
            seen = await asyncio.to_thread(self._deployment.surroundings, certificate)
            if seen != before and name in self._known:
                self._known[name] = certificate, seen
                schedule.hurry(name, self._clock.now())


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

    async def acquire(self, certificate: CertificateSection) -> Finding | None:
        """Own it from now on; a finding (cert.two_owners) that names the owner if that is another agent."""
        return None if self.holds(certificate.name) else await asyncio.to_thread(self._acquire, certificate)

    def _acquire(self, certificate: CertificateSection) -> Finding | None:
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
