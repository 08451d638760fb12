"""`certagent collector`: run the collector until it is told to stop."""

import asyncio
import gc
import logging
from pathlib import Path

import uvloop

from certagent.collector.app import run
from certagent.commands.storage import store_within_reach
from certagent.config import load_collector, load_collector_policy
from certagent.world.clock import SystemClock
from certagent.world.memory import keep_large_apart

_OBJECTS = 20_000
"""Between two looks for garbage: thousands of connections are millions of objects, and each look stops them all."""


def run_collector(path: Path) -> None:
    """Returns after SIGTERM or SIGINT. Raises `ConfigurationError`, and `UnableError` without its database."""
    settings = load_collector(path)
    policy = load_collector_policy(path, settings)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    gc.set_threshold(_OBJECTS, 20, 20)
    keep_large_apart()
    with store_within_reach(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings, policy, SystemClock()))
