"""Where DNS leads for identifiers that several nodes claim and none has proven: the collector has it looked up for
itself, so that a node that claims what is not there yet keeps nobody out who comes later."""

import asyncio
import logging
from datetime import datetime, timedelta

from certagent.collector.agent_link import AgentLinks, LinkClosed, new_id
from certagent.collector.records import Overloaded, StoreFailed
from certagent.collector.sql.claim_queries import find_undecided, note_lead
from certagent.collector.store import Store
from certagent.domain.link_messages import Rehearse, Rehearsed
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import RehearsalRequest, digest_for
from certagent.domain.sightings import COLLECTOR

log = logging.getLogger(__name__)

_EVERY_SECONDS = 15.0
_AGAIN_AFTER = timedelta(minutes=10)  # of one identifier
_ANSWER_SECONDS = 10.0
_MOST_AT_ONCE = 20


class DisputeReview:
    """Done by the collector to which the agent beside the CA is connected, one identifier after the other."""

    def __init__(self, store: Store, links: AgentLinks, clock: Clock) -> None:
        self._store = store
        self._links = links
        self._clock = clock
        self._looked_at: dict[str, datetime] = {}

    async def run(self) -> None:
        """For ever. What fails is done by the next round."""
        while True:
            await self._clock.sleep(_EVERY_SECONDS)
            try:
                await self.review()
            except (StoreFailed, Overloaded) as error:
                log.warning("disputed identifiers were not looked up: %s", error)

    async def review(self) -> None:
        """Look up those that were not looked up lately, the longest ago first."""
        if self._links.find_authority() is None:
            return
        undecided, now = await self._store.read(find_undecided), self._clock.now()
        self._looked_at = {name: at for name, at in self._looked_at.items() if name in undecided}
        due = [name for name in undecided if name not in self._looked_at or now - self._looked_at[name] >= _AGAIN_AFTER]
        due.sort(key=lambda name: (name in self._looked_at, self._looked_at.get(name, now)))
        for name in due[:_MOST_AT_ONCE]:
            await self._look_up(name)
            self._looked_at[name] = self._clock.now()

    async def _look_up(self, identifier: str) -> None:
        """Nothing is planted, and what the agent beside the CA saw is told to nobody."""
        link, token = self._links.find_authority(), new_id()
        if link is None:
            return
        request = RehearsalRequest(identifier=identifier, token=token, digest=digest_for(token), planted=False)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await link.ask(Rehearse(id=new_id(), request=request, caller=COLLECTOR))
        except (TimeoutError, LinkClosed) as error:
            log.info("%s was not looked up: %s", identifier, error or f"no answer within {_ANSWER_SECONDS:.0f} s")
            return
        if isinstance(answer, Rehearsed) and answer.rehearsal.identifier == identifier:
            await self._store.write(note_lead, answer.rehearsal)
