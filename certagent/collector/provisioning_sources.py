"""The checkout of the provisioning code on the collector's node: what its HEAD would write, read again when it moves.

A file that differs from HEAD says nothing of the commit, and is not read. Read only; what it says is only ever compared
with lines that incidents have.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from prometheus_client import Gauge

from certagent.collector.records import Changes, Overloaded, StoreFailed
from certagent.collector.rounds import RoundDuty
from certagent.collector.sql.source_queries import find_about_sources, read_live_lines
from certagent.collector.sql.upkeep import replace_source_findings
from certagent.collector.store import Store
from certagent.domain.diagnosis.written_lines import ProvisioningCode, is_undecided, lines_come_back
from certagent.domain.findings import Finding
from certagent.domain.policy import Policy
from certagent.domain.ports import Clock
from certagent.domain.sources.shell_syntax import MissingParserError
from certagent.domain.sources.survey import survey
from certagent.domain.sources.writes import Note
from certagent.vantage.git_checkout import Commit, NotGitError, read_head, read_tree
from certagent.vantage.source_tree import CheckoutFiles, MissingLibraryError

log = logging.getLogger(__name__)

_HEAD_EVERY = 0.5  # seconds: who has committed the mend waits for it
_MOST_SAID = 5  # parts that could not be read


class ProvisioningSources:
    """A look when HEAD has moved, an incident changes, and every `collector.look_every`. Says nothing while another
    policy is in force than this collector's. What could not be read is said once, and changes nothing."""

    def __init__(self, root: Path, store: Store, policy: Policy, clock: Clock, duty: RoundDuty | None = None) -> None:
        self._duty = duty
        self._root = root
        self._store = store
        self._policy = policy
        self._clock = clock
        self._code: ProvisioningCode | None = None
        self._files: CheckoutFiles | None = None
        self._complaint: str | None = None
        self._gaps: str | None = None
        self._wanted = asyncio.Event()
        self.metric = Gauge(
            "certagent_provisioning_code_read",
            "1 if all of the provisioning code at its HEAD was read, 0 if the log says what was not.",
            registry=None,
        )
        store.listen(self._note)

    async def run(self) -> None:
        """For ever. A store that fails is tried again in the next round."""
        while True:
            self._wanted.clear()
            try:
                await self.compare()
            except (StoreFailed, Overloaded) as error:
                log.error("the provisioning code was not compared: %s", error)
            await self._wait_for_a_reason()

    def _note(self, changes: Changes) -> None:
        if changes.incidents:
            self._wanted.set()

    async def _wait_for_a_reason(self) -> None:
        until = self._clock.monotonic() + self._policy.collector.look_every.total_seconds()
        while self._clock.monotonic() < until:
            await self._clock.sleep(_HEAD_EVERY)  # also the most often that anything is compared
            if await asyncio.to_thread(self._look) or self._wanted.is_set():
                return

    async def compare(self) -> None:
        """Read the code if it has changed, and say which of its lines wrote what incidents are, or were, about."""
        await asyncio.to_thread(self._look)
        if self._code is None or (self._duty is not None and self._duty.complaint is not None):
            return
        live = await self._store.read(read_live_lines, {write.file for write in self._code.writes})
        found = [self._policy.grade(finding) for finding in lines_come_back(self._code, live)]
        before = await self._store.read(find_about_sources)
        kept = await asyncio.to_thread(lambda: list(self._undecided(before, found)))
        await self._store.write(replace_source_findings, [*found, *kept])

    def _undecided(self, before: list[Finding], found: list[Finding]) -> Iterator[Finding]:
        """What was said before, and may still hold because not all was read."""
        code, files, met = self._code, self._files, set(map(_place, found))
        for finding in before:
            file, text = _place(finding)
            if code is None or files is None or file is None or (file, text) in met:
                continue
            if is_undecided(finding, code, files.whole_text(file)):
                yield finding

    def _look(self) -> bool:
        """Read the tree if its HEAD is another one than before, and say so; a tree that cannot be read keeps what was
        known."""
        has_moved, complaint = False, None
        try:
            head = read_head(self._root)
            has_moved = self._code is None or head.id != self._code.commit or self._has_changed()
            if has_moved:
                self._read(head)
        except (NotGitError, MissingLibraryError, MissingParserError) as error:
            complaint = f"the provisioning code is not read: {error}"
        if complaint is not None and complaint != self._complaint:
            log.warning("%s", complaint)
        self._complaint = complaint
        is_read = complaint is None and self._code is not None and not self._code.has_gaps
        self.metric.set(is_read)
        return has_moved

    def _has_changed(self) -> bool:
        """Whether what was edited, and so was not read, may be as the commit has it by now."""
        return self._files is not None and self._files.has_changed()

    def _read(self, head: Commit) -> None:
        files = CheckoutFiles(self._root, committed=read_tree(self._root, head))
        found = survey(files)
        lines = files.lines(write.place for write in found.writes)
        notes = (*files.notes, *found.notes)
        self._files = files
        self._code = ProvisioningCode(
            commit=head.id,
            committed_at=head.committed_at,
            writes=found.writes,
            lines=lines,
            has_gaps=bool(notes),
        )
        log.info("provisioning code at %s: %d lines for resolver files", head.id[:12], len(found.writes))
        self._tell_gaps(_gaps_text(notes, files.unread) if notes else None)

    def _tell_gaps(self, gaps: str | None) -> None:
        if gaps is not None and gaps != self._gaps:
            log.warning("not all of the provisioning code is read, and what that part wrote stays as it is: %s", gaps)
        self._gaps = gaps


def _gaps_text(notes: Sequence[Note], unread: Mapping[str, str]) -> str:
    files = Counter(unread.values())
    told = [
        f"{note.place.source}:{note.place.line}: {note.reason}"
        + (f" (so it is with {files[note.reason]} files)" if files[note.reason] > 1 else "")
        for note in notes[:_MOST_SAID]
    ]
    more = [f"and {len(notes) - _MOST_SAID} more"] if len(notes) > _MOST_SAID else []
    return "; ".join([*told, *more])


def _place(finding: Finding) -> tuple[str | None, str | None]:
    """File and text: what is the same when the line has only moved."""
    culprit = finding.culprit
    return (culprit.file, culprit.text) if culprit is not None else (None, None)
