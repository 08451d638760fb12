"""Sending what the outbox holds: one courier per channel, in order, again and again until it is taken over.

At least once: a message is taken off only after it was delivered, so a crash in between sends it twice.
"""

import asyncio
import logging
from datetime import timedelta

from certagent.collector.notifiers import AlertReminder, Deliverer
from certagent.collector.notifiers.alert_text import word
from certagent.collector.store import Delivery, Overloaded, Store, StoreFailed
from certagent.domain.incidents import TransitionKind
from certagent.domain.ports import Clock
from certagent.system.webhook import PermanentFailure, TransientFailure

log = logging.getLogger(__name__)

FIRST_PAUSE = timedelta(seconds=1)
LOOK_AGAIN = timedelta(seconds=2)
KEEP_UP_EVERY = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(minutes=5)


class Sender:
    """Empties one channel's part of the outbox. `url` is the collector's own, for the links in messages."""

    def __init__(self, name: str, deliverer: Deliverer, store: Store, clock: Clock, url: str) -> None:
        self.name = name
        self._deliverer = deliverer
        self._store = store
        self._clock = clock
        self._url = url
        self._wanted = asyncio.Event()
        self._keep_up_at = clock.now()

    def wake(self) -> None:
        """There is something in the outbox."""
        self._wanted.set()

    async def run(self) -> None:
        """Deliver, for ever. A message that cannot be delivered yet holds up those about the same incident."""
        while True:
            self._wanted.clear()
            try:
                rest = await self._work()
            except (StoreFailed, Overloaded) as error:
                log.error("channel %s: %s", self.name, str(error) or "too much waits to be written")
                rest = LOOK_AGAIN
            if rest > timedelta(0):
                await self._rest(rest)

    async def _work(self) -> timedelta:
        """Deliver what is due; answers how long there is nothing to do. Several collectors share one outbox, and one of
        them empties a channel's part."""
        if not await self._store.takes(f"channel {self.name}"):
            return LOOK_AGAIN
        await self._keep_up()
        delivery = await self._store.next_delivery(self.name)
        if delivery is None:
            return LOOK_AGAIN
        wait = delivery.due_at - self._clock.now()
        if wait <= timedelta(0):
            await self._deliver(delivery)
        return min(wait, LOOK_AGAIN)

    async def _rest(self, longest: timedelta) -> None:
        """Until somebody says that there is more; another collector's word does not reach us."""
        try:
            async with asyncio.timeout(longest.total_seconds()):
                await self._wanted.wait()
        except TimeoutError:
            return

    async def _keep_up(self) -> None:
        """Tell receivers that forget; what fails now is told in a minute."""
        now = self._clock.now()
        if not isinstance(self._deliverer, AlertReminder) or now < self._keep_up_at:
            return
        self._keep_up_at = now + KEEP_UP_EVERY
        standing = await self._store.standing(self.name)
        messages = [word(incident, TransitionKind.OPENED, self._url, now) for incident in standing]
        try:
            await self._deliverer.keep_up(messages)
        except (TransientFailure, PermanentFailure) as failure:
            log.warning("channel %s: what stands was not told again: %s", self.name, failure)

    async def _deliver(self, delivery: Delivery) -> None:
        now = self._clock.now()
        number = delivery.number
        try:
            await self._deliverer.deliver(word(delivery.incident, delivery.kind, self._url, now, str(number)))
        except TransientFailure as failure:
            pause = min(FIRST_PAUSE * 2 ** min(delivery.attempts, 16), LONGEST_PAUSE)
            log.warning("channel %s: %s; again in %d s", self.name, failure, pause.total_seconds())
            await self._store.settle_delivery(number, failure=str(failure), retry_at=now + pause)
        except PermanentFailure as failure:
            log.error("channel %s: incident %s is given up: %s", self.name, delivery.incident.id, failure)
            await self._store.settle_delivery(number, failure=str(failure), retry_at=None)
        else:
            await self._store.settle_delivery(number, failure=None, retry_at=None)
