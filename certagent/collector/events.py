"""Events for whoever watches: server-sent, one per changed incident, agent or certificate. Nothing is kept."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

_LONGEST_QUEUE = 1_000

encode = msgspec.json.Encoder().encode


class Events:
    """Passes each event to every watcher. One who does not keep up is dropped, and reads everything again."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Queue[bytes | None]] = set()

    @contextmanager
    def watch(self) -> Iterator["asyncio.Queue[bytes | None]"]:
        """A queue of events as they are sent; None when there will be no more."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            yield queue
        finally:
            self._watchers.discard(queue)

    def is_watched(self) -> bool:
        """Whether anybody would see an event."""
        return bool(self._watchers)

    def send(self, kind: str, value: object) -> None:
        """One event to all: its kind, and the changed thing as the lists show it."""
        if not self._watchers:
            return
        message = b"event: %b\ndata: %b\n\n" % (kind.encode(), encode(value))
        for queue in tuple(self._watchers):
            if queue.qsize() >= _LONGEST_QUEUE:
                self._watchers.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(message)

    def close(self) -> None:
        """Tell all that there will be no more."""
        for queue in self._watchers:
            queue.put_nowait(None)
