"""Who does what only one of several collectors may do: a lock in the database that ends with its holder.

SQLite has one collector; on PostgreSQL it is an advisory lock of a session that stays open.
"""

import hashlib
from threading import Lock

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from certagent.collector.sql.database import is_shared, open_alone

_TAKE = text("SELECT pg_try_advisory_lock(:number)")
_IS_ALIVE = text("SELECT 1")


class Leases:
    """The duties that this process has. Whoever dies loses them at once, and the next who asks gets them."""

    def __init__(self, url: str) -> None:
        self._engine = open_alone(url) if is_shared(url) else None
        self._connection: Connection | None = None
        self._held: set[str] = set()
        self._lock = Lock()

    def takes(self, duty: str) -> bool:
        """Whether the duty is ours now; blocking. A broken connection has lost them all."""
        if self._engine is None:
            return True
        with self._lock:
            try:
                return self._ask(self._session(), duty)
            except DBAPIError:
                self._lose()
                return False

    def close(self) -> None:
        """Give all of them up."""
        with self._lock:
            self._lose()
        if self._engine is not None:
            self._engine.dispose()

    def _ask(self, session: Connection, duty: str) -> bool:
        if duty in self._held:
            session.execute(_IS_ALIVE)
            return True
        number = int.from_bytes(hashlib.sha256(duty.encode()).digest()[:8], "big", signed=True)
        if session.execute(_TAKE, {"number": number}).scalar():
            self._held.add(duty)
        return duty in self._held

    def _session(self) -> Connection:
        if self._connection is None:
            assert self._engine is not None  # noqa: S101 - `takes` has seen it
            self._connection = self._engine.connect()
        return self._connection

    def _lose(self) -> None:
        self._held.clear()
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
