"""Reports: what one run came to, and the node as it knows itself. Values only; they are the wire format."""

from datetime import datetime
from enum import StrEnum

import msgspec

from certagent.domain.certificates import CertificateFacts
from certagent.domain.findings import Finding, Verdict
from certagent.domain.rehearsals import Rehearsal


class Trigger(StrEnum):
    """Why a run began."""

    START = "start"
    FILE = "file"
    TIMER = "timer"
    REQUEST = "request"
    JUDGE_AGAIN = "judge_again"


class RunKind(StrEnum):
    """What a run was for."""

    INVENTORY = "inventory"
    WATCH = "watch"
    PREFLIGHT = "preflight"
    RENEWAL = "renewal"
    SERVING = "serving"


class Outcome(StrEnum):
    """How a run ended. Giving up is an outcome, too."""

    DONE = "done"  # nothing to complain of; for a renewal: issued, deployed, proven served
    FOUND = "found"  # done, with findings
    KEPT = "kept"  # blocked, and kept alive: renewed by mTLS without a challenge, proven served; the trouble stays open
    BLOCKED = "blocked"  # withheld before any order
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # killed; reported by the next start under the same id


class ScopeKind(StrEnum):
    """What a run may speak for; a scope is its kind, a colon, and a name."""

    IDENTIFIER = "identifier"
    FILE = "file"
    CERTIFICATE = "certificate"
    SERVED = "served"


class CertificateState(msgspec.Struct, frozen=True, kw_only=True):
    """One configured certificate: on disk, served (per proven address), due, last outcome."""

    name: str
    identifiers: tuple[str, ...]
    manage: bool = True
    on_disk: CertificateFacts | None = None
    served: dict[str, str | None] = {}  # "10.0.0.12:443" -> fingerprint, null: nothing served
    due_at: datetime | None = None
    last_outcome: Outcome | None = None
    last_outcome_at: datetime | None = None


class Resolver(msgspec.Struct, frozen=True, kw_only=True):
    """How a Go program on the node resolves names: what is asked in turn, nameservers and search list."""

    order: tuple[str, ...]
    nameservers: tuple[str, ...]
    search: tuple[str, ...] = ()


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """A node as it knows itself. `role`: what it serves, such as "authority", "gateway", "traefik", "collector"."""

    node: str
    addresses: tuple[str, ...]
    role: str | None = None
    version: str = ""
    certificates: tuple[CertificateState, ...] = ()
    resolver: Resolver | None = None  # an older agent does not say


class FileChange(msgspec.Struct, frozen=True, kw_only=True):
    """What changed in a watched file: whole lines, as they are. Absence is exists=False. `left_out`: how many lines
    of a very large change are not shown, or not whole."""

    file: str
    exists: bool
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    left_out: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run's report. Delivered at least once, accepted once: (agent, id) is its identity.

    `scopes` is what the run speaks for (`"identifier:NAME"`, `"file:PATH"`, `"certificate:NAME"`): its findings
    replace all earlier findings of the same agent in the same scopes, and a scope without a finding is clear.
    Every finding belongs to exactly one scope: a watch's to its file, a preflight's to its identifier, a
    renewal's to its certificate, what is served to `"served:CERTIFICATE"` (`"served:"`: the
    node itself). `sequence` grows by one per report of an agent. `count`: folded repeats.
    """

    id: str
    agent: str
    sequence: int
    kind: RunKind
    trigger: Trigger
    started_at: datetime
    finished_at: datetime
    outcome: Outcome
    scopes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    certificate: str | None = None
    verdicts: dict[str, Verdict] = {}
    rehearsals: tuple[Rehearsal, ...] = ()
    changes: tuple[FileChange, ...] = ()
    inventory: Inventory | None = None
    count: int = 1


def file_scope(path: str) -> str:
    """What is said of a watched file."""
    return f"{ScopeKind.FILE}:{path}"


def identifier_scope(identifier: str | None) -> str:
    """What is said of an identifier by a preflight."""
    return f"{ScopeKind.IDENTIFIER}:{identifier}"


def certificate_scope(name: str) -> str:
    """What is said of a certificate by its renewal."""
    return f"{ScopeKind.CERTIFICATE}:{name}"


def served_scope(name: str | None) -> str:
    """What is said of a certificate as it is served; None: of the node itself."""
    return f"{ScopeKind.SERVED}:{name or ''}"


def scope_of(report: Report, finding: Finding) -> str:
    """The one scope that a finding of this report belongs to (see `Report`)."""
    if report.kind is RunKind.WATCH and finding.culprit is not None and finding.culprit.file is not None:
        return file_scope(finding.culprit.file)
    if report.kind is RunKind.RENEWAL and report.certificate is not None:
        return certificate_scope(report.certificate)
    if report.kind is RunKind.SERVING:
        return served_scope(report.certificate)
    return identifier_scope(finding.identifier)
