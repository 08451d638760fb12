"""Reports: what one run came to, the node as it knows itself, what became of watched files. They are the wire format.

A change set is decided by content, in time in proportion to the files: a minimal difference of hostile lines takes
minutes. Pure.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from certagent.domain.certificates import CertificateFacts
from certagent.domain.findings import Finding, Verdict
from certagent.domain.open_enum import OpenEnum
from certagent.domain.rehearsals import Rehearsal


class Trigger(OpenEnum):
    """Why a run began."""

    START = "start"
    FILE = "file"
    TIMER = "timer"
    REQUEST = "request"
    JUDGE_AGAIN = "judge_again"


class RunKind(OpenEnum):
    """What a run was for."""

    INVENTORY = "inventory"
    WATCH = "watch"
    PREFLIGHT = "preflight"
    RENEWAL = "renewal"
    SERVING = "serving"


class Outcome(OpenEnum):
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
    """One configured certificate: on disk, served (per proven address), due, last outcome. `unverified`: the addresses
    whose chain nobody here trusts."""

    name: str
    identifiers: tuple[str, ...]
    manage: bool = True
    on_disk: CertificateFacts | None = None
    served: dict[str, str | None] = {}  # "10.0.0.12:443" -> fingerprint, null: nothing served
    due_at: datetime | None = None
    last_outcome: Outcome | None = None
    last_outcome_at: datetime | None = None
    unverified: tuple[str, ...] = ()


class Resolver(msgspec.Struct, frozen=True, kw_only=True):
    """How a Go program on the node resolves names: what is asked in turn, nameservers and search list."""

    order: tuple[str, ...]
    nameservers: tuple[str, ...]
    search: tuple[str, ...] = ()


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """A node as it knows itself. `role`: what it serves, such as "authority", "nginx", "traefik", "collector", or what
    its configuration says."""

    node: str
    addresses: tuple[str, ...]
    role: str | None = None
    version: str = ""
    certificates: tuple[CertificateState, ...] = ()
    resolver: Resolver | None = None  # an older agent does not say
    roots: tuple[str, ...] = ()  # SHA-256 of the CA's roots that it trusts; an older agent does not say


class FileChange(msgspec.Struct, frozen=True, kw_only=True):
    """What changed in a watched file: whole lines, as they are. Absence is exists=False. `left_out`: how many lines
    of a very large change are not shown, or not whole."""

    file: str
    exists: bool
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    left_out: int = 0


class FixEvent(msgspec.Struct, frozen=True, kw_only=True):
    """`certagent fix --apply` on the node, or its `--undo`: which fix, in which files, run by whom."""

    id: str
    at: datetime
    files: tuple[str, ...]
    incident: str | None = None
    by: str | None = None
    is_undone: bool = False


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run's report. Delivered at least once, accepted once: (agent, id) is its identity.

    `scopes` is what the run speaks for (`"identifier:NAME"`, `"file:PATH"`, `"certificate:NAME"`): its findings
    replace all earlier findings of the same agent in the same scopes, and a scope without a finding is clear.
    Every finding belongs to exactly one scope: a watch's to its file, a preflight's to its identifier, a
    renewal's to its certificate, what is served to `"served:CERTIFICATE"` (`"served:"`: the
    node itself). `sequence` grows by one per report of an agent. `count`: folded repeats. `other_files`: where it is
    given, `scopes` and these are all the files that the agent speaks for: what it said of any other is over.
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
    fixes: tuple[FixEvent, ...] = ()
    count: int = 1
    other_files: tuple[str, ...] | None = None


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


def certificate_in(scope: str) -> str | None:
    """The certificate that the scope is about; None if it is about something else, or about the node itself."""
    kind, _, name = scope.partition(":")
    return name or None if kind in (ScopeKind.CERTIFICATE, ScopeKind.SERVED) else None


def scope_of(report: Report, finding: Finding) -> str:
    """The one scope that a finding of this report belongs to (see `Report`)."""
    if report.kind is RunKind.WATCH and finding.culprit is not None and finding.culprit.file is not None:
        return file_scope(finding.culprit.file)
    if report.kind is RunKind.RENEWAL and report.certificate is not None:
        return certificate_scope(report.certificate)
    if report.kind is RunKind.SERVING:
        return served_scope(report.certificate)
    return identifier_scope(finding.identifier)


Contents = Mapping[str, bytes | None]
"""Path -> content; None for a file that does not exist or cannot be read."""

MOST_LINES = 200  # of each kind in one change; who edits by hand changes few
_LONGEST_LINE = 500


def compare(before: Contents, after: Contents) -> tuple[FileChange, ...]:
    """The files whose content (or existence) differs, in the order of `after`."""
    return tuple(
        _describe(path, before.get(path), content) for path, content in after.items() if before.get(path) != content
    )


def touched_identifiers(changes: Sequence[FileChange], identifiers: list[str], authority: str) -> list[str]:
    """Of a hosts file those that its changed lines name, all of them where the CA's own name is there; of other files
    all."""
    if any(change.left_out or not change.file.endswith("hosts") for change in changes):
        return identifiers
    lines = (line for change in changes for line in (*change.removed, *change.added))
    words = {word.rstrip(".") for line in lines for word in line.lower().split()}
    if authority in words:
        return identifiers
    return [identifier for identifier in identifiers if identifier.lower() in words]


def _describe(path: str, before: bytes | None, after: bytes | None) -> FileChange:
    old, new = _between_ends(_lines(before), _lines(after))
    removed, added = _beyond(old, new), _beyond(new, old)
    if not removed and not added:  # the same lines in another order
        removed, added = old, new
    return FileChange(
        file=path,
        exists=after is not None,
        removed=tuple(line[:_LONGEST_LINE] for line in removed[:MOST_LINES]),
        added=tuple(line[:_LONGEST_LINE] for line in added[:MOST_LINES]),
        left_out=_left_out(removed) + _left_out(added),
    )


def _between_ends(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """Both without the lines that they begin and end with alike."""
    shorter = min(len(old), len(new))
    head = next((at for at in range(shorter) if old[at] != new[at]), shorter)
    tail = next((at for at in range(shorter - head) if old[-1 - at] != new[-1 - at]), shorter - head)
    return old[head : len(old) - tail], new[head : len(new) - tail]


def _beyond(lines: list[str], others: list[str]) -> list[str]:
    """What is in `lines` more often than in `others`, in its order."""
    left = Counter(lines)
    left.subtract(others)
    beyond = []
    for line in lines:
        if left[line] > 0:
            left[line] -= 1
            beyond.append(line)
    return beyond


def _left_out(lines: list[str]) -> int:
    """How many lines are not shown, or not whole."""
    too_long = sum(len(line) > _LONGEST_LINE for line in lines[:MOST_LINES])
    return max(0, len(lines) - MOST_LINES) + too_long


def _lines(content: bytes | None) -> list[str]:
    return [] if content is None else content.decode("utf-8", "replace").splitlines()
