"""Files that several change, each its own, and one service reads, all of them: never both at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ReadersWriters:
    """Of one service's files. First come, first served: who wants to read waits for the changes under way, and nobody
    begins another before that.

    A pair is two files, and who reads them before and after a change sees a mixture, however atomic the change is.
    """

    def __init__(self) -> None:
        self._door = asyncio.Lock()
        self._changes = 0
        self._unchanged = asyncio.Event()
        self._unchanged.set()

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Held while one's own files are changed; others may change theirs."""
        async with self._door:
            self._changes += 1
            self._unchanged.clear()
        try:
            yield
        finally:
            self._changes -= 1
            if not self._changes:
                self._unchanged.set()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Held while the service reads."""
        async with self._door:
            await self._unchanged.wait()
            yield
