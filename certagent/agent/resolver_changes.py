"""A resolver file changed: conclude from the file and DNS alone, and say so at once. The rehearsals come after."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from certagent.agent.reporter import Reporter
from certagent.domain.diagnosis.name_resolution import (
    file_is_unreadable,
    private_addresses_are_filtered,
    resolver_is_missing,
    shadows_at_a_client,
    shadows_at_the_authority,
    zone_is_overridden,
)
from certagent.domain.diagnosis.static import StaticObservation, conclude_while_watching
from certagent.domain.findings import Finding, Severity, worst_first
from certagent.domain.policy import Policy
from certagent.domain.ports import Clock
from certagent.domain.reports import FileChange, Outcome, RunKind, Trigger, file_scope
from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE
from certagent.domain.resolution.files import RESOLVER_FILES
from certagent.vantage.ca_resolver import FileObservation, Snapshot
from certagent.vantage.nameserver_config import NameserverObservation

FIRST_PAUSE = timedelta(milliseconds=250)  # a CA that is being restarted is back in half of that


class Inspecting(Protocol):
    """Beside the CA, the CA's world; elsewhere, this node's own."""

    def __call__(self, before: Snapshot | None = None) -> Awaitable[FileObservation]:
        """What the resolver's files do to the fleet's names."""
        ...


class ResolverChangeHandler:
    """Runs for the watch. `is_authority`: this node is the CA's, so a shadow is fatal for others.

    `look_at_nameserver`: the DNS server of this node, where there is one, and `zones` those of the fleet.
    Where nothing could be seen (the CA's process is not up yet, say), the run is due again: see `again_at`.
    """

    def __init__(
        self,
        node: str,
        inspect: Inspecting,
        *,
        is_authority: bool,
        zones: Sequence[str],
        policy: Policy,
        reporter: Reporter,
        clock: Clock,
        look_at_nameserver: Callable[[], NameserverObservation | None] = lambda: None,
    ) -> None:
        self._node = node
        self._inspect = inspect
        self._is_authority = is_authority
        self._zones = tuple(zones)
        self._policy = policy
        self._reporter = reporter
        self._clock = clock
        self._before: Snapshot | None = None
        self._look_at_nameserver = look_at_nameserver
        self._scopes = dict.fromkeys(RESOLVER_FILES)
        self._unsaid: tuple[Finding, ...] = ()
        self._blind = 0
        self._one_at_a_time = asyncio.Lock()
        self.again_at: datetime | None = None

    async def run(self, changes: Sequence[FileChange], trigger: Trigger, besides: Sequence[Finding] = ()) -> None:
        """One run over all resolver files; its report, with the findings `besides`, replaces what was found in them
        before. A blind one changes nothing of that, and is said once."""
        async with self._one_at_a_time:
            self.again_at = None
            run = self._reporter.begin(RunKind.WATCH, trigger)
            self._unsaid += tuple(besides)
            seen = await self._inspect(self._before)
            if seen.reason is not None:
                self._plan_again()
                if trigger is not Trigger.TIMER:
                    self._reporter.end(run, Outcome.FAILED, changes=changes)
                return
            self._before, self._blind = seen.snapshot, 0
            nameserver = await asyncio.to_thread(self._look_at_nameserver)
            concluded = _said_once(self._conclude(seen), self._conclude_nameserver(nameserver))
            findings = [self._policy.grade(finding) for finding in concluded]
            findings = worst_first([*findings, *self._unsaid])
            self._unsaid = ()
            found = any(finding.severity.at_least(Severity.WARN) for finding in findings)
            self._reporter.end(
                run,
                Outcome.FOUND if found else Outcome.DONE,
                scopes=[file_scope(path) for path in self._scopes],
                findings=findings,
                changes=changes,
            )

    def is_due(self, now: datetime) -> bool:
        """Whether a blind run is to be repeated now."""
        return self.again_at is not None and self.again_at <= now

    def _plan_again(self) -> None:
        pause = FIRST_PAUSE * int(2 ** min(self._blind, 16))
        self.again_at = self._clock.now() + min(pause, self._policy.preflight.blocked_longest)
        self._blind += 1

    def _conclude(self, seen: FileObservation) -> list[Finding]:
        missing = resolver_is_missing(self._node, seen.files.resolv_conf) if seen.files else None
        if missing is not None and seen.files is not None and RESOLV_CONF_FILE in seen.files.unreadable:
            missing = file_is_unreadable(self._node, RESOLV_CONF_FILE)
        if self._is_authority:
            shadows = shadows_at_the_authority(seen.resolutions, self._node, seen.own_addresses)
        else:
            shadows = shadows_at_a_client(seen.resolutions, self._node, seen.own_addresses)
        return ([missing] if missing else []) + shadows + self._conclude_from_files(seen)

    def _conclude_from_files(self, seen: FileObservation) -> list[Finding]:
        if seen.files is None:
            return []
        look = StaticObservation(
            node=self._node,
            files=seen.files,
            managers={HOSTS_FILE: seen.files.managers, RESOLV_CONF_FILE: seen.files.resolv_conf_managers},
            zones=self._zones,
            own_names=seen.own_names,
            own_addresses=seen.own_addresses,
        )
        return conclude_while_watching(look)

    def _conclude_nameserver(self, look: NameserverObservation | None) -> list[Finding]:
        """A file that was read once stays in scope: what was found in it is withdrawn when it is gone."""
        if look is None:
            return []
        self._scopes |= dict.fromkeys(look.files())
        zones = tuple(zone.lower().strip(".") for zone in self._zones)
        filtered = private_addresses_are_filtered(look.configuration, self._node)
        overridden = zone_is_overridden(look.configuration, look.hosts, zones, self._node)
        return [*overridden, *([filtered] if filtered and filtered.culprit and filtered.culprit.file else [])]


def _said_once(here: Sequence[Finding], everybody: Sequence[Finding]) -> list[Finding]:
    """A line of which this node's nameserver makes everybody's answer is said as that, not as this node's own as well:
    it may differ from DNS only until the nameserver has read it."""
    wider = {_line_of(finding) for finding in everybody}
    own = (one for one in here if one.code != "dns.hosts_shadow.client" or _line_of(one) not in wider)
    return [*own, *everybody]


def _line_of(finding: Finding) -> tuple[str | None, str | None, int | None]:
    culprit = finding.culprit
    return finding.identifier, culprit.file if culprit else None, culprit.line if culprit else None
