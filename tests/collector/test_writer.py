"""Group commit: who waits shares a transaction, and in a storm more of them do."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, NullPool, create_engine

from certagent.collector.sql.writer import Writer

LONG = 0.15


async def test_after_a_long_transaction_more_share_the_next(tmp_path: Path) -> None:
    """Three that come one after the other, once the first is written."""
    groups: list[int] = []

    def perform(_: Connection, items: Sequence[str]) -> tuple[list[object], None]:
        groups.append(len(items))
        time.sleep(LONG)
        return list(items), None

    writer = Writer(create_engine(f"sqlite:///{tmp_path}/x.db", poolclass=NullPool), perform, lambda _: None)
    async with asyncio.TaskGroup() as group:
        group.create_task(writer.run(), name="writer")
        assert await writer.submit("first") == "first"
        others = []
        for name in ("a", "b", "c"):
            others.append(group.create_task(writer.submit(name), name=name))
            await asyncio.sleep(LONG / 30)
        assert [await other for other in others] == ["a", "b", "c"]
        writer.stop()
    assert groups == [1, 3]
