"""A resolver file changed: conclude from the file and DNS alone, and say so at once. The rehearsals come after."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from certagent.agent.reporter import Reporter
from certagent.domain.conclusions.resolution import (
    resolver_is_missing,
    shadows_at_a_client,
    shadows_at_the_authority,
)
from certagent.domain.conclusions.static import StaticLook, conclude_while_watching
from certagent.domain.findings import Finding, Severity, worst_first
from certagent.domain.policy import Policy
from certagent.domain.reports import FileChange, Outcome, RunKind, Trigger
from certagent.domain.resolution.files import RESOLVER_FILES
from certagent.domain.resolution.hosts import HOSTS_FILE
from certagent.domain.resolution.resolv_conf import RESOLV_CONF_FILE
from certagent.vantage.files import FileObservation, Snapshot


class Inspecting(Protocol):
    """Beside the CA, the CA's world; elsewhere, this node's own."""

    def __call__(self, before: Snapshot | None = None) -> Awaitable[FileObservation]:
        """What the resolver's files do to the fleet's names."""
        ...


class FileRuns:
    """Runs for the watch. `is_authority`: this node is the CA's, so a shadow is fatal for others."""

    def __init__(
        self,
        node: str,
        inspect: Inspecting,
        *,
        is_authority: bool,
        zones: Sequence[str],
        policy: Policy,
        reporter: Reporter,
    ) -> None:
        self._node = node
        self._inspect = inspect
        self._is_authority = is_authority
        self._zones = tuple(zones)
        self._policy = policy
        self._reporter = reporter
        self._before: Snapshot | None = None

    async def run(self, changes: Sequence[FileChange], trigger: Trigger) -> None:
        """One run over all resolver files; its report replaces what was found in them before."""
        run = self._reporter.begin(RunKind.WATCH, trigger)
        seen = await self._inspect(self._before)
        if seen.reason is not None:  # blind: what was found before stands
            self._reporter.end(run, Outcome.FAILED, changes=changes)
            return
        self._before = seen.snapshot
        findings = worst_first([self._policy.grade(finding) for finding in self._conclude(seen)])
        found = any(finding.severity.at_least(Severity.WARN) for finding in findings)
        self._reporter.end(
            run,
            Outcome.FOUND if found else Outcome.DONE,
            scopes=[f"file:{path}" for path in RESOLVER_FILES],
            findings=findings,
            changes=changes,
        )

    def _conclude(self, seen: FileObservation) -> list[Finding]:
        missing = resolver_is_missing(self._node, seen.files.resolv_conf) if seen.files else None
        if self._is_authority:
            shadows = shadows_at_the_authority(seen.resolutions, self._node, seen.own_addresses)
        else:
            shadows = shadows_at_a_client(seen.resolutions, self._node, seen.own_addresses)
        return ([missing] if missing else []) + shadows + self._conclude_from_files(seen)

    def _conclude_from_files(self, seen: FileObservation) -> list[Finding]:
        if seen.files is None:
            return []
        look = StaticLook(
            node=self._node,
            files=seen.files,
            managers={HOSTS_FILE: seen.files.managers, RESOLV_CONF_FILE: seen.files.resolv_conf_managers},
            zones=self._zones,
            own_names=seen.own_names,
            own_addresses=seen.own_addresses,
        )
        return conclude_while_watching(look)
