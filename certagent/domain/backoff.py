"""Backoff: how long to pause between one failure and the next attempt. Knows no clock and waits for nothing."""

from dataclasses import dataclass
from datetime import timedelta

_MOST_STEPS = 64  # what has grown that often is at its longest, and factor ** failures must not overflow


@dataclass(slots=True)
class Backoff:
    """Pauses that start at `first`, grow by `factor` with every failure and never exceed `longest`."""

    first: timedelta
    longest: timedelta
    factor: float = 2.0
    failures: int = 0

    def next_pause(self) -> timedelta:
        """The pause after one more failure."""
        pause = self.pause_after(self.failures)
        self.failures += 1
        return pause

    def reset(self) -> None:
        """Start again at the first pause."""
        self.failures = 0

    def pause_after(self, earlier_failures: int) -> timedelta:
        """The pause after a failure that has `earlier_failures` before it; for who counts them elsewhere."""
        growth = self.factor ** min(max(earlier_failures, 0), _MOST_STEPS)
        return self.first * growth if self.first < self.longest / growth else self.longest
