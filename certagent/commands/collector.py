"""`certagent collector`: run the collector until it is told to stop."""

import asyncio
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from certagent.collector.app import ListenFailed, run
from certagent.commands import UnableError
from certagent.commands.store_errors import store_within_reach
from certagent.config import load_collector
from certagent.config.policy_files import load_collector_policy
from certagent.system.clock import SystemClock
from certagent.system.journal import write_log
from certagent.system.malloc import keep_large_apart

_LOOKS_FOR_GARBAGE = 20_000, 20, 100
"""The youngest objects are looked through often, or their garbage is what the collector grows by; all of them rarely:
thousands of connections are a million."""
_SWITCH_SECONDS = 0.0002
"""The thread that writes computes, too, and the one that answers gives way to it with every byte it sends."""


def run_collector(path: Path) -> None:
    """Returns after SIGTERM or SIGINT. Raises `ConfigurationError`, and `UnableError` without its database or port."""
    settings = load_collector(path)
    policy = load_collector_policy(path, settings)
    write_log()
    gc.set_threshold(*_LOOKS_FOR_GARBAGE)
    sys.setswitchinterval(_SWITCH_SECONDS)
    keep_large_apart()
    with _port_within_reach(), store_within_reach(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings, policy, SystemClock()))


@contextmanager
def _port_within_reach() -> Iterator[None]:
    """Turns `ListenFailed`, however deep in groups, into `UnableError`; whatever else went wrong stays as it is."""
    try:
        yield
    except ExceptionGroup as group:
        failed, others = group.split(ListenFailed)
        if failed is None or others is not None:
            raise
        first: Exception = failed
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        raise UnableError(str(first)) from first
