"""One run, one report: spooled, and written to the journal. Without a collector the journal is all there is.

What `certagent fix` did on the node goes along with the next one: command and agent meet in the state folder alone.
"""

import asyncio
import logging
import threading
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import TypedDict, Unpack

import msgspec

from certagent.domain.findings import Finding, Severity, without_secrets
from certagent.domain.fixes import Fix
from certagent.domain.policy import Judgement
from certagent.domain.ports import Clock
from certagent.domain.reports import (
    FileChange,
    FixEvent,
    Inventory,
    Outcome,
    Report,
    RunKind,
    Trigger,
    identifier_scope,
    served_scope,
)
from certagent.reporting import Spool
from certagent.state import State
from certagent.system.clock import SystemClock
from certagent.system.folder_syncs import synced_once
from certagent.system.processes import ReloadCoordinator

log = logging.getLogger(__name__)

_MOST_UNSAVED = 1000
_MOST_FIXES = 100  # in one report
_FIXES_REPORTED = "fixes_reported"

_LEVELS = {Severity.FATAL: logging.ERROR, Severity.ERROR: logging.ERROR, Severity.WARN: logging.WARNING}


class Run:
    """A run that has begun: its id, its kind, what triggered it, and when it began."""

    def __init__(self, kind: RunKind, trigger: Trigger, started_at: datetime, identity: str | None = None) -> None:
        self.id = identity or uuid.uuid4().hex
        self.kind = kind
        self.trigger = trigger
        self.started_at = started_at


class Told(TypedDict, total=False):
    """What a report says beside how the run ended. Findings of the judgements are the report's, too."""

    scopes: Sequence[str]
    findings: Sequence[Finding]
    judgements: Sequence[Judgement]
    certificate: str | None
    changes: Sequence[FileChange]
    inventory: Inventory | None
    other_files: Sequence[str] | None


class _Reported(msgspec.Struct, frozen=True):
    """The fixes whose application, and whose undoing, is reported."""

    applied: frozenset[str] = frozenset()
    undone: frozenset[str] = frozenset()


class FixEvents:
    """Fixes that no report has told of. Nothing here stops a report: what cannot be read now is told later."""

    def __init__(self, state: State) -> None:
        self._state = state

    def unreported(self) -> tuple[FixEvent, ...]:
        """The oldest first."""
        try:
            fixes = self._state.fixes().all()
        except OSError as error:
            log.warning("the record of fixes cannot be read: %s", error)
            return ()
        if not fixes:
            return ()
        reported = self._reported()
        return tuple(event for fix in fixes for event in _events_of(fix) if not _is_in(reported, event))[:_MOST_FIXES]

    def note_reported(self, events: Sequence[FixEvent]) -> None:
        """They are in the spool."""
        if not events:
            return
        before = self._reported()
        applied = before.applied | {event.id for event in events if not event.is_undone}
        undone = before.undone | {event.id for event in events if event.is_undone}
        self._state.note_record(_FIXES_REPORTED, _Reported(applied, undone))

    def _reported(self) -> _Reported:
        return self._state.read_record(_FIXES_REPORTED, _Reported) or _Reported()


class Reporter:
    """Writes this agent's reports."""

    def __init__(self, agent: str, spool: Spool | None, clock: Clock, fixes: FixEvents | None = None) -> None:
        self.agent = agent
        self._spool = spool
        self._clock = clock
        self._fixes = fixes
        self._unsaved: deque[Report] = deque(maxlen=_MOST_UNSAVED)
        self._saving = threading.Lock()
        self._turns = ReloadCoordinator(SystemClock())

    def waiting(self) -> int:
        """How many reports are not delivered yet."""
        return len(self._spool.waiting()) if self._spool else 0

    def begin(self, kind: RunKind, trigger: Trigger) -> Run:
        """A new run."""
        return Run(kind, trigger, self._clock.now())

    def end(self, run: Run, outcome: Outcome, **told: Unpack[Told]) -> Report:
        """Report what the run came to; on disk when this returns, if the disk takes it. Blocks; from the event loop's
        own thread where others may report meanwhile."""
        report = self._made(run, outcome, told)
        if self._spool is None:
            return report
        self._unsaved.append(report)
        saved = self._save_all(self._spool)
        self._spool.arrived.set()
        self._note_fixes(report)
        return saved or report

    async def end_with_others(self, run: Run, outcome: Outcome, **told: Unpack[Told]) -> None:
        """The same from a thread, in one go with all others that end at about the same time."""
        report = self._made(run, outcome, told)
        if self._spool is None:
            return
        self._unsaved.append(report)
        await self._turns.run_shared("spool", partial(asyncio.to_thread, self._save_all, self._spool))
        self._spool.arrived.set()
        self._note_fixes(report)

    def _made(self, run: Run, outcome: Outcome, told: Told) -> Report:
        judgements = told.get("judgements", ())
        rehearsals = [judgement.rehearsal for judgement in judgements]
        judged = (finding for judgement in judgements for finding in (*judgement.findings, *judgement.standing))
        other_files = told.get("other_files")
        report = Report(
            id=run.id,
            agent=self.agent,
            sequence=0,
            kind=run.kind,
            trigger=run.trigger,
            started_at=run.started_at,
            finished_at=self._clock.now(),
            outcome=outcome,
            scopes=tuple(told.get("scopes", ())),
            findings=(*told.get("findings", ()), *judged),
            certificate=told.get("certificate"),
            verdicts={judgement.identifier: judgement.verdict for judgement in judgements},
            rehearsals=tuple(without_secrets(rehearsal) for rehearsal in rehearsals if rehearsal is not None),
            changes=tuple(without_secrets(change) for change in told.get("changes", ())),
            inventory=told.get("inventory"),
            fixes=self._fixes.unreported() if self._fixes is not None else (),
            other_files=tuple(other_files) if other_files is not None else None,
        )
        _log(report)
        return report

    def _note_fixes(self, report: Report) -> None:
        if self._fixes is not None and report.fixes and report not in self._unsaved:
            self._fixes.note_reported(report.fixes)

    def flush(self) -> None:
        """Try again to save what the disk did not take, before the process ends."""
        if self._spool is not None and self._unsaved:
            self._save_all(self._spool)

    def _save_all(self, spool: Spool) -> Report | None:
        """On disk; where the disk does not take it, in memory until it does. The last of them as the spool has it; None
        while one is not saved."""
        saved = None
        try:
            with self._saving, synced_once():
                while self._unsaved:
                    saved = spool.append(self._unsaved[0])
                    self._unsaved.popleft()
        except OSError as error:
            log.error("%d reports cannot be kept on disk: %s", len(self._unsaved), error)
            return None
        return saved


def _log(report: Report) -> None:
    if report.kind is not RunKind.INVENTORY:
        of_the_node = {identifier_scope(None), served_scope(None)}
        subject = report.certificate or ", ".join("the node" if one in of_the_node else one for one in report.scopes)
        outcome = f"interrupted, run {report.id}" if report.outcome is Outcome.INTERRUPTED else report.outcome
        log.info("%s of %s (%s): %s", report.kind, subject, report.trigger, outcome)
    for finding in report.findings:
        log.log(_LEVELS.get(finding.severity, logging.INFO), "%s: %s", finding.code, finding.explanation)


def _events_of(fix: Fix) -> Iterator[FixEvent]:
    files = tuple(fixed.file for fixed in fix.files)
    yield FixEvent(id=fix.id, at=fix.at, files=files, incident=fix.incident, by=fix.by)
    if fix.undone_at is not None:
        yield FixEvent(
            id=fix.id, at=fix.undone_at, files=files, incident=fix.incident, by=fix.undone_by, is_undone=True
        )


def _is_in(reported: _Reported, event: FixEvent) -> bool:
    return event.id in (reported.undone if event.is_undone else reported.applied)
