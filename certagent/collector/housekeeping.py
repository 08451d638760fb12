"""By the clock: sweep the fleet for the collector's own findings, remind, prune, and send the heartbeat.

The heartbeat is sent as long as the collector does its work: whoever misses it raises the alarm.
"""

import asyncio
import logging
from collections.abc import Collection
from datetime import datetime, timedelta

import aiohttp
import msgspec

from certagent.collector.agent_link import AgentLinks
from certagent.collector.notifiers.alertmanager import JSON, alerts_url
from certagent.collector.records import Overloaded, StoreFailed
from certagent.collector.sql import upkeep
from certagent.collector.store import Store
from certagent.config import HeartbeatSection
from certagent.domain.findings import Finding
from certagent.domain.fleet import FleetSnapshot, conclude
from certagent.domain.policy import Policy
from certagent.domain.ports import Clock
from certagent.system.malloc import give_back
from certagent.system.webhook import PermanentFailure, TransientFailure, post

log = logging.getLogger(__name__)

_PRUNE_EVERY = timedelta(hours=1)


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
            "annotations": {"summary": "The collector works. When this alert ends, it does not."},
            "endsAt": now + 3 * self._every,
        }
        await post(self._session, alerts_url(section.url), msgspec.json.encode([alert]), JSON | section.headers)


class Housekeeping:
    """One round every `collector.look_every`. Several collectors' rounds come to the same."""

    def __init__(
        self, store: Store, links: AgentLinks, policy: Policy, clock: Clock, heartbeat: Heartbeat | None
    ) -> None:
        self._store = store
        self._links = links
        self._policy = policy
        self._clock = clock
        self._heartbeat = heartbeat
        self._started_at = self._prune_at = clock.now()

    async def run(self) -> None:
        """For ever. A store that fails is tried again in the next round; the heartbeat misses a beat for it."""
        while True:
            try:
                await self._do_round()
            except (StoreFailed, Overloaded) as error:
                log.error("the round was not finished: %s", error)
            await self._clock.sleep(self._policy.collector.look_every.total_seconds())

    async def _do_round(self) -> None:
        await sweep(self._store, self._links.names(), self._policy, self._started_at, self._clock.now())
        await self._store.write(upkeep.remind)
        now = self._clock.now()
        if now >= self._prune_at:
            self._prune_at = now + _PRUNE_EVERY
            keep = self._policy.collector
            await prune(self._store, now - keep.keep_reports, now - keep.keep_incidents)
        await asyncio.to_thread(give_back)  # one to three milliseconds with 5,000 agents
        if self._heartbeat is not None and await self._store.holds_lease("heartbeat"):
            await self._heartbeat.beat(now)


async def sweep(store: Store, connected: Collection[str], policy: Policy, since: datetime, now: datetime) -> None:
    """Let what the whole fleet shows now replace the collector's own earlier findings.

    `connected` agents count as alive now; before `since` no collector was here to hear anybody.
    """
    await store.write(upkeep.update_agents, connected, policy.collector.silent_after)
    snapshot = await store.read(upkeep.read_snapshot, since)
    found = await asyncio.to_thread(_conclude, snapshot, policy, now)
    await store.write(upkeep.replace_findings, found)


async def prune(store: Store, reports_before: datetime, incidents_before: datetime) -> int:
    """Delete reports that were received earlier and incidents that were resolved earlier; answers how many.

    Step by step, so that no other write waits long.
    """
    total = 0
    for step, before in ((upkeep.prune_reports, reports_before), (upkeep.prune_incidents, incidents_before)):
        count = upkeep.MOST_PRUNED
        while count >= upkeep.MOST_PRUNED:
            count = await store.write(step, before)
            total += count
    return total


def _conclude(snapshot: FleetSnapshot, policy: Policy, now: datetime) -> list[Finding]:
    return [policy.grade(finding) for finding in conclude(snapshot, policy.collector, now)]
