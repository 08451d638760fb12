"""What one collector asks an agent that is connected to another, and the answers: rows of a table that no crash has to
keep, each written and told of by one statement. On PostgreSQL alone.

A connection of the event loop's own is kept ready for it: nothing here waits for a thread, for who writes, or a disk.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from certagent.collector.records import RelayedQuestion, StoreFailed
from certagent.collector.sql.database import CLIENT_OPTIONS, one_line
from certagent.collector.sql.peer_queries import CHANNEL
from certagent.config.store_url import server_options

_OPTIONS = CLIENT_OPTIONS | {"options": f"{CLIENT_OPTIONS['options']} -c synchronous_commit=off"}
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


class RelayLine:
    """The connection to the database at `url`. Every method may raise `StoreFailed`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def put_question(self, question: RelayedQuestion, at: int) -> None:
        """Ask that collector; `at`: microseconds, as an `Instant` is held."""
        row = (question.id, question.collector, question.asker, question.agent, question.text, at)
        await self._execute(_PUT_QUESTION, (*row, CHANNEL, f"ask {question.collector} {question.id}"))

    async def find_question(self, identity: str) -> list[RelayedQuestion]:
        """That one, unless it has been answered or withdrawn."""
        return _questions(await self._execute(_ONE_QUESTION, (identity,)))

    async def list_questions(self, collector: str) -> list[RelayedQuestion]:
        """What that collector is asked and has not answered."""
        return _questions(await self._execute(_ALL_QUESTIONS, (collector,)))

    async def put_answer(self, question: RelayedQuestion, answer: str) -> None:
        """Answer it; one that was withdrawn stays without."""
        await self._execute(_PUT_ANSWER, (answer, question.id, CHANNEL, f"answer {question.asker} {question.id}"))

    async def find_answer(self, identity: str) -> str | None:
        """What was answered; empty when the agent's connection was lost."""
        rows = await self._execute(_ANSWER, (identity,))
        return rows[0][0] if rows else None

    async def close(self) -> None:
        """Nothing stays connected."""
        if self._connection is not None:
            await self._connection.close()

    async def _execute(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """Its rows; a connection that was lost meanwhile is replaced. Each statement may be made twice."""
        import psycopg  # an extra, for PostgreSQL alone

        try:
            async with self._turn:
                was_open = self._connection is not None and not self._connection.closed
                try:
                    return await self._try(statement, values)
                except psycopg.OperationalError:
                    if not was_open or not self._connection.closed:
                        raise
                    return await self._try(statement, values)
        except psycopg.Error as error:
            raise StoreFailed(one_line(error)) from error

    async def _try(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        import psycopg

        if self._connection is None or self._connection.closed:
            options = server_options(self._url) | _OPTIONS
            self._connection = await psycopg.AsyncConnection.connect(autocommit=True, **options)
        cursor = await self._connection.execute(statement, values)
        return list(await cursor.fetchall())


def _questions(rows: Sequence[tuple[Any, ...]]) -> list[RelayedQuestion]:
    return [
        RelayedQuestion(id=identity, collector=collector, asker=asker, agent=agent, text=text)
        for identity, collector, asker, agent, text in rows
    ]
