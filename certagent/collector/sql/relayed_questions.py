"""What one collector asks an agent that is connected to another, and the answers: rows of a table that no crash has to
keep, each written and told of by one statement. On PostgreSQL alone; everything may raise `StoreFailed`."""

from collections.abc import Sequence
from typing import Any

from certagent.collector.records import RelayedQuestion
from certagent.collector.sql.peer_queries import CHANNEL
from certagent.collector.sql.ready_connection import ReadyConnection

_PUT_QUESTION = (
    "WITH asked AS (INSERT INTO relays (id, collector, asker, agent, question, at) VALUES (%s, %s, %s, %s, %s, %s)"
    " ON CONFLICT DO NOTHING) SELECT pg_notify(%s, %s)"
)
_PUT_ANSWER = (
    "WITH answered AS (UPDATE relays SET answer = %s WHERE id = %s RETURNING id) SELECT pg_notify(%s, %s) FROM answered"
)
_QUESTIONS = "SELECT id, collector, asker, agent, question FROM relays WHERE answer IS NULL AND "
_ONE_QUESTION, _ALL_QUESTIONS = f"{_QUESTIONS} id = %s", f"{_QUESTIONS} collector = %s"
_ANSWER = "SELECT answer FROM relays WHERE id = %s"


async def put_question(line: ReadyConnection, question: RelayedQuestion, at: int) -> None:
    """Ask that collector; `at`: microseconds, as an `Instant` is held."""
    row = (question.id, question.collector, question.asker, question.agent, question.text, at)
    await line.execute(_PUT_QUESTION, (*row, CHANNEL, f"ask {question.collector} {question.id}"))


async def find_question(line: ReadyConnection, identity: str) -> list[RelayedQuestion]:
    """That one, unless it has been answered or withdrawn."""
    return _questions(await line.execute(_ONE_QUESTION, (identity,)))


async def list_questions(line: ReadyConnection, collector: str) -> list[RelayedQuestion]:
    """What that collector is asked and has not answered."""
    return _questions(await line.execute(_ALL_QUESTIONS, (collector,)))


async def put_answer(line: ReadyConnection, question: RelayedQuestion, answer: str) -> None:
    """Answer it; one that was withdrawn stays without."""
    await line.execute(_PUT_ANSWER, (answer, question.id, CHANNEL, f"answer {question.asker} {question.id}"))


async def find_answer(line: ReadyConnection, identity: str) -> str | None:
    """What was answered; empty when the agent's connection was lost."""
    rows = await line.execute(_ANSWER, (identity,))
    return rows[0][0] if rows else None


def _questions(rows: Sequence[tuple[Any, ...]]) -> list[RelayedQuestion]:
    return [
        RelayedQuestion(id=identity, collector=collector, asker=asker, agent=agent, text=text)
        for identity, collector, asker, agent, text in rows
    ]
