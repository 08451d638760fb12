"""A connection of the event loop's own to PostgreSQL, kept ready: its statements wait for no thread, for nobody who
writes, and for no disk. For what no crash has to keep: each is a transaction, and may be lost with the server."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Self

from certagent.collector.records import StoreFailed
from certagent.collector.sql.database import CLIENT_OPTIONS, one_line
from certagent.config.store_url import server_options

_OPTIONS = CLIENT_OPTIONS | {"options": f"{CLIENT_OPTIONS['options']} -c synchronous_commit=off"}


class ReadyConnection:
    """To the database at `url`, opened when it is first needed; closed at the block's end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def execute(self, statement: str, values: Sequence[object] | Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Its rows. Over a connection that was lost meanwhile it is made once more, over another one: it has to be one
        that may be made twice. Raises `StoreFailed`."""
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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _try(self, statement: str, values: Sequence[object] | Mapping[str, object]) -> list[tuple[Any, ...]]:
        import psycopg

        if self._connection is None or self._connection.closed:
            options = server_options(self._url) | _OPTIONS
            self._connection = await psycopg.AsyncConnection.connect(autocommit=True, **options)
        cursor = await self._connection.execute(statement, values)
        return list(await cursor.fetchall())
