"""After a commit: alerts to their channels, events to whoever watches, and agents asked to judge again.

What is lost with the process is derived again from the store. An alert is sent at least once: its message is taken off
the outbox only after it was delivered, so a crash in between sends it twice.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from certagent.collector.access import encode
from certagent.collector.agent_link import AgentLinks, ask_to_judge_again
from certagent.collector.incident_text import compose_message
from certagent.collector.notifiers import AlertRepeater, Notifier
from certagent.collector.records import Changes, Delivery, KnownCertificate, Overloaded, StoreFailed
from certagent.collector.sql.api_queries import find_agent
from certagent.collector.sql.deliveries import list_announced, next_delivery, record_attempt
from certagent.collector.store import Store
from certagent.collector.views import show_agent, show_certificate
from certagent.domain.backoff import Backoff
from certagent.domain.incidents import TransitionKind
from certagent.domain.ports import Clock
from certagent.system.webhook import PermanentFailure, TransientFailure

log = logging.getLogger(__name__)

_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=45)  # a message is late by no more once its receiver is back
_LONGEST_TRYING = timedelta(hours=24)
_POLL_EVERY = timedelta(seconds=2)
_REPEAT_EVERY = timedelta(minutes=1)
_LONGEST_QUEUE = 1_000


class AlertSender:
    """Delivers one channel's part of the outbox. `url` is the collector's own, for the links in messages."""

    def __init__(self, channel: str, notifier: Notifier, store: Store, clock: Clock, url: str) -> None:
        self.channel = channel
        self._notifier = notifier
        self._store = store
        self._clock = clock
        self._url = url
        self._backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        self._wanted = asyncio.Event()
        self._repeat_at = clock.now()

    def wake(self) -> None:
        """There is a new message in the outbox."""
        self._wanted.set()

    async def run(self) -> None:
        """Deliver, for ever. A message that cannot be delivered yet delays those about the same incident."""
        while True:
            self._wanted.clear()
            try:
                pause = await self._deliver_next()
            except (StoreFailed, Overloaded) as error:
                log.error("channel %s: %s", self.channel, error)
                pause = _POLL_EVERY
            if pause > timedelta(0):
                await self._rest(pause)

    async def _deliver_next(self) -> timedelta:
        """Deliver one message if it is due; answers for how long there is nothing to do. Of several collectors on one
        outbox, one delivers to a channel."""
        if not await self._store.holds_lease(f"channel {self.channel}"):
            return _POLL_EVERY
        await self._repeat()
        delivery = await self._store.read(next_delivery, self.channel)
        if delivery is None:
            return _POLL_EVERY
        wait = delivery.due_at - self._clock.now()
        if wait <= timedelta(0):
            await self._deliver(delivery)
        return min(wait, _POLL_EVERY)

    async def _rest(self, longest: timedelta) -> None:
        """Until there is a new message of this collector's; those of other collectors are polled for."""
        try:
            async with asyncio.timeout(longest.total_seconds()):
                await self._wanted.wait()
        except TimeoutError:
            return

    async def _repeat(self) -> None:
        """Send unresolved incidents again to a receiver that forgets them; what fails now is sent in a minute."""
        now = self._clock.now()
        if not isinstance(self._notifier, AlertRepeater) or now < self._repeat_at:
            return
        self._repeat_at = now + _REPEAT_EVERY
        announced = await self._store.read(list_announced, self.channel)
        messages = [compose_message(incident, TransitionKind.OPENED, self._url, now) for incident in announced]
        try:
            await self._notifier.repeat(messages)
        except (TransientFailure, PermanentFailure) as failure:
            log.warning("channel %s: unresolved incidents were not sent again: %s", self.channel, failure)

    async def _deliver(self, delivery: Delivery) -> None:
        now, number = self._clock.now(), delivery.number
        message = compose_message(delivery.incident, delivery.kind, self._url, now, str(number))
        try:
            await self._notifier.deliver(message)
        except TransientFailure as failure:
            if now - delivery.made_at > _LONGEST_TRYING:
                await self._give_up(delivery, failure)
                return
            pause = max(self._backoff.pause_after(delivery.attempts), timedelta(seconds=failure.retry_after))
            log.warning("channel %s: %s; next attempt in %d s", self.channel, failure, pause.total_seconds())
            await self._store.write(record_attempt, number, failure=str(failure), retry_at=now + pause)
        except PermanentFailure as failure:
            await self._give_up(delivery, failure)
        else:
            await self._store.write(record_attempt, number, failure=None, retry_at=None)

    async def _give_up(self, delivery: Delivery, failure: Exception) -> None:
        log.error("channel %s: gave up on incident %s: %s", self.channel, delivery.incident.id, failure)
        await self._store.write(record_attempt, delivery.number, failure=str(failure), retry_at=None)


class EventStream:
    """Passes each event to every watcher. One who does not keep up is dropped, and reads everything again."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Queue[bytes | None]] = set()

    @contextmanager
    def watch(self) -> Iterator["asyncio.Queue[bytes | None]"]:
        """A queue of events as they are sent; None when there will be no more."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            yield queue
        finally:
            self._watchers.discard(queue)

    def is_watched(self) -> bool:
        """Whether anybody would see an event."""
        return bool(self._watchers)

    def send(self, kind: str, value: object) -> None:
        """One event to all: its kind, and the changed thing as the lists show it."""
        if not self._watchers:
            return
        message = b"event: %b\ndata: %b\n\n" % (kind.encode(), encode(value))
        for queue in tuple(self._watchers):
            if queue.qsize() >= _LONGEST_QUEUE:
                self._watchers.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(message)

    def close(self) -> None:
        """Tell all that there will be no more."""
        for queue in self._watchers:
            queue.put_nowait(None)


class ChangeDispatcher:
    """Passes on what the store says has changed, and which agents connect."""

    def __init__(self, store: Store, links: AgentLinks, events: EventStream, senders: Sequence[AlertSender]) -> None:
        self._store = store
        self._links = links
        self._events = events
        self._senders = senders
        self._queue: asyncio.Queue[Changes] = asyncio.Queue()
        store.listen(self._note_changes)
        links.listen(self._note_agent)

    async def run(self) -> None:
        """Dispatch, for ever."""
        while True:
            changes = await self._queue.get()
            if changes.judge_again:
                await ask_to_judge_again(self._links, changes.judge_again)
            for incident in changes.incidents:
                self._events.send("incident", incident)
            for name in changes.agents if self._events.is_watched() else ():
                await self._send_agent(name)

    def _note_changes(self, changes: Changes) -> None:
        if changes.alerts:
            for sender in self._senders:
                sender.wake()
        self._queue.put_nowait(changes)

    def _note_agent(self, name: str) -> None:
        self._queue.put_nowait(Changes(agents=frozenset({name})))

    async def _send_agent(self, name: str) -> None:
        try:
            agent = await self._store.read(find_agent, name)
        except StoreFailed as error:
            log.warning("no event was sent about %s: %s", name, error)
            return
        if agent is None:
            return
        self._events.send("agent", show_agent(agent, connected=self._links.find(name) is not None))
        for certificate in agent.inventory.certificates if agent.inventory is not None else ():
            self._events.send("certificate", show_certificate(KnownCertificate(node=name, certificate=certificate)))
