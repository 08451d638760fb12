"""How often something may be done: some times at once, then slowly. Pure, but for the clock that is passed in."""

import ipaddress
from collections import OrderedDict
from datetime import timedelta

from certagent.domain.ports import Clock


class RateLimiter:
    """A token bucket for each key: `burst` at once, and one more `every` so long.

    A key whose bucket is full again is forgotten. No more than `most_keys` are known; while all of those are in use, a
    new key has to wait.
    """

    def __init__(self, clock: Clock, *, burst: int, every: timedelta, most_keys: int = 10_000) -> None:
        self._clock = clock
        self._every = every.total_seconds()
        self._capacity = burst * self._every
        self._most_keys = most_keys
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str = "", count: int = 1) -> float:
        """0.0 when it may be done now, so many times at once, and it counts; else the seconds until it may, and nothing
        counts."""
        wait = self.wait_for(key, count)
        if wait == 0.0:
            self.charge(key, count)
        return wait

    def charge(self, key: str = "", count: int = 1) -> None:
        """It was done, so many times; it counts, whether it might be done or not."""
        now = self._clock.monotonic()
        if key not in self._full_at and self._make_room(now) > 0:
            return
        self._full_at[key] = max(self._full_at.get(key, now), now) + count * self._every
        self._full_at.move_to_end(key)

    def full_in(self, key: str) -> float:
        """The seconds until it may be done as often as ever."""
        now = self._clock.monotonic()
        return max(0.0, self._full_at.get(key, now) - now)

    def learn(self, key: str, seconds: float) -> None:
        """Others counted, too: it may not be done as often as ever for so long."""
        now = self._clock.monotonic()
        known = self._full_at.get(key, now)
        if seconds > 0 and now + seconds > known and (key in self._full_at or self._make_room(now) == 0.0):
            self._full_at[key] = now + seconds
            self._full_at.move_to_end(key)

    def wait_for(self, key: str = "", count: int = 1) -> float:
        """The seconds until it may be done so many times at once; 0.0: now. Nothing counts."""
        now = self._clock.monotonic()
        if key not in self._full_at and (wait := self._make_room(now)) > 0:
            return wait
        wait = max(self._full_at.get(key, now), now) + count * self._every - now - self._capacity
        return wait if wait > 1e-9 else 0.0  # what a float's sum is off by

    def _make_room(self, now: float) -> float:
        """Forget keys used least recently until there is room for one more; the seconds until there is."""
        while len(self._full_at) >= self._most_keys:
            key, full_at = next(iter(self._full_at.items()))
            if full_at > now:
                return full_at - now
            del self._full_at[key]
        return 0.0


def network_of(address: str) -> str:
    """What counts as one address where rates are bounded: an IPv4 address, also within IPv6; of IPv6 the /64, since
    whoever has one address of it has all of them."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.ip_network((known, 64), strict=False))
