"""A clock that moves only when told, or when somebody sleeps on it; and somebody who does not care."""

import asyncio
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Implements `certagent.domain.ports.Clock`. Sleeping moves it at once; `slept` is what was slept."""

    def __init__(self, now: datetime = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        """See `Clock`."""
        return self._now

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        self.slept.append(seconds)
        self.move(timedelta(seconds=seconds))
        await asyncio.sleep(0)

    def move(self, by: timedelta) -> None:
        """Let time pass."""
        self._now += by
        self._monotonic += by.total_seconds()


class Nobody:
    """Implements `certagent.domain.ports.CollectorContactLog`, and keeps nothing of it."""

    def reached(self, way: str) -> None:
        """See `Contact`."""

    def missed(self, way: str, reason: str) -> None:
        """See `Contact`."""
