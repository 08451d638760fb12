"""A running collector for each test; a real PostgreSQL for those that need one."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.collector.postgresql import Server, running_server
from tests.collector.process import Collector, running


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[Collector]:
    """Up, with tokens, without any report."""
    async with running(tmp_path, is_warm=True) as one:
        yield one


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """One server for all tests; each makes its own database in it."""
    with running_server() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/collector.db"
    return str(request.getfixturevalue("postgresql").new_database())
