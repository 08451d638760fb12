"""One run, one report: spooled, and written to the journal. Without a collector the journal is all there is."""

import logging
import uuid
from collections import deque
from collections.abc import Sequence
from datetime import datetime

from certagent.domain.findings import Finding, Severity, without_secrets
from certagent.domain.policy import Judgement
from certagent.domain.ports import Clock
from certagent.domain.reports import FileChange, Inventory, Outcome, Report, RunKind, Trigger
from certagent.reporting import Spool

log = logging.getLogger(__name__)

_MOST_UNSAVED = 1000

_LEVELS = {Severity.FATAL: logging.ERROR, Severity.ERROR: logging.ERROR, Severity.WARN: logging.WARNING}


class Run:
    """A run that has begun: its id, its kind, what triggered it, and when it began."""

    def __init__(self, kind: RunKind, trigger: Trigger, started_at: datetime, identity: str | None = None) -> None:
        self.id = identity or uuid.uuid4().hex
        self.kind = kind
        self.trigger = trigger
        self.started_at = started_at


class Reporter:
    """Writes this agent's reports."""

    def __init__(self, agent: str, spool: Spool | None, clock: Clock) -> None:
        self.agent = agent
        self._spool = spool
        self._clock = clock
        self._unsaved: deque[Report] = deque(maxlen=_MOST_UNSAVED)

    def waiting(self) -> int:
        """How many reports are not delivered yet."""
        return len(self._spool.waiting()) if self._spool else 0

    def begin(self, kind: RunKind, trigger: Trigger) -> Run:
        """A new run."""
        return Run(kind, trigger, self._clock.now())

    def end(
        self,
        run: Run,
        outcome: Outcome,
        *,
        scopes: Sequence[str] = (),
        findings: Sequence[Finding] = (),
        judgements: Sequence[Judgement] = (),
        certificate: str | None = None,
        changes: Sequence[FileChange] = (),
        inventory: Inventory | None = None,
    ) -> Report:
        """Report what the run came to; on disk when this returns, if the disk takes it. One at a time: where others may
        report meanwhile, from the event loop's own thread.

        Findings of the judgements are the report's, too."""
        rehearsals = [judgement.rehearsal for judgement in judgements]
        report = Report(
            id=run.id,
            agent=self.agent,
            sequence=0,
            kind=run.kind,
            trigger=run.trigger,
            started_at=run.started_at,
            finished_at=self._clock.now(),
            outcome=outcome,
            scopes=tuple(scopes),
            findings=(*findings, *(finding for judgement in judgements for finding in judgement.findings)),
            certificate=certificate,
            verdicts={judgement.identifier: judgement.verdict for judgement in judgements},
            rehearsals=tuple(without_secrets(rehearsal) for rehearsal in rehearsals if rehearsal is not None),
            changes=tuple(without_secrets(change) for change in changes),
            inventory=inventory,
        )
        _log(report)
        return report if self._spool is None else self._save(self._spool, report)

    def flush(self) -> None:
        """Try again to save what the disk did not take, before the process ends."""
        if self._spool is not None and self._unsaved:
            self._save_all(self._spool)

    def _save(self, spool: Spool, report: Report) -> Report:
        """On disk; where the disk does not take it, in memory until it does."""
        self._unsaved.append(report)
        return self._save_all(spool) or report

    def _save_all(self, spool: Spool) -> Report | None:
        """The last of them as the spool has it; None while one is not saved."""
        saved = None
        try:
            while self._unsaved:
                saved = spool.append(self._unsaved[0])
                self._unsaved.popleft()
        except OSError as error:
            log.error("%d reports cannot be kept on disk: %s", len(self._unsaved), error)
            return None
        return saved


def _log(report: Report) -> None:
    if report.kind is not RunKind.INVENTORY:
        subject = report.certificate or ", ".join(report.scopes)
        log.info("%s of %s (%s): %s", report.kind, subject, report.trigger, report.outcome)
    for finding in report.findings:
        log.log(_LEVELS.get(finding.severity, logging.INFO), "%s: %s", finding.code, finding.explanation)
