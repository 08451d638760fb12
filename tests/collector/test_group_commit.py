"""Group commit: who waits shares a transaction, and in a storm more of them do."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from certagent.collector import store as store_module
from certagent.collector.sql.incident_writer import conclude_incidents
from certagent.collector.sql.statements import Transaction
from certagent.collector.store import open_store
from certagent.domain.policy import Alerting
from tests.fakes.clock import FakeClock

CONCLUDING = timedelta(milliseconds=50)
REST = 3 * CONCLUDING.total_seconds()


async def test_while_it_rests_more_come_to_share_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three that come one after the other, once the first is written; what waits then is written though it stops."""
    clock, groups = FakeClock(), list[list[str]]()
    seen: dict[int, list[str]] = {}

    def note(transaction: Transaction, name: str) -> str:
        seen.setdefault(id(transaction.connection), []).append(name)
        return name

    def conclude_slowly(transaction: Transaction) -> object:
        groups.append(seen.pop(id(transaction.connection)))
        clock.move(CONCLUDING)
        return conclude_incidents(transaction)

    monkeypatch.setattr(store_module, "conclude_incidents", conclude_slowly)
    async with open_store(f"sqlite:///{tmp_path}/x.db", Alerting(), clock) as store, asyncio.TaskGroup() as group:
        assert await store.write(note, "first") == "first"
        others = []
        for name in ("a", "b", "c"):
            others.append(group.create_task(store.write(note, name), name=name))
            await asyncio.sleep(REST / 30)
        assert [await other for other in others] == ["a", "b", "c"]
    assert groups == [["first"], ["a", "b", "c"]]
