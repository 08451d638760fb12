"""The places for rehearsals that run at once beside the CA, shared fairly among the nodes that ask. Fetches nothing."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from certagent.domain.rehearsals import MOST_PER_CALLER

PLACES = 16
MOST_SLOW = 112
MOST_UNDER_WAY = 256
SLOW_AFTER_SECONDS = 3.0
_MOST_OF_CALLER = 2 * MOST_PER_CALLER  # a cancelled one may still be ending when the next begins


class PlacesTaken(Exception):
    """Too many rehearsals are under way, of this caller or of all."""


class RehearsalPlaces:
    """`PLACES` rehearsals run at once; the others wait in the order of their arrival.

    Fair, because a caller has no more than a few under way, waiting ones included. A rehearsal that is not done after
    `slow_after` seconds, as that of a name whose server never answers, leaves its place to the next one and goes on
    without; no more than `MOST_SLOW` do.
    """

    def __init__(self, slow_after: float = SLOW_AFTER_SECONDS) -> None:
        self._slow_after = slow_after
        self._free = asyncio.Semaphore(PLACES)
        self._slow = 0
        self._under_way: Counter[str] = Counter()

    @asynccontextmanager
    async def place(self, caller: str) -> AsyncIterator[None]:
        """Within the block the caller has a place. Raises `PlacesTaken` at once; a caller without a name only counts
        among all."""
        if self._under_way.total() >= MOST_UNDER_WAY or (caller and self._under_way[caller] >= _MOST_OF_CALLER):
            raise PlacesTaken
        self._under_way[caller] += 1
        try:
            await self._free.acquire()
            place = _Place()
            self._watch(place)
            try:
                yield
            finally:
                self._give_back(place)
        finally:
            self._under_way[caller] -= 1
            if not self._under_way[caller]:
                del self._under_way[caller]

    def _watch(self, place: "_Place") -> None:
        place.timer = asyncio.get_running_loop().call_later(self._slow_after, self._leave, place)

    def _leave(self, place: "_Place") -> None:
        if self._slow >= MOST_SLOW:
            self._watch(place)
            return
        place.is_left = True
        self._slow += 1
        self._free.release()

    def _give_back(self, place: "_Place") -> None:
        if place.timer is not None:
            place.timer.cancel()
        if place.is_left:
            self._slow -= 1
        else:
            self._free.release()


class _Place:
    """One of them. `is_left`: its rehearsal is slow and goes on without it."""

    def __init__(self) -> None:
        self.timer: asyncio.TimerHandle | None = None
        self.is_left = False
