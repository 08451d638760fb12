"""LISTEN: what other collectors on the same PostgreSQL say to one another. Ids only, and hints only."""

from collections.abc import AsyncGenerator

from certagent.collector.records import StoreFailed
from certagent.collector.sql.database import CLIENT_OPTIONS, one_line
from certagent.collector.sql.peer_queries import CHANNEL
from certagent.config.store_url import server_options

LISTENING = ""
"""The first notice: what was said before it may have been missed."""


async def hear_notices(url: str) -> AsyncGenerator[str, None]:
    """`LISTENING`, then every notice. Raises `StoreFailed` when the connection is lost."""
    import psycopg  # an extra, for PostgreSQL alone

    options = server_options(url) | CLIENT_OPTIONS
    try:
        async with await psycopg.AsyncConnection.connect(autocommit=True, **options) as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            yield LISTENING
            async for notice in connection.notifies():
                yield notice.payload
    except psycopg.Error as error:
        raise StoreFailed(one_line(error)) from error
