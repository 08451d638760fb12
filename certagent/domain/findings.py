"""Findings: what was concluded, with a stable code. Values only; severities come from a policy."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec


class Vantage(StrEnum):
    """A node and how it looked."""

    AUTHORITY = "authority"
    CLIENT = "client"
    WIRE = "wire"
    PEER = "peer"
    STATIC = "static"


class Severity(StrEnum):
    """How bad, worst first."""

    FATAL = "fatal"
    ERROR = "error"
    WARN = "warn"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for the worst; sorts findings worst first."""
        return _RANKS[self]

    def at_least(self, other: "Severity") -> bool:
        """Whether this severity is as bad as `other`, or worse."""
        return self.rank <= other.rank

    def capped_at(self, other: "Severity") -> "Severity":
        """This severity, but never worse than `other`."""
        return self if self.rank >= other.rank else other


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class Verdict(StrEnum):
    """What preflight came to for one identifier."""

    PROCEED = "proceed"
    WARN = "warn"
    BLOCK = "block"


class Culprit(msgspec.Struct, frozen=True, kw_only=True):
    """The thing to change, as precisely as known; unknown parts are null."""

    node: str | None = None
    file: str | None = None
    line: int | None = None
    text: str | None = None
    address: str | None = None
    role: str | None = None


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """What the finding will cost, and when: the renewal that it breaks is due at `due_at`, the certificate dies at
    `expires_at`. Null where nothing is on disk yet."""

    certificate: str
    due_at: datetime | None = None
    expires_at: datetime | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One conclusion. `code` is public and stable (`<layer>.<cause>`); `detail` is the evidence, JSON values only.

    `certagent.domain.catalogue` makes it: explanation and fix follow from code, `variant` and `facts` alone, so that
    whoever receives a finding can build the same sentences. An older agent sends neither variant nor facts.
    """

    code: str
    severity: Severity = Severity.ERROR
    identifier: str | None = None
    vantage: Vantage
    reporter: str
    explanation: str
    detail: dict[str, Any] = {}
    culprit: Culprit | None = None
    fix: str | None = None
    impact: Impact | None = None
    variant: str = ""
    facts: dict[str, Any] = {}


def worst_first(findings: list[Finding]) -> list[Finding]:
    """Sorted by severity; equal ones keep their order, which is the order of conclusion."""
    return sorted(findings, key=lambda finding: finding.severity.rank)
