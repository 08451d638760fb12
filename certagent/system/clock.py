"""The real clock."""

import asyncio
import time
from datetime import UTC, datetime


class SystemClock:
    """Implements `certagent.domain.ports.Clock` with the machine's time."""

    def now(self) -> datetime:
        """See `Clock`."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)
