"""The cast of the collector's tests: the founding failure's nodes, and the reports that they make."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from certagent.domain.findings import Culprit, Finding, Severity, Vantage
from certagent.domain.rehearsals import (
    Attempt,
    DnsAnswer,
    Hop,
    Origin,
    Rehearsal,
    RehearsalOutcome,
    Resolution,
    ResolvedAddress,
)
from certagent.domain.reports import CertificateState, Inventory, Outcome, Report, RunKind, Trigger
from tests.certificates import make_facts

TRAEFIK = "traefik.internal.thinkheads.ai"
NGINX = "nginx.internal.thinkheads.ai"
LINE = f"10.0.0.153 {TRAEFIK}"
HOSTS = "file:/etc/hosts"


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


def shadow(
    identifier: str = TRAEFIK, *, reporter: str = "lxc103", line: int = 7, address: str = "10.0.0.153"
) -> Finding:
    """The founding failure: a hosts line beside the CA decides."""
    return Finding(
        code="dns.hosts_shadow.authority",
        severity=Severity.FATAL,
        identifier=identifier,
        vantage=Vantage.AUTHORITY,
        reporter=reporter,
        explanation=f"The CA on lxc103 goes to {address} for {identifier}, because line {line} of /etc/hosts says so.",
        culprit=Culprit(node="lxc103", file="/etc/hosts", line=line, text=f"{address} {identifier}", address=address),
        fix=f"Remove line {line} of /etc/hosts on lxc103",
        detail={"hosts": address, "dns": ["10.0.0.12"]},
    )


def refused(address: str = "10.0.0.12", node: str | None = "lxc102", identifier: str = TRAEFIK) -> Finding:
    """Nobody listens where the CA asks."""
    return Finding(
        code="net.refused",
        severity=Severity.FATAL,
        identifier=identifier,
        vantage=Vantage.AUTHORITY,
        reporter="lxc103",
        explanation=f"The CA does not get through to {address} port 80 for {identifier}.",
        culprit=Culprit(node=node, address=address),
        fix=f"From the CA's node, reach {address} port 80.",
    )


def rehearsal(outcome: RehearsalOutcome, *, at: datetime | None = None, poisoned: bool = False) -> Rehearsal:
    """What the CA's side saw of Traefik: through the poisoned line, or as DNS says."""
    line = ResolvedAddress(address="10.0.0.153", origin=Origin(source="hosts", file="/etc/hosts", line=7, text=LINE))
    record = ResolvedAddress(address="10.0.0.12", origin=Origin(source="dns", nameserver="10.0.0.153"))
    used = line if poisoned else record
    passed = outcome is RehearsalOutcome.PASSED
    hop = Hop(
        url=f"http://{TRAEFIK}/", name=TRAEFIK, address=used.address, status=200 if passed else 404, server="nginx"
    )
    return Rehearsal(
        identifier=TRAEFIK,
        outcome=outcome,
        at=at or now(),
        node="lxc103",
        resolution=Resolution(
            name=TRAEFIK,
            addresses=(used,),
            hosts=(line,) if poisoned else (),
            dns=(DnsAnswer(nameserver="10.0.0.153", name=TRAEFIK, record="A", status="ok", addresses=("10.0.0.12",)),),
        ),
        attempts=(Attempt(hops=(hop,), matched=passed),),
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
