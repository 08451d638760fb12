"""`certagent collector`: run the collector until it is told to stop."""

import asyncio
import logging
from pathlib import Path

import uvloop

from certagent.collector.app import run
from certagent.config import load_collector
from certagent.world.clock import SystemClock


def run_collector(path: Path) -> None:
    """Returns after SIGTERM or SIGINT. Raises `ConfigurationError`."""
    settings = load_collector(path)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings, SystemClock()))
