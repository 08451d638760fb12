"""What runs by itself is found by index: the plans that the database makes for every statement of it."""

import re
from collections.abc import Container, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from certagent.collector.dispute_review import DisputeReview
from certagent.collector.sql import deliveries
from certagent.collector.sql.database import open_writer
from certagent.collector.sql.page_queries import count_for_metrics, list_managed
from certagent.collector.sql.revisions import read_schema_version
from tests.collector.cast import now
from tests.collector.large_fleet import CHANNELS, Size, fill, names_of, silent_of
from tests.collector.lone_rounds import LoneRounds, lone_rounds

pytestmark = pytest.mark.slow

SIZE = Size(agents=5_000, certificates=10_000, reports=50_000, incidents=5_000)
"""Ten times a fleet of five hundred."""
GROWING = ("reports", "changes", "findings", "incidents", "transitions", "parties", "outbox", "audit", "earlier_claims")
LARGE = (
    *GROWING,
    *("agents", "tokens", "addresses", "certificates", "identifiers", "speakers", "rehearsals", "scopes", "enrolments"),
)
SMALL = {
    "SELECT max(tokens.number)": "whether any token was added or revoked, which is asked each second",
    "SELECT tokens.digest": "when one was",
    "SELECT collectors": "a few rows",
}
"""Statements that may read a narrow table as a whole, and why. None is of the round."""
_OF_A_FEW = re.compile(
    "ix_(addresses_contested|identifiers_contested|incidents_unresolved|findings_grave|findings_disagreed|rehearsals_failed|rehearsals_at"
    "|enrolments_reused|outbox_pending|outbox_given_up|outbox_sums|speakers_clones)"
)
"""Such an index holds no more than what is asked for; of that of rehearsals by time the first two hundred are read."""
_SCANNED = re.compile(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?$")
_LIST = re.compile(r"\((?:(?:\?|%\(\w+\)s(?:::\w+)?)(?:, )?)+\)")


class Told:
    """Each statement within `told`, once, with the values that it was run with."""

    def __init__(self) -> None:
        self.statements: dict[str, tuple[str, Any]] = {}

    @contextmanager
    def told(self) -> Iterator[None]:
        """While that lasts."""
        event.listen(Engine, "before_cursor_execute", self._note)
        try:
            yield
        finally:
            event.remove(Engine, "before_cursor_execute", self._note)

    def _note(self, _: Connection, __: Any, statement: str, values: Any, ___: Any, many: bool) -> None:
        first = values[0] if many and isinstance(values, list) else values  # an INSERT of many with RETURNING is one
        self.statements.setdefault(_LIST.sub("(...)", statement), (statement, first))

    def scans(self, connection: Connection, large: Container[str]) -> Iterator[str]:
        """Of each statement that reads a large table, or a whole index of it, from end to end: what it reads, and its
        beginning."""
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL random_page_cost = 1.1")  # all of it is in memory
        read = _read_postgresql if connection.dialect.name == "postgresql" else _read_sqlite
        for short, (statement, values) in self.statements.items():
            if statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")) and not short.startswith(tuple(SMALL)):
                for table, index in read(connection, statement, values):
                    if table in large and not _OF_A_FEW.fullmatch(index or ""):
                        yield f"{table}, {index}: {short[:400]}"


def _read_sqlite(connection: Connection, statement: str, values: Any) -> Iterator[tuple[str, str | None]]:
    """Table and index of each that is read from end to end."""
    for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values):
        if (scanned := _SCANNED.search(row[-1])) is not None:
            yield scanned[1], scanned[2]


def _read_postgresql(connection: Connection, statement: str, values: Any) -> Iterator[tuple[str, str | None]]:
    """The same. A bitmap's index has the name of its table."""
    nodes = [
        one["Plan"] for one in connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).scalar_one()
    ]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        index = node.get("Index Name")
        if node["Node Type"] == "Seq Scan" or (index is not None and "Index Cond" not in node):
            yield node.get("Relation Name") or index.removeprefix("ix_").partition("_")[0], index


async def work(rounds: LoneRounds) -> None:
    """All that a collector does by the clock."""
    store, clock = rounds.store, rounds.clock
    for _ in range(3):
        await rounds.go_round()
    clock.move(timedelta(hours=2))  # so that all prunes
    await rounds.go_round()
    await DisputeReview(store, rounds.links, clock).review()
    for channel in CHANNELS:
        await store.read(deliveries.find_excess, channel, clock.now(), 0)
        await store.write(deliveries.sum_up, channel, 1)
        await store.read(deliveries.next_delivery, channel, clock.now())
        claimed = await store.write(deliveries.claim_delivery, channel, timedelta(seconds=20))
        assert claimed is not None
        await store.write(deliveries.record_attempt, claimed.number, failure=None, retry_at=None, claim=claimed.claim)
        await store.read(deliveries.list_announced, channel)
    await store.read(deliveries.is_any_late, CHANNELS, clock.now())


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, datetime]:
    """A database with that fleet in it, and as of when."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('fleet')}/collector.db"
    else:
        url = str(request.getfixturevalue("postgresql").new_database())
    filled_at = now()
    fill(url, SIZE, filled_at)
    return url, filled_at


async def test_what_runs_by_itself_scans_no_large_table(fleet: tuple[str, datetime]) -> None:
    """Rounds, reviews, prunes and senders: every statement, whatever it is by now, as the database plans it."""
    url, filled_at = fleet
    told = Told()
    async with lone_rounds(url, set(names_of(SIZE)) - silent_of(SIZE), filled_at) as rounds:
        with told.told():
            await work(rounds)
    assert len(told.statements) > 60
    engine = open_writer(url)
    with engine.begin() as connection:
        for _ in range(2):  # SQLite also has to do without statistics
            found = list(told.scans(connection, LARGE))
            assert found == [], "\n".join(found)
            connection.exec_driver_sql("ANALYZE")
    engine.dispose()


async def test_what_is_asked_from_outside_scans_nothing_that_grows_with_time(fleet: tuple[str, datetime]) -> None:
    """Metrics and readiness. Metrics name each agent and certificate, and so read all of them."""
    url, filled_at = fleet
    told = Told()
    async with lone_rounds(url, (), filled_at) as rounds:
        with told.told():
            await rounds.store.read(count_for_metrics)
            await rounds.store.read(list_managed)
            await rounds.store.read(read_schema_version)
    engine = open_writer(url)
    with engine.begin() as connection:
        found = list(told.scans(connection, GROWING))
        assert found == [], "\n".join(found)
    engine.dispose()
