"""How often somebody may try something: a few times at once, then slowly. In memory: it is no fact about anything."""

from collections import OrderedDict

from certagent.domain.ports import Clock

_MOST_KEYS = 10_000


class Throttle:
    """A bucket of `burst` tries per key, refilled by one every `seconds`."""

    def __init__(self, burst: int, seconds: float, clock: Clock) -> None:
        self._burst = burst
        self._seconds = seconds
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()  # when the bucket is full again

    def take(self, key: str) -> float:
        """0.0 when one more try is allowed now, else the seconds until it is."""
        now = self._clock.monotonic()
        full_at = max(self._full_at.get(key, now), now) + self._seconds
        wait = full_at - now - self._burst * self._seconds
        if wait > 0:
            return wait
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        while len(self._full_at) > _MOST_KEYS:
            self._full_at.popitem(last=False)
        return 0.0
