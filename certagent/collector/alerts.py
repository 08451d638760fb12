"""Sending what the outbox holds: one courier per channel, in order, again and again until it is taken over.

At least once: a message is taken off only after it was delivered, so a crash in between sends it twice.
"""

import asyncio
import logging
from datetime import timedelta

from certagent.collector.channels import Deliverer, PermanentFailure, TransientFailure
from certagent.collector.channels.message import word
from certagent.collector.store import Delivery, Store
from certagent.domain.ports import Clock

log = logging.getLogger(__name__)

FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(minutes=5)


class Courier:
    """Empties one channel's part of the outbox. `url` is the collector's own, for the links in messages."""

    def __init__(self, name: str, deliverer: Deliverer, store: Store, clock: Clock, url: str) -> None:
        self.name = name
        self._deliverer = deliverer
        self._store = store
        self._clock = clock
        self._url = url
        self._wanted = asyncio.Event()

    def wake(self) -> None:
        """There is something in the outbox."""
        self._wanted.set()

    async def run(self) -> None:
        """Deliver, for ever. A message that cannot be delivered yet holds up those behind it, so order is kept."""
        while True:
            self._wanted.clear()
            delivery = await self._store.next_delivery(self.name)
            if delivery is None:
                await self._wanted.wait()
                continue
            wait = (delivery.due_at - self._clock.now()).total_seconds()
            if wait > 0:
                await self._clock.sleep(wait)
            await self._deliver(delivery)

    async def _deliver(self, delivery: Delivery) -> None:
        now = self._clock.now()
        try:
            await self._deliverer.deliver(word(delivery.incident, delivery.kind, self._url, now))
        except TransientFailure as failure:
            pause = min(FIRST_PAUSE * 2 ** min(delivery.attempts, 16), LONGEST_PAUSE)
            log.warning("channel %s: %s; again in %d s", self.name, failure, pause.total_seconds())
            await self._store.settle_delivery(delivery.number, failure=str(failure), retry_at=now + pause)
        except PermanentFailure as failure:
            log.error("channel %s: incident %s is given up: %s", self.name, delivery.incident.id, failure)
            await self._store.settle_delivery(delivery.number, failure=str(failure), retry_at=None)
        else:
            await self._store.settle_delivery(delivery.number, failure=None, retry_at=None)
