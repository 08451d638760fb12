"""What only one of several collectors may do, and for how long it may: rows that end by the database's clock.

No session holds them, so none is kept by a process that is frozen or cut off. Nothing here depends on its own clock.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Lock
from uuid import uuid4

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from certagent.collector.sql.database import open_session
from certagent.config.store_url import is_postgresql
from certagent.domain.ports import Clock

LASTS_FOR = timedelta(seconds=15)
"""A lease that its holder has not renewed for so long is anybody's."""
RENEW_EVERY = timedelta(seconds=5)

_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_UNTIL = f"{_NOW} + {LASTS_FOR // timedelta(microseconds=1)}"
_TAKE = text(
    f"INSERT INTO leases (name, holder, until) VALUES (:name, :holder, {_UNTIL})"  # noqa: S608 - constants
    " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until"
    f" WHERE leases.holder = excluded.holder OR leases.until <= {_NOW} RETURNING holder"
)
_RENEW = text(f"UPDATE leases SET until = {_UNTIL} WHERE holder = :holder AND until > {_NOW}")  # noqa: S608 - constants
_GIVE_UP_ONE = text("DELETE FROM leases WHERE name = :name AND holder = :holder")
_GIVE_UP = text("DELETE FROM leases WHERE holder = :holder")
_IS_HELD = text(f"SELECT 1 FROM leases WHERE name = :name AND holder = :holder AND until > {_NOW}")  # noqa: S608
_READ_CLOCK = text("SELECT clock_timestamp()")


def is_held(connection: Connection, name: str, holder: str) -> bool:
    """Whether the lease of that name is that one's, in the transaction that asks."""
    if connection.dialect.name != "postgresql":
        return True
    return connection.execute(_IS_HELD, {"name": name, "holder": holder}).first() is not None


class DatabaseClock:
    """Implements `Clock` by the database's time, so that collectors on machines whose clocks differ agree; durations
    are this machine's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = timedelta(0)

    def compare(self, began: datetime, database: datetime) -> None:
        """The database's clock showed `database` at some moment since `began`, which is this machine's time."""
        self._ahead = database - began - (self._clock.now() - began) / 2

    def local(self) -> datetime:
        """This machine's own time."""
        return self._clock.now()

    def now(self) -> datetime:
        """See `Clock`."""
        return self._clock.now() + self._ahead

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await self._clock.sleep(seconds)


class Leases:
    """This collector's leases. SQLite has one collector, which holds them all. Blocking.

    `clock` is set to the database's whenever they are renewed.
    """

    def __init__(self, url: str, clock: DatabaseClock | None = None) -> None:
        self.holder = uuid4().hex
        self._engine = open_session(url) if is_postgresql(url) else None
        self._clock = clock
        self._lock = Lock()

    def hold(self, name: str) -> bool:
        """Whether the lease of that name is ours now. Without the database none is."""
        if self._engine is None:
            return True
        try:
            with self._lock, self._engine.connect() as session:
                taken = session.execute(_TAKE, {"name": name, "holder": self.holder})
                return taken.scalar() == self.holder
        except DBAPIError:
            return False

    def renew(self) -> None:
        """Keep what is ours. What ended meanwhile is not taken back. Raises `DBAPIError`."""
        if self._engine is None:
            return
        with self._lock, self._engine.connect() as session:
            session.execute(_RENEW, {"holder": self.holder})
            self._set_clock(session)

    def give_up(self, name: str) -> None:
        """Let another have it at once."""
        if self._engine is None:
            return
        with suppress(DBAPIError), self._lock, self._engine.connect() as session:  # it ends by itself
            session.execute(_GIVE_UP_ONE, {"name": name, "holder": self.holder})

    def close(self) -> None:
        """Give all of them up."""
        if self._engine is None:
            return
        with suppress(DBAPIError), self._lock, self._engine.connect() as session:  # they end by themselves
            session.execute(_GIVE_UP, {"holder": self.holder})
        self._engine.dispose()

    def _set_clock(self, session: Connection) -> None:
        if self._clock is not None:
            began = self._clock.local()
            shown: datetime = session.execute(_READ_CLOCK).scalar_one()
            self._clock.compare(began, shown.astimezone(UTC))
