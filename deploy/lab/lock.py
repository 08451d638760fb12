"""Whoever changes a lab, or what all of this machine's labs share, is alone with it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.lab import places
from deploy.lab.progress import say


@contextmanager
def alone() -> Iterator[None]:
    """One change at a time; a second one waits. The lock ends with its process, however it ends."""
    places.cache().mkdir(parents=True, exist_ok=True)
    with places.lock().open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another command is changing the lab; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
