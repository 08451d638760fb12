"""A report with very many findings: while it is stored and concluded from, everybody else's reports wait."""

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, func, select

from certagent.collector.records import Caller, TokenRole
from certagent.collector.sql.database import open_writer
from certagent.collector.sql.incident_writer import conclude_incidents
from certagent.collector.sql.ingest import Post, accept_posts
from certagent.collector.sql.schema import incidents, outbox, parties, transitions
from certagent.collector.sql.statements import Transaction
from certagent.domain.findings import Culprit, Finding
from certagent.domain.policy import Alerting
from tests.collector.cast import Agent, now
from tests.evidence import make_finding


class Work:
    """What a report of so many findings takes: calls of functions of ours, and statements."""

    def __init__(self, engine: Engine, many: int) -> None:
        self.calls = self.statements = 0
        agent = Agent(f"lxc{many}")
        found = [self._expired(agent.name, number) for number in range(many)]
        post = Post(Caller(agent.name, TokenRole.AGENT), [agent.preflight(*found)])
        event.listen(engine, "before_cursor_execute", self._count_statement)
        sys.setprofile(self._count_call)
        try:
            with engine.begin() as connection:
                transaction = Transaction(connection, now(), Alerting(channels=("hook",)))
                accept_posts(transaction, [post])
                conclude_incidents(transaction)
        finally:
            sys.setprofile(None)
            event.remove(engine, "before_cursor_execute", self._count_statement)

    @staticmethod
    def _expired(node: str, number: int) -> Finding:
        culprit = Culprit(node=node, file=f"/etc/{number}")
        return make_finding("cert.expired", identifier=f"n{number}.internal", reporter=node, culprit=culprit)

    def _count_statement(self, _: Connection, __: Any, ___: str, ____: Any, _____: Any, ______: bool) -> None:
        self.statements += 1

    def _count_call(self, frame: FrameType, what: str, _: object) -> None:
        if what == "call" and frame.f_globals.get("__name__", "").startswith("certagent."):
            self.calls += 1


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """A database of either kind."""
    engine = open_writer(url)
    yield engine
    engine.dispose()


@pytest.mark.slow
def test_ten_times_the_findings_are_ten_times_the_work(engine: Engine) -> None:
    """Not a hundred times; and what they open goes into the database together."""
    few, many = Work(engine, 60), Work(engine, 600)
    assert many.calls < 12 * few.calls
    assert many.statements < few.statements + 40
    with engine.begin() as connection:
        counts = [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in _TABLES]
    assert counts == [660, 660, 660, 660]


_TABLES = (incidents, parties, transitions, outbox)
