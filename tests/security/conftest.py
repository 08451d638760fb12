"""A running collector for each attack."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.collector.process import Collector, running


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[Collector]:
    """Up, with tokens, without any report."""
    async with running(tmp_path) as started:
        yield started
