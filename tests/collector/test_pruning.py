"""Retention: what is old is deleted, all of it and nothing else, and few rows at a time."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import ColumnElement, Connection, func, select

from certagent.collector.housekeeping import prune
from certagent.collector.sql import upkeep
from certagent.collector.sql.audit_queries import prune_audit
from certagent.collector.sql.schema import (
    audit,
    changes,
    earlier_claims,
    incidents,
    outbox,
    parties,
    reports,
    transitions,
)
from certagent.collector.sql.statements import MOST_PRUNED, Transaction
from tests.collector.cast import now
from tests.collector.fleet_of import opened
from tests.collector.large_fleet import Size, fill

SIZE = Size(agents=3_000, certificates=3_000, reports=15_000, incidents=3_000)
STEPS: tuple[tuple[Callable[[Transaction, datetime], int], ColumnElement[datetime]], ...] = (
    (upkeep.prune_reports, reports.c.received_at),
    (upkeep.prune_changes, changes.c.at),
    (upkeep.prune_claims, earlier_claims.c.left_at),
    (prune_audit, audit.c.at),
)


def count(connection: Connection, *conditions: Any) -> int:
    """How many rows of the first one's table."""
    (table,) = {column.table for column in conditions[0].get_children() if hasattr(column, "table")}
    return int(connection.execute(select(func.count()).select_from(table).where(*conditions)).scalar_one())


@pytest.mark.slow
async def test_what_is_old_goes_in_bounded_steps(url: str) -> None:
    """Each step deletes so many and says how many; what is newer stays."""
    fill(url, SIZE, now())
    before = now() - timedelta(days=10)
    async with opened(url) as store:
        for step, at in STEPS:
            old, new = await store.read(count, at < before), await store.read(count, at >= before)
            taken = [await store.write(step, before) for _ in range(old // MOST_PRUNED + 1)]
            assert old > 0
            assert sum(taken) == old
            assert taken[:-1] == [MOST_PRUNED] * (len(taken) - 1)
            assert await store.read(count, at < before) == 0
            assert await store.read(count, at >= before) == new


@pytest.mark.slow
async def test_an_incident_goes_with_all_that_belongs_to_it(url: str) -> None:
    """Resolved before, that is; in steps, too. What is open stays, however old, with its history."""
    fill(url, SIZE, now())
    before = now() - timedelta(days=30)
    async with opened(url) as store:
        over = (incidents.c.opened_at < before - timedelta(hours=1)) & (incidents.c.state == "resolved")
        due = await store.read(lambda one: one.execute(select(func.count()).where(over)).scalar_one())
        assert MOST_PRUNED < due < SIZE.incidents
        assert await store.write(upkeep.prune_incidents, before) == MOST_PRUNED
        await prune(store, before, before)
        left = await store.read(lambda one: set(one.execute(select(incidents.c.id)).scalars()))
        assert len(left) == SIZE.incidents - due
        for column in (transitions.c.incident, parties.c.incident):
            assert await store.read(_values, column) == left
        numbers = await store.read(_values, transitions.c.number)
        assert await store.read(_values, outbox.c.transition) == numbers


def _values(connection: Connection, column: Any) -> set[Any]:
    return set(connection.execute(select(column)).scalars())
