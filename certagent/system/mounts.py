"""Mounts that come and go in this process's world: says that something changed, not what. Reads only.

No inotify event tells of a mount that is laid over a file or taken off it; the kernel tells whoever polls the table of
mounts for priority events (proc(5), /proc/[pid]/mounts).
"""

import asyncio
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_TABLE = Path("/proc/self/mountinfo")


@contextmanager
def watch_mounts(on_change: Callable[[], object]) -> Iterator[None]:
    """Call `on_change` in the running loop whenever a mount came or went. Raises OSError when that cannot be known."""
    loop = asyncio.get_running_loop()
    with _TABLE.open("rb", buffering=0) as table, select.epoll() as events:
        events.register(table, select.EPOLLPRI)  # by itself the table is always readable: the loop cannot wait for it

        def report() -> None:
            events.poll(0)
            on_change()

        loop.add_reader(events.fileno(), report)
        try:
            yield
        finally:
            loop.remove_reader(events.fileno())
