"""What something may cost, measured: memory at its peak, and time."""

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

MEBIBYTE = 1024 * 1024
WAITING_SECONDS = 60.0


@contextmanager
def at_most(seconds: float, mebibytes: float) -> Iterator[None]:
    """Fails when the block took more processor time, or held more Python memory at once. The seconds are generous: they
    tell bounded from unbounded. On the clock it may take `WAITING_SECONDS` more: a busy machine is no failure, and what
    waits for ever is one."""
    tracemalloc.start()
    waits_since, began_at = time.monotonic(), time.process_time()
    try:
        yield
        took, peak = time.process_time() - began_at, tracemalloc.get_traced_memory()[1] / MEBIBYTE
    finally:
        tracemalloc.stop()
    waited = time.monotonic() - waits_since
    assert waited < seconds + WAITING_SECONDS, f"{waited:.1f} s on the clock"
    assert took < seconds, f"{took:.1f} s"
    assert peak < mebibytes, f"{peak:.1f} MiB"
