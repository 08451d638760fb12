"""By the clock: looks at the whole fleet, reminds, forgets what is old, and gives the sign of life. Decides nothing."""

import asyncio
import logging
from datetime import timedelta

from certagent.collector.agent_link import AgentLinks
from certagent.collector.heartbeat import Heartbeat
from certagent.collector.store import Overloaded, Store, StoreFailed
from certagent.domain.policy import Policy
from certagent.domain.ports import Clock
from certagent.system.malloc import give_back

log = logging.getLogger(__name__)

PRUNE_EVERY = timedelta(hours=1)


class Housekeeping:
    """Goes his round every `collector.look_every`. Several collectors' rounds come to the same."""

    def __init__(
        self, store: Store, channels: AgentLinks, policy: Policy, clock: Clock, heartbeat: Heartbeat | None
    ) -> None:
        self._store = store
        self._channels = channels
        self._policy = policy
        self._clock = clock
        self._heartbeat = heartbeat
        self._since = self._prune_at = clock.now()

    async def run(self) -> None:
        """For ever. A store that cannot do its work now is asked again; the heartbeat misses a beat for it."""
        while True:
            try:
                await self._go_round()
            except (StoreFailed, Overloaded) as error:
                log.error("the round was not finished: %s", str(error) or "too much waits to be written")
            await self._clock.sleep(self._policy.collector.look_every.total_seconds())

    async def _go_round(self) -> None:
        await self._store.look(self._channels.names(), self._policy, self._since)
        await self._store.remind()
        now = self._clock.now()
        if now >= self._prune_at:
            self._prune_at = now + PRUNE_EVERY
            keep = self._policy.collector
            await self._store.prune(now - keep.keep_reports, now - keep.keep_incidents)
        await asyncio.to_thread(give_back)  # one to three milliseconds with 5,000 agents
        if self._heartbeat is not None and await self._store.takes("heartbeat"):
            await self._heartbeat.beat(now)
