"""Group commit: who waits shares a transaction, and in a storm more of them do."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, NullPool, create_engine

from certagent.collector.sql.writer import Writer

REST = 0.15  # seconds


async def test_while_it_rests_more_come_to_share_the_next(tmp_path: Path) -> None:
    """Three that come one after the other, once the first is written; what waits then is written though it stops."""
    groups: list[int] = []

    def perform(_: Connection, items: Sequence[str]) -> tuple[list[object], None, float]:
        groups.append(len(items))
        return list(items), None, REST

    writer = Writer(create_engine(f"sqlite:///{tmp_path}/x.db", poolclass=NullPool), perform, lambda _: None)
    async with asyncio.TaskGroup() as group:
        group.create_task(writer.run(), name="writer")
        assert await writer.submit("first") == "first"
        others = []
        for name in ("a", "b", "c"):
            others.append(group.create_task(writer.submit(name), name=name))
            await asyncio.sleep(REST / 30)
        assert [await other for other in others] == ["a", "b", "c"]
        writer.stop()
    assert groups == [1, 3]
