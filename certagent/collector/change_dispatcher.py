"""After a commit: who has to hear of it. Wakes couriers, sends events, tells agents to judge again."""

import asyncio
import logging
from collections.abc import Sequence

from certagent.collector.agent_link import AgentLinks
from certagent.collector.alerts import Sender
from certagent.collector.events import Events
from certagent.collector.rehearsals import tell_to_judge_again
from certagent.collector.store import Changes, KnownCertificate, Store, StoreFailed
from certagent.collector.views import show_agent, show_certificate

log = logging.getLogger(__name__)


class ChangeDispatcher:
    """Passes on what the store says has changed. What is lost with the process is derived again from the facts."""

    def __init__(self, store: Store, channels: AgentLinks, events: Events, couriers: Sequence[Sender]) -> None:
        self._store = store
        self._channels = channels
        self._events = events
        self._couriers = couriers
        self._queue: asyncio.Queue[Changes] = asyncio.Queue()
        store.listen(self._note)

    def note_agent(self, name: str) -> None:
        """An agent came or went."""
        self._queue.put_nowait(Changes(agents=frozenset({name})))

    async def run(self) -> None:
        """Announce, for ever."""
        while True:
            changes = await self._queue.get()
            await tell_to_judge_again(self._channels, changes.judge_again)
            for incident in changes.incidents:
                self._events.send("incident", incident)
            for name in changes.agents if self._events.is_watched() else ():
                await self._announce_agent(name)

    def _note(self, changes: Changes) -> None:
        if changes.alerts:
            for courier in self._couriers:
                courier.wake()
        self._queue.put_nowait(changes)

    async def _announce_agent(self, name: str) -> None:
        try:
            agent = await self._store.agent(name)
        except StoreFailed as error:
            log.warning("nobody was told of %s: %s", name, error)
            return
        if agent is None:
            return
        self._events.send("agent", show_agent(agent, connected=name in self._channels.names()))
        for certificate in agent.inventory.certificates if agent.inventory is not None else ():
            self._events.send("certificate", show_certificate(KnownCertificate(node=name, certificate=certificate)))
