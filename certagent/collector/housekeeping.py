"""By the clock: look at the fleet for the collector's own findings, remind, prune, and send the heartbeat.

The heartbeat is sent as long as the work is done and messages leave: whoever misses it raises the alarm.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from datetime import datetime, timedelta

import aiohttp
import msgspec

from certagent.collector.admission import Admission
from certagent.collector.dispatch import EventStream
from certagent.collector.enrolments import find_reuses
from certagent.collector.notifiers.alertmanager import JSON, alerts_url
from certagent.collector.records import Overloaded, StoreFailed, Turn, TurnLost
from certagent.collector.rounds import RoundDuty
from certagent.collector.sql import upkeep
from certagent.collector.sql.audit_queries import prune_audit
from certagent.collector.sql.daily_sums import prune_sums
from certagent.collector.sql.deliveries import is_any_late
from certagent.collector.sql.look_queries import read_snapshot
from certagent.collector.sql.round_queries import end_round, find_last_round, within_turn
from certagent.collector.sql.speaker_queries import find_clones
from certagent.collector.sql.statements import MOST_PRUNED, Transaction
from certagent.collector.store import Store
from certagent.config import HeartbeatSection
from certagent.domain.enrolment import conclude_reuses
from certagent.domain.findings import Finding
from certagent.domain.fleet import conclude, seen_twice
from certagent.domain.fleet_snapshot import FleetSnapshot
from certagent.domain.policy import Policy
from certagent.domain.ports import Clock
from certagent.domain.speakers import conclude_clones
from certagent.system.malloc import give_back
from certagent.system.webhook import PermanentFailure, TransientFailure, post

log = logging.getLogger(__name__)

_PRUNE_EVERY = timedelta(hours=1)
_KEEP_SUMS = timedelta(days=5 * 366)  # a few rows a day and zone


class Heartbeat:
    """Beats no more often than `every`, and only when asked to: whoever asks has just seen that all is well."""

    def __init__(self, section: HeartbeatSection, session: aiohttp.ClientSession, every: timedelta) -> None:
        self._section = section
        self._session = session
        self._every = every
        self._due_at: datetime | None = None

    async def beat(self, now: datetime) -> None:
        """Send it if it is due. A failure is logged: the receiver notices by itself."""
        if self._due_at is not None and now < self._due_at:
            return
        self._due_at = now + self._every
        try:
            await self._send(now)
        except (PermanentFailure, TransientFailure) as failure:
            log.warning("heartbeat: %s", failure)

    async def _send(self, now: datetime) -> None:
        section = self._section
        if section.kind == "ping":
            await post(self._session, section.url, b"", section.headers)
            return
        alert = {
            "labels": {"alertname": "CertagentAlive", "severity": "none", "source": "certagent"},
            "annotations": {"summary": "The collector is running. When this alert ends, it is not."},
            "endsAt": now + 3 * self._every,
        }
        await post(self._session, alerts_url(section.url), msgspec.json.encode([alert]), JSON | section.headers)


class Housekeeping:
    """One round every `collector.look_every`, which one of several collectors does. Each hears its own agents."""

    def __init__(
        self,
        store: Store,
        events: EventStream,
        admission: Admission,
        policy: Policy,
        duty: RoundDuty,
        clock: Clock,
        heartbeat: Heartbeat | None,
    ) -> None:
        self._store = store
        self._links = admission.links
        self._events = events
        self._policy = policy
        self._duty = duty
        self._clock = clock
        self._admission = admission
        self._heartbeat = heartbeat
        self._seen_once: frozenset[str] = frozenset()
        self._started_at = self._prune_at = events.last_round_at = clock.now()

    async def run(self) -> None:
        """For ever. A store that fails is tried again in the next round; the heartbeat misses a beat for it."""
        half = self._policy.collector.look_every.total_seconds() / 2
        while True:
            try:
                await self._look()
            except (StoreFailed, Overloaded) as error:
                log.error("the round was not finished: %s", error)
                await self._duty.give_up()
            await self._clock.sleep(half)
            # Twice as often as the round: what it finds, another collector's round may have to conclude.
            with suppress(StoreFailed, Overloaded):  # the round says so
                await self._admission.review()
            await self._clock.sleep(half)

    async def _look(self) -> None:
        await self._admission.review()
        if await self._duty.take():
            try:
                await self._do_round(self._duty.turn)
            except TurnLost as error:
                log.info("the round was not finished: %s", error)
        else:
            silent_after = self._policy.collector.silent_after
            await self._store.write(upkeep.update_agents, self._links.names(), silent_after)
            self._events.last_round_at = await self._store.read(find_last_round) or self._events.last_round_at
        await asyncio.to_thread(give_back)  # one to three milliseconds with 5,000 agents

    async def _do_round(self, turn: Turn) -> None:
        found = await look_at_fleet(self._store, self._links.names(), self._policy, self._started_at, self._clock.now())
        found, self._seen_once = seen_twice(found, self._seen_once)
        await self._store.write(within_turn, turn, upkeep.replace_findings, found)
        await self._store.write(within_turn, turn, upkeep.remind)
        now = self._events.last_round_at = self._clock.now()
        if now >= self._prune_at:
            self._prune_at = now + _PRUNE_EVERY
            keep = self._policy.collector
            await prune(self._store, now - keep.keep_reports, now - keep.keep_incidents)
            await prune_in_steps(self._store, prune_audit, now - keep.keep_audit_for)
            await prune_in_steps(self._store, prune_sums, now - _KEEP_SUMS)
        await self._store.write(within_turn, turn, end_round, self._duty.collector)
        if self._heartbeat is not None and not await self._store.read(is_any_late, self._store.channels, now):
            await self._heartbeat.beat(now)


async def look_at_fleet(
    store: Store, connected: Collection[str], policy: Policy, since: datetime, now: datetime
) -> list[Finding]:
    """What the whole fleet shows now: it replaces the collector's own earlier findings.

    `connected` agents count as alive now; before `since` no collector was here to hear anybody.
    """
    await store.write(upkeep.update_agents, connected, policy.collector.silent_after)
    await store.write(upkeep.settle_rows)
    snapshot = await store.read(read_snapshot, since, store.channels, policy.collector, now)
    clones, reuses = await store.read(find_clones, since, now), await store.read(find_reuses)
    beside = (*conclude_clones(clones), *conclude_reuses(reuses))
    return await asyncio.to_thread(_conclude, snapshot, beside, policy, now)


async def prune(store: Store, reports_before: datetime, incidents_before: datetime) -> int:
    """Delete reports that were received earlier, with what changed and was claimed then, and incidents that were
    resolved earlier; answers how many reports and incidents."""
    for step in (upkeep.prune_changes, upkeep.prune_claims):
        await prune_in_steps(store, step, reports_before)
    count = await prune_in_steps(store, upkeep.prune_reports, reports_before)
    return count + await prune_in_steps(store, upkeep.prune_incidents, incidents_before)


async def prune_in_steps(store: Store, step: Callable[[Transaction, datetime], int], before: datetime) -> int:
    """Take the step until there is nothing more to delete; answers how much was.

    Step by step, so that no other write waits long.
    """
    total, count = 0, MOST_PRUNED
    while count >= MOST_PRUNED:
        count = await store.write(step, before)
        total += count
    return total


def _conclude(snapshot: FleetSnapshot, beside: Iterable[Finding], policy: Policy, now: datetime) -> list[Finding]:
    found = (*conclude(snapshot, policy.collector, now), *beside)
    return [policy.grade(finding) for finding in found]
