"""The cast of the collector's tests: the founding failure's nodes, and the reports that they make."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from certagent.collector.access import Access
from certagent.collector.admission import Admission
from certagent.collector.agent_link import AgentLinks
from certagent.collector.bodies import Bodies
from certagent.collector.host_names import HostNames
from certagent.collector.intake import Intake
from certagent.collector.store import Store
from certagent.domain.findings import Finding
from certagent.domain.ports import Clock
from certagent.domain.reports import CertificateState, Inventory, Outcome, Report, RunKind, Trigger
from tests.certificates import make_facts
from tests.evidence import NGINX, TRAEFIK

HOSTS = "file:/etc/hosts"
AT_RISK = "traefik on lxc102 expires in 19 h 59 min"


def now() -> datetime:
    """The present."""
    return datetime.now(UTC)


@dataclass
class Agent:
    """An agent that numbers its reports as a real one does."""

    name: str
    sequence: int = 0
    made: list[Report] = field(default_factory=list)

    def report(self, kind: RunKind, *, at: datetime | None = None, **parts: Any) -> Report:
        """The next report."""
        self.sequence += 1
        at = at or now()
        report = Report(
            id=f"{self.name}-{self.sequence}",
            agent=self.name,
            sequence=self.sequence,
            kind=kind,
            trigger=Trigger.START,
            started_at=at,
            finished_at=at,
            outcome=Outcome.FOUND if parts.get("findings") else Outcome.DONE,
            **parts,
        )
        self.made.append(report)
        return report

    def watch(self, *findings: Finding, at: datetime | None = None, scope: str = HOSTS) -> Report:
        """What a change of /etc/hosts came to; nothing found: clear."""
        return self.report(RunKind.WATCH, scopes=(scope,), findings=findings, at=at)

    def preflight(
        self, *findings: Finding, identifier: str = TRAEFIK, at: datetime | None = None, **parts: Any
    ) -> Report:
        """What preflight of one identifier came to."""
        return self.report(RunKind.PREFLIGHT, scopes=(f"identifier:{identifier}",), findings=findings, at=at, **parts)

    def inventory(self, address: str, role: str, *certificates: CertificateState) -> Report:
        """The node as it knows itself."""
        inventory = Inventory(
            node=self.name, addresses=(address,), role=role, version="0.1.0", certificates=certificates
        )
        return self.report(RunKind.INVENTORY, inventory=inventory)


def certificate(name: str, *identifiers: str, left: timedelta = timedelta(hours=20)) -> CertificateState:
    """A certificate on disk and served."""
    facts = make_facts(*identifiers, not_before=now() + left - timedelta(hours=24))
    return CertificateState(
        name=name, identifiers=identifiers, on_disk=facts, served={"10.0.0.12:443": facts.fingerprint}
    )


@dataclass
class Cast:
    """The four nodes."""

    gateway: Agent = field(default_factory=lambda: Agent("lxc101"))
    traefik: Agent = field(default_factory=lambda: Agent("lxc102"))
    authority: Agent = field(default_factory=lambda: Agent("lxc103"))

    def inventories(self) -> list[Report]:
        """What each says of itself at the start."""
        return [
            self.gateway.inventory("10.0.0.153", "gateway", certificate("gateway", NGINX)),
            self.traefik.inventory("10.0.0.12", "traefik", certificate("traefik", TRAEFIK)),
            self.authority.inventory("10.0.0.10", "authority"),
        ]


def make_intake(store: Store, registry: CollectorRegistry, clock: Clock) -> Intake:
    """An intake on that store, with nobody connected."""
    access = Access(store, clock, HostNames(frozenset()))
    return Intake(store, Bodies(), Admission(store, access, AgentLinks(), clock), registry, clock)
