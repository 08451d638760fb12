"""Locks between the lab's commands. They end with the process that holds them, however it ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.lab import places
from deploy.lab.progress import say


@contextmanager
def alone() -> Iterator[None]:
    """One change of this lab at a time; a second one waits. Other labs of this machine are not concerned."""
    with held(f"{places.NAME}.lock", "another command is changing the lab; waiting for it"):
        yield


@contextmanager
def held(name: str, waiting: str) -> Iterator[None]:
    """Hold the lock of that name; `waiting` is said when somebody else has it."""
    path = places.lock(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
