"""Clocks for tests: one that moves only when told, and real ones that are wrong by a known amount."""

import asyncio
from datetime import UTC, datetime, timedelta

from certagent.system.clock import SystemClock


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


class SleepingClock(FakeClock):
    """Nobody wakes by it."""

    async def sleep(self, seconds: float) -> None:
        """For ever."""
        await asyncio.Event().wait()


class SetClock(SystemClock):
    """Shows the instant that it was set to; durations are real."""

    def __init__(self, instant: datetime) -> None:
        self.instant = instant

    def now(self) -> datetime:
        """See `Clock`."""
        return self.instant


class ShiftedClock(SystemClock):
    """Shows the present, moved by so much."""

    def __init__(self, by: timedelta) -> None:
        self._by = by

    def now(self) -> datetime:
        """See `Clock`."""
        return super().now() + self._by
