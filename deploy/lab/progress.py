"""What a person sees while the lab works: one line a step, with its time, on standard error."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

_BEAT = timedelta(seconds=15)
"""A step that takes longer than this says that it is still at it, and goes on saying so."""


def say(text: str) -> None:
    """One line for the person at the terminal."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say `text` and how long the block took; while it lasts, give a sign of life."""
    begun = time.monotonic()
    done = threading.Event()

    def beat() -> None:
        while not done.wait(_BEAT.total_seconds()):
            say(f"{text} ... {time.monotonic() - begun:.0f} s so far")

    heart = threading.Thread(target=beat, name="progress", daemon=True)
    heart.start()
    try:
        yield
    finally:
        done.set()
        heart.join()
    say(f"{text}: {time.monotonic() - begun:.1f} s")
