"""The files that decide how names resolve here, under watch: a change is reported at once, from the file and DNS alone.

What it breaks is not proven by that: the identifiers that it touches are judged again afterwards.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from certagent.agent.context import AgentContext
from certagent.agent.lifecycle import Lifecycle
from certagent.domain import catalogue
from certagent.domain.backoff import Backoff
from certagent.domain.diagnosis.name_resolution import (
    file_is_unreadable,
    resolver_is_missing,
    shadows_at_a_client,
    shadows_at_the_authority,
)
from certagent.domain.diagnosis.nameserver_files import (
    names_stand_in_files,
    private_addresses_are_filtered,
    zone_is_overridden,
)
from certagent.domain.diagnosis.static import StaticObservation, conclude_while_watching
from certagent.domain.findings import Culprit, Finding, Severity, Vantage
from certagent.domain.observations import Unreadable
from certagent.domain.policy import worst_first
from certagent.domain.reports import Contents, FileChange, Outcome, RunKind, Trigger, compare, file_scope
from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE
from certagent.domain.resolution.files import RESOLVER_FILES
from certagent.vantage.nameserver_config import NameserverObservation, NameserverObserver
from certagent.vantage.resolver_files import FileObservation, Snapshot
from certagent.watch import ChangeSet, Watch, WatchedPaths, open_watch, read_contents

log = logging.getLogger(__name__)

KNOWN_FILES = "resolver-files"
"""The state's record of the files as they were when a run last read them."""
INOTIFY_LIMIT = "/proc/sys/fs/inotify/max_user_instances"
FIRST_PAUSE = timedelta(milliseconds=250)  # a CA that is being restarted is back in half of that


class FileInspector(Protocol):
    """`AuthorityVantage` beside the CA, for the CA's process; elsewhere `NodeVantage`, for this node."""

    def inspect_files(self, before: Snapshot | None = None) -> Awaitable[FileObservation]:
        """What the resolver's files do to the fleet's names."""
        ...


class ResolverWatch:
    """Watches the files: each change set is handled, then what it touches is judged again."""

    def __init__(self, context: AgentContext, handler: "ResolverChangeHandler", lifecycle: Lifecycle) -> None:
        self._context = context
        self._handler = handler
        self._lifecycle = lifecycle

    async def run(self) -> None:
        """Handle once at the start, whatever the files hold, and then each change set; never returns.

        The record is written after a change is reported: one that a killed run left unreported is found at the next
        start.
        """
        watch_policy, state = self._context.policy.watch, self._context.state
        find = self._handler.watched_paths
        paths = (await asyncio.to_thread(find)).files
        async with open_watch(paths, watch_policy.quiet_for, watch_policy.reconcile_every, find) as watch:
            degraded = self._report_degraded(watch)
            now = await asyncio.to_thread(read_contents, paths)
            known = await asyncio.to_thread(state.read_record, KNOWN_FILES, dict[str, bytes | None])
            self._handler.answer_for(known or ())
            await self._handle_start(known if known is not None else now, now)
            async for changes in watch.changes(now):
                if watch.degraded != degraded:
                    degraded = self._report_degraded(watch)
                if changes:
                    contents = watch.contents
                    await self._handle(changes, Trigger.FILE)
                    await asyncio.to_thread(self._remember, contents)

    async def _handle_start(self, known: Contents, now: Contents) -> None:
        """What changed while the agent was not running, in the files that the last run knew."""
        missed = compare(known, {path: content for path, content in now.items() if path in known})
        findings = [changed_while_down(self._context.node, change, now) for change in missed]
        graded = [self._context.policy.grade(finding) for finding in findings]
        await self._handle(missed, Trigger.START, graded)
        await asyncio.to_thread(self._remember, now)

    async def _handle(self, changes: ChangeSet, trigger: Trigger, findings: Sequence[Finding] = ()) -> None:
        await self._handler.handle(changes, trigger, findings)
        self._lifecycle.files_changed(changes)

    def _remember(self, contents: Contents) -> None:
        """On a full disk the older record stays: the next start then reports a change once more."""
        try:
            self._context.state.write_record(KNOWN_FILES, contents)
        except OSError as error:
            log.warning("the contents of the resolver files could not be saved: %s", error.strerror)

    def _report_degraded(self, watch: Watch) -> str | None:
        """The fall-back is usual in unprivileged containers; it is slower, so it is reported, and cleared again."""
        node, reporter = self._context.node, self._context.reporter
        findings = []
        if watch.degraded is not None:
            findings = [self._context.policy.grade(watch_is_degraded(node, watch.degraded))]
        run = reporter.begin(RunKind.WATCH, Trigger.START)
        outcome = Outcome.FOUND if findings else Outcome.DONE
        reporter.end(run, outcome, scopes=[file_scope(INOTIFY_LIMIT)], findings=findings)
        return watch.degraded


class ResolverChangeHandler:
    """Concludes from the files, and reports. Beside the CA a shadow is fatal for others.

    `nameserver`: the DNS server of this node, where there is one.
    """

    def __init__(self, context: AgentContext, inspector: FileInspector, nameserver: NameserverObserver) -> None:
        self._context = context
        self._inspector = inspector
        self._is_authority = context.settings.vantage is not None
        self._nameserver = nameserver
        self._zones = tuple(context.settings.dns.zones)
        self._scopes = dict.fromkeys(RESOLVER_FILES)
        self._has_reported = False
        self._before: Snapshot | None = None
        self._unreadable: tuple[Unreadable, ...] = ()
        self._unreported: tuple[Finding, ...] = ()
        self._backoff = Backoff(FIRST_PAUSE, context.policy.preflight.blocked_longest)
        self._repeat_after: timedelta | None = None
        self._one_at_a_time = asyncio.Lock()
        self._run_ended = asyncio.Event()

    def watched_paths(self) -> WatchedPaths:
        """What to watch: the resolver's files, and those of the DNS server as it is configured by now. Blocks."""
        found = self._nameserver.files()
        files = dict.fromkeys((*RESOLVER_FILES, *found.files))
        return WatchedPaths(tuple(map(Path, files)), tuple(map(Path, found.folders)))

    def answer_for(self, files: Iterable[str]) -> None:
        """Files of an earlier run: what it found in them is withdrawn unless it is found again."""
        self._scopes |= dict.fromkeys(files)

    def unreadable(self) -> tuple[Unreadable, ...]:
        """What could not be read of these files in the last run."""
        return self._unreadable

    async def handle(self, changes: Sequence[FileChange], trigger: Trigger, findings: Sequence[Finding] = ()) -> None:
        """One run over all resolver files; its report, with the given findings too, replaces what was found in them
        before. A blind run (the CA's process is not up yet, say) changes nothing of that, and is reported once."""
        async with self._one_at_a_time:
            self._unreported += tuple(findings)
            await self._run(changes, trigger)

    async def repeat_until_settled(self) -> None:
        """Repeat a blind run, or one that found what counts after a restart, later with each further one; never
        returns."""
        while True:
            self._run_ended.clear()
            pause = self._repeat_after
            try:
                async with asyncio.timeout(pause.total_seconds() if pause is not None else None):
                    await self._run_ended.wait()
            except TimeoutError:
                async with self._one_at_a_time:
                    if self._repeat_after is not None:
                        await self._run((), Trigger.TIMER)

    async def _run(self, changes: Sequence[FileChange], trigger: Trigger) -> None:
        reporter = self._context.reporter
        run = reporter.begin(RunKind.WATCH, trigger)
        seen = await self._inspector.inspect_files(self._before)
        self._repeat_after = self._backoff.next_pause() if seen.reason is not None else None
        self._run_ended.set()
        if seen.reason is not None:
            if trigger is not Trigger.TIMER:
                reporter.end(run, Outcome.FAILED, changes=changes)
            return
        self._before = seen.snapshot
        findings = await self._concluded(seen)
        self._repeat_while_waiting(findings)
        found = any(finding.severity.at_least(Severity.WARN) for finding in findings)
        scopes = [file_scope(path) for path in self._scopes]
        outcome = Outcome.FOUND if found else Outcome.DONE
        others = None if self._has_reported else (INOTIFY_LIMIT,)  # an earlier run may have spoken for more
        reporter.end(run, outcome, scopes=scopes, findings=findings, changes=changes, other_files=others)
        self._has_reported = True

    def _repeat_while_waiting(self, findings: Sequence[Finding]) -> None:
        """A setting that counts after a restart: that is no change of any file, so it has to be looked for."""
        if any(finding.variant == "waiting" for finding in findings):
            self._repeat_after = self._backoff.next_pause()
            self._run_ended.set()
        else:
            self._backoff.reset()

    async def _concluded(self, seen: FileObservation) -> list[Finding]:
        """Graded, worst first, with what was not reported yet."""
        nameserver = await asyncio.to_thread(self._nameserver.observe)
        self._unreadable = (*seen.unreadable, *(nameserver.unreadable if nameserver is not None else ()))
        findings = without_repeats(self._conclude(seen), self._conclude_nameserver(nameserver))
        graded = [self._context.policy.grade(finding) for finding in findings]
        unreported, self._unreported = self._unreported, ()
        return worst_first([*graded, *unreported])

    def _conclude(self, seen: FileObservation) -> list[Finding]:
        node = self._context.node
        missing = resolver_is_missing(node, seen.files.resolv_conf) if seen.files else None
        if missing is not None and seen.files is not None and RESOLV_CONF_FILE in seen.files.unreadable:
            missing = file_is_unreadable(node, RESOLV_CONF_FILE)
        shadows_of = shadows_at_the_authority if self._is_authority else shadows_at_a_client
        shadows = shadows_of(seen.resolutions, node, seen.own_addresses)
        return ([missing] if missing else []) + shadows + self._conclude_from_files(seen)

    def _conclude_from_files(self, seen: FileObservation) -> list[Finding]:
        if seen.files is None:
            return []
        observation = StaticObservation(
            node=self._context.node,
            files=seen.files,
            managers={HOSTS_FILE: seen.files.managers, RESOLV_CONF_FILE: seen.files.resolv_conf_managers},
            zones=self._zones,
            own_names=seen.own_names,
            own_addresses=seen.own_addresses,
        )
        return conclude_while_watching(observation)

    def _conclude_nameserver(self, observation: NameserverObservation | None) -> list[Finding]:
        """A file that was read once stays in scope: what was found in it is withdrawn when it is gone."""
        if observation is None:
            return []
        self._scopes |= dict.fromkeys(observation.files())
        node, zones = self._context.node, tuple(zone.lower().strip(".") for zone in self._zones)
        filtered = private_addresses_are_filtered(observation.configuration, node)
        overridden = zone_is_overridden(observation.configuration, observation.hosts, zones, node)
        answers = names_stand_in_files(observation.configuration, observation.hosts, observation.records, zones, node)
        return [*overridden, *answers, *([filtered] if filtered and filtered.culprit and filtered.culprit.file else [])]


def without_repeats(of_node: Sequence[Finding], of_nameserver: Sequence[Finding]) -> list[Finding]:
    """A line that this node's nameserver serves to everybody is reported as that, not as this node's own as well: it
    may differ from DNS only until the nameserver has read it."""
    served = {_line_of(finding) for finding in of_nameserver}

    def is_repeat(finding: Finding) -> bool:
        return finding.code == "dns.hosts_shadow.client" and _line_of(finding) in served

    return [*(finding for finding in of_node if not is_repeat(finding)), *of_nameserver]


def _line_of(finding: Finding) -> tuple[str | None, str | None, int | None]:
    culprit = finding.culprit
    return finding.identifier, culprit.file if culprit else None, culprit.line if culprit else None


def changed_while_down(node: str, change: FileChange, now: Contents) -> Finding:
    """agent.changed_while_down: what the state folder remembered of that file is not what it holds now."""
    lines = (now[change.file] or b"").decode("utf-8", "replace").splitlines()
    text = next((line for line in change.added if line in lines), None)
    shown = [*(f"- {line}" for line in change.removed), *(f"+ {line}" for line in change.added)]
    return catalogue.finding(
        "agent.changed_while_down",
        vantage=Vantage.STATIC,
        reporter=node,
        culprit=Culprit(
            node=node, file=change.file, line=lines.index(text) + 1 if text is not None else None, text=text
        ),
        detail={"removed": list(change.removed), "added": list(change.added)},
        changes=shown if change.exists else [],
    )


def watch_is_degraded(node: str, reason: str) -> Finding:
    """agent.watch_degraded: inotify is not to be had, so files are compared instead."""
    return catalogue.finding(
        "agent.watch_degraded",
        vantage=Vantage.STATIC,
        reporter=node,
        culprit=Culprit(node=node, file=INOTIFY_LIMIT),
        said=reason,
    )
