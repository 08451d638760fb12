"""After a commit: alerts to their channels, events to whoever watches, and agents asked to judge again.

What is lost with the process is derived again from the store. An alert is sent at least once: its message is taken off
the outbox only after it was delivered, so a crash in between sends it twice.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from certagent.collector.access import encode
from certagent.collector.agent_link import AgentLinks, ask_to_judge_again
from certagent.collector.incident_text import Message, compose_message, compose_sum
from certagent.collector.notifiers import AlertRepeater, Notifier
from certagent.collector.records import Changes, Delivery, KnownCertificate, Notice, Overloaded, StoreFailed
from certagent.collector.sql.api_queries import find_agent, find_stale_identifiers
from certagent.collector.sql.deliveries import (
    claim_delivery,
    find_excess,
    list_announced,
    next_delivery,
    record_attempt,
    sum_up,
)
from certagent.collector.sql.peer_queries import find_incidents
from certagent.collector.store import Store
from certagent.collector.views import show_agent, show_certificate
from certagent.domain.backoff import Backoff
from certagent.domain.incidents import TransitionKind
from certagent.domain.policy import CollectorPolicy
from certagent.domain.ports import Clock
from certagent.system.webhook import PermanentFailure, TransientFailure

log = logging.getLogger(__name__)

_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=45)  # a message is late by no more once its receiver is back
_POLL_EVERY = timedelta(seconds=2)
_REPEAT_EVERY = timedelta(minutes=1)
_LONGEST_QUEUE = 1_000
_LONGEST_ATTEMPT = timedelta(seconds=11)
CLAIMED_FOR = timedelta(seconds=20)
"""What a collector sends is its own for so long; it begins soon or not at all, and has ended by then."""


class AlertSender:
    """Delivers one channel's part of the outbox. `url` is the collector's own, for the links in messages."""

    def __init__(
        self, channel: str, notifier: Notifier, store: Store, clock: Clock, url: str, policy: CollectorPolicy
    ) -> None:
        self.channel = channel
        self._policy = policy
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
        outbox, one delivers a message, and any of them the next."""
        await self._repeat()
        await self._sum_up()
        waiting = await self._store.read(next_delivery, self.channel, self._clock.now())
        if waiting is None:
            return _POLL_EVERY
        wait = waiting.due_at - self._clock.now()
        if wait <= timedelta(0):
            delivery = await self._store.write(claim_delivery, self.channel, CLAIMED_FOR)
            if delivery is not None:
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
        if not await self._store.holds_lease(f"channel {self.channel}"):
            return
        self._repeat_at = now + _REPEAT_EVERY
        announced = await self._store.read(list_announced, self.channel)
        messages = [compose_message(incident, TransitionKind.OPENED, self._url, now) for incident in announced]
        try:
            await self._notifier.repeat(messages)
        except (TransientFailure, PermanentFailure) as failure:
            log.warning("channel %s: unresolved incidents were not sent again: %s", self.channel, failure)

    async def _sum_up(self) -> None:
        """What would be too many messages about one node becomes one; a receiver of repeated alerts sums up itself."""
        now, most = self._clock.now(), self._policy.messages_per_node
        if isinstance(self._notifier, AlertRepeater):
            return
        if await self._store.read(find_excess, self.channel, now, most):
            await self._store.write(sum_up, self.channel, most)

    def _compose(self, delivery: Delivery, now: datetime) -> Message:
        if delivery.sum is not None:
            return compose_sum(delivery, delivery.sum, self._url, now)
        return compose_message(delivery.incident, delivery.kind, self._url, now, str(delivery.number))

    async def _deliver(self, delivery: Delivery) -> None:
        """One attempt, if its claim lasts for a whole one: who was frozen before it leaves the message to others."""
        now = self._clock.now()
        message = self._compose(delivery, now)
        if delivery.claimed_until is None or self._clock.now() + _LONGEST_ATTEMPT > delivery.claimed_until:
            log.warning("channel %s: message %d will be claimed again", self.channel, delivery.number)
            return
        try:
            async with asyncio.timeout(_LONGEST_ATTEMPT.total_seconds()):
                await self._notifier.deliver(message)
        except (TransientFailure, TimeoutError) as failure:
            await self._try_later(delivery, failure, now)
        except PermanentFailure as failure:
            await self._give_up(delivery, failure)
        else:
            await self._record(delivery, None, None)

    async def _try_later(self, delivery: Delivery, failure: TransientFailure | TimeoutError, now: datetime) -> None:
        if now - delivery.made_at > self._policy.retry_messages_for:
            await self._give_up(delivery, failure)
            return
        asked_for = failure.retry_after if isinstance(failure, TransientFailure) else 0.0
        pause = max(self._backoff.pause_after(delivery.attempts), timedelta(seconds=asked_for))
        reason = str(failure) or "no answer"
        log.warning("channel %s: %s; next attempt in %d s", self.channel, reason, pause.total_seconds())
        await self._record(delivery, reason, now + pause)

    async def _give_up(self, delivery: Delivery, failure: Exception) -> None:
        reason = str(failure) or "no answer"
        log.error("channel %s: gave up on incident %s: %s", self.channel, delivery.incident.id, reason)
        await self._record(delivery, reason, None)

    async def _record(self, delivery: Delivery, failure: str | None, retry_at: datetime | None) -> None:
        """What came of it, as soon as it can be written; when that takes too long, the message leaves once more."""
        number, claim = delivery.number, delivery.claim
        until = self._clock.monotonic() + CLAIMED_FOR.total_seconds()
        while True:
            try:
                is_ours = await self._store.write(
                    record_attempt, number, failure=failure, retry_at=retry_at, claim=claim
                )
                break
            except (StoreFailed, Overloaded) as error:
                if self._clock.monotonic() >= until:
                    raise
                log.warning(
                    "channel %s: the result of message %d could not be recorded: %s", self.channel, number, error
                )
                await self._clock.sleep(_FIRST_PAUSE.total_seconds())
        if not is_ours:
            log.warning("channel %s: message %d was taken over by another collector", self.channel, number)


class EventStream:
    """Passes each event to every watcher. One who does not keep up is dropped, and reads everything again.

    `last_round_at`: when the collector last looked at the whole fleet; what the pages show is as old as that.
    """

    def __init__(self) -> None:
        self.last_round_at: datetime | None = None
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

    def reset(self) -> None:
        """Something may have been missed: let all watchers read everything again."""
        watchers, self._watchers = self._watchers, set()
        for queue in watchers:
            queue.put_nowait(None)

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
        store.listen(self.note_changes)
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

    def note_changes(self, changes: Changes) -> None:
        """Of a commit, here or at another collector."""
        if changes.alerts:
            for sender in self._senders:
                sender.wake()
        self._queue.put_nowait(changes)

    async def take_notice(self, notice: Notice) -> None:
        """Of another collector. Raises `StoreFailed`."""
        if notice == Notice():
            await self.catch_up()
            return
        judge_again: dict[str, set[str]] = defaultdict(set)
        for agent, identifier in notice.judge_again:
            judge_again[agent].add(identifier)
        wanted = notice.incidents if self._events.is_watched() else ()
        incidents = await self._store.read(find_incidents, wanted) if wanted else ()
        asked = {agent: frozenset(names) for agent, names in judge_again.items()}
        agents = frozenset(notice.agents)
        self.note_changes(Changes(incidents=incidents, agents=agents, judge_again=asked, alerts=notice.alerts))

    async def catch_up(self) -> None:
        """Anything may have changed: what the agents that are connected here have to judge again is derived anew, and
        pages are read again. Raises `StoreFailed`."""
        self._events.reset()
        self.note_changes(Changes(alerts=True))
        for agent in self._links.roles():
            stale = await self._store.read(find_stale_identifiers, agent)
            if stale:
                self.note_changes(Changes(judge_again={agent: stale}))

    def _note_agent(self, name: str) -> None:
        self._queue.put_nowait(Changes(agents=frozenset({name})))

    async def _send_agent(self, name: str) -> None:
        try:
            agent = await self._store.read(find_agent, name)
        except StoreFailed as error:
            log.warning("the event about %s could not be sent: %s", name, error)
            return
        if agent is None:
            return
        self._events.send("agent", show_agent(agent, connected=self._links.is_connected(name)))
        for certificate in agent.inventory.certificates if agent.inventory is not None else ():
            self._events.send("certificate", show_certificate(KnownCertificate(node=name, certificate=certificate)))
