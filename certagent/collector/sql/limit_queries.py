"""How much of what is bounded over all collectors has been used: a row for each key, by the database's clock.
`until`: when all of it may be used again. See `domain.rate_limiter`, which counts alike. On PostgreSQL alone."""

from datetime import timedelta

from certagent.collector.sql.ready_connection import ReadyConnection

_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_TAKE = (
    f"INSERT INTO limits (name, until) VALUES (%(name)s, {_NOW} + %(every)s)"  # noqa: S608 - constants
    f" ON CONFLICT (name) DO UPDATE SET until = greatest(limits.until, {_NOW}) + %(every)s"
    f" WHERE limits.until <= {_NOW} + %(all)s - %(every)s RETURNING until"
)
_WAIT = f"SELECT until - ({_NOW} + %(all)s - %(every)s) FROM limits WHERE name = %(name)s"  # noqa: S608 - constants
_MICROSECOND = timedelta(microseconds=1)


async def take_from(line: ReadyConnection, name: str, burst: int, every: timedelta) -> float:
    """0.0 when it may be done now, and it counts; else the seconds until it may, at least a little. Raises
    `StoreFailed`."""
    values = {"name": name, "every": every // _MICROSECOND, "all": burst * every // _MICROSECOND}
    if await line.execute(_TAKE, values):
        return 0.0
    rows = await line.execute(_WAIT, values)
    return max(0.001, rows[0][0] / 1_000_000) if rows else 0.001
