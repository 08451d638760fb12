"""How often something may be done, counted over all collectors on one PostgreSQL: whoever is refused by one of them
does not find the next one generous."""

import hashlib
from datetime import timedelta

from certagent.collector.sql.limit_queries import take_from
from certagent.collector.sql.ready_connection import ReadyConnection
from certagent.domain.ports import Clock
from certagent.domain.rate_limiter import RateLimiter


class SharedLimiter:
    """As `RateLimiter`, of which it has one of its own: what that one refuses costs the database nothing. `line`: None
    where one collector is alone; `purpose`: whose keys these are."""

    def __init__(
        self, line: ReadyConnection | None, clock: Clock, purpose: str, *, burst: int, every: timedelta
    ) -> None:
        self._line = line
        self._own = RateLimiter(clock, burst=burst, every=every)
        self._purpose = purpose
        self._burst = burst
        self._every = every

    async def take(self, key: str) -> float:
        """0.0 when it may be done now, and it counts; else the seconds until it may. Raises `StoreFailed`."""
        wait = self._own.take(key)
        if wait > 0 or self._line is None:
            return wait
        name = hashlib.sha256(f"{self._purpose} {key}".encode(errors="surrogatepass")).hexdigest()  # it may be a secret
        return await take_from(self._line, name, self._burst, self._every)
