"""How the agents' connections are shared among collectors: one that has far more than its share closes some, slowly.

A balancer spreads connections when they are made, so a collector that has come back would have none for as long as the
others' last. An agent whose connection is closed connects again at once, to whichever collector has the fewest; where
agents come back to the one that closed them, no balancer spreads them, and they are left alone.
"""

import logging
import math
from collections.abc import Mapping
from itertools import islice

from certagent.collector.agent_link import AgentLinks
from certagent.collector.records import StoreFailed, TokenRole
from certagent.collector.sql.peer_queries import count_links
from certagent.collector.store import Store
from certagent.domain.ports import Clock

log = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0
_FAR_ABOVE = 1.25
_FEWEST_ABOVE = 5
_LASTS_SECONDS = 10.0  # a collector that stops, or has just begun, is no reason
_SPREAD_SECONDS = 5.0
_MOST_AT_ONCE = 500  # within `_SPREAD_SECONDS`
_PART_AT_ONCE = 3
_LEFT_ALONE_SECONDS = 3600.0


def surplus_of(collector: str, counts: Mapping[str, int]) -> int:
    """How many connections that collector has above its share, if it has far more; `counts`: of all that live."""
    share = math.ceil(sum(counts.values()) / len(counts)) if counts else 0
    above = counts.get(collector, 0) - share
    return above if above >= _FEWEST_ABOVE and counts[collector] > share * _FAR_ABOVE else 0


class LinkShares:
    """This collector's part in it. The agent beside the CA keeps its connection: all rehearsals wait for it."""

    def __init__(self, store: Store, links: AgentLinks, clock: Clock) -> None:
        self._store = store
        self._links = links
        self._clock = clock
        self._collectors: frozenset[str] = frozenset()
        self._above_since = math.inf
        self._sent_away: tuple[str, ...] = ()
        self._left_alone_until = -math.inf

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            try:
                counts = await self._store.read(count_links, self._clock.now())
            except StoreFailed as error:
                log.warning("how many agents the other collectors have could not be read: %s", error)
                continue
            self._leave_alone_who_came_back()
            self._sent_away = self._choose(surplus_of(self._store.identity, counts), frozenset(counts))
            await self._links.send_away(self._sent_away, _SPREAD_SECONDS)

    def _choose(self, surplus: int, collectors: frozenset[str]) -> tuple[str, ...]:
        """Whom to send away now: those whose connections have lasted longest."""
        now = self._clock.monotonic()
        if not surplus or collectors != self._collectors:
            self._above_since = math.inf
        self._collectors = collectors
        if not surplus:
            return ()
        self._above_since = min(self._above_since, now)
        if now < max(self._above_since + _LASTS_SECONDS, self._left_alone_until):
            return ()
        count = min(max(surplus // _PART_AT_ONCE, _FEWEST_ABOVE), _MOST_AT_ONCE)
        agents = (name for name, role in self._links.roles().items() if role is not TokenRole.AUTHORITY)
        return tuple(islice(agents, count))

    def _leave_alone_who_came_back(self) -> None:
        """The few that are sent away first show whether it is of use."""
        back = sum(self._links.find(name) is not None for name in self._sent_away)
        if back > len(self._sent_away) / 2:
            self._left_alone_until = self._clock.monotonic() + _LEFT_ALONE_SECONDS
            log.info("agents that were sent away came back to this collector: they are left alone for an hour")
