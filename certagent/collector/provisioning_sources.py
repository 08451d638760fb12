"""The checkout of the provisioning code on the collector's node: what it would write, read again when its HEAD moves.

Read only; what it says is only ever compared with lines that incidents have.
"""

import asyncio
import logging
from pathlib import Path

from certagent.collector.records import Changes, Overloaded, StoreFailed
from certagent.collector.rounds import RoundDuty
from certagent.collector.sql.source_queries import read_live_lines
from certagent.collector.sql.upkeep import replace_source_findings
from certagent.collector.store import Store
from certagent.domain.diagnosis.written_lines import lines_come_back
from certagent.domain.policy import Policy
from certagent.domain.ports import Clock
from certagent.domain.sources.shell_syntax import MissingParserError
from certagent.domain.sources.survey import survey
from certagent.domain.sources.writes import Write
from certagent.vantage.git_checkout import Commit, NotGitError, read_head
from certagent.vantage.source_tree import CheckoutFiles, MissingLibraryError

log = logging.getLogger(__name__)

_HEAD_EVERY = 1.0  # seconds: who has committed the mend waits for it


class ProvisioningSources:
    """A look when HEAD has moved, an incident changes, and every `collector.look_every`. Says nothing while another
    policy is in force than this collector's."""

    def __init__(self, root: Path, store: Store, policy: Policy, clock: Clock, duty: RoundDuty | None = None) -> None:
        self._duty = duty
        self._root = root
        self._store = store
        self._policy = policy
        self._clock = clock
        self._commit: Commit | None = None
        self._writes: tuple[Write, ...] = ()
        self._complaint: str | None = None
        self._wanted = asyncio.Event()
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
        if self._commit is None or (self._duty is not None and self._duty.complaint is not None):
            return
        live = await self._store.read(read_live_lines)
        found = lines_come_back(self._writes, live, self._commit.id, self._commit.committed_at)
        await self._store.write(replace_source_findings, [self._policy.grade(finding) for finding in found])

    def _look(self) -> bool:
        """Read the tree if its HEAD is another one than before, and say so; a tree that cannot be read keeps what was
        known."""
        has_moved = False
        try:
            head = read_head(self._root)
            has_moved = head != self._commit
            if has_moved:
                self._writes = survey(CheckoutFiles(self._root)).writes
                self._commit = head
                log.info("provisioning code at %s: %d lines for resolver files", head.id[:12], len(self._writes))
            self._complaint = None
        except (NotGitError, MissingLibraryError, MissingParserError) as error:
            if str(error) != self._complaint:
                log.warning("the provisioning code is not read: %s", error)
            self._complaint = str(error)
        return has_moved
