"""`certagent collector`: run the collector until it is told to stop."""

import asyncio
import logging
from pathlib import Path

from certagent.collector.app import run
from certagent.config import load_collector
from certagent.world.clock import SystemClock


def run_collector(path: Path) -> None:
    """Returns after SIGTERM or SIGINT. Raises `ConfigurationError`."""
    settings = load_collector(path)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(run(settings, SystemClock()))
