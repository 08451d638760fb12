"""What something may cost, measured: memory at its peak, and time."""

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

MEBIBYTE = 1024 * 1024


@contextmanager
def at_most(seconds: float, mebibytes: float) -> Iterator[None]:
    """Fails when the block took more processor time, or held more Python memory at once. The seconds are generous: they
    tell bounded from unbounded; how long it waited is for the test's own timeout, for a busy machine is no failure."""
    tracemalloc.start()
    began_at = time.process_time()
    try:
        yield
        took, peak = time.process_time() - began_at, tracemalloc.get_traced_memory()[1] / MEBIBYTE
    finally:
        tracemalloc.stop()
    assert took < seconds, f"{took:.1f} s"
    assert peak < mebibytes, f"{peak:.1f} MiB"
