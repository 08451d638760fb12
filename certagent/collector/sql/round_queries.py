"""The round over the whole fleet, which one of several collectors does: by which policy, and that nobody else's counts.

A policy is put in force by the collector whose own policy file has changed. Any other policy, of a new collector for
one, is put in force only when no collector that lives has the present one: so two policies never take turns.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, and_, exists, select

from certagent.collector.records import PolicyInForce, Turn, TurnLost
from certagent.collector.sql.leases import is_held
from certagent.collector.sql.passing_tables import collectors, policies, rounds
from certagent.collector.sql.peer_queries import ALIVE_FOR
from certagent.collector.sql.statements import Transaction, upsert

ROUND = "round"
"""The lease's name."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def note_policy(transaction: Transaction, collector: str, digest: str) -> None:
    """That collector starts with that policy, which is in force from now on if its own was another one before."""
    own = select(policies).where(policies.c.collector == collector)
    before = transaction.connection.execute(own).one_or_none()
    if before is None or before.digest != digest:
        since = transaction.now if before is not None else None
        upsert(transaction.connection, policies, [{"collector": collector, "digest": digest, "in_force_since": since}])
    succeed_policy(transaction, collector, digest)


def succeed_policy(transaction: Transaction, collector: str, digest: str) -> None:
    """Put that collector's policy in force, unless a collector that lives has the present one."""
    in_force = find_policy(transaction.connection, transaction.now)
    if in_force is None or (in_force.digest != digest and not in_force.is_alive):
        row = {"collector": collector, "digest": digest, "in_force_since": transaction.now}
        upsert(transaction.connection, policies, [row])


def find_policy(connection: Connection, now: datetime) -> PolicyInForce | None:
    """The one that is in force; None before there is any."""
    alive = and_(collectors.c.policy == policies.c.digest, collectors.c.seen_at > now - ALIVE_FOR)
    query = (
        select(policies, exists().where(alive).label("is_alive"))
        .where(policies.c.in_force_since.is_not(None))
        .order_by(policies.c.in_force_since.desc(), policies.c.collector)
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return PolicyInForce(
        digest=row.digest, since=row.in_force_since, collector=row.collector, is_alive=bool(row.is_alive)
    )


def within_turn(
    transaction: Transaction,
    turn: Turn,
    change: Callable[Concatenate[Transaction, Arguments], Result],
    *arguments: Arguments.args,
    **options: Arguments.kwargs,
) -> Result:
    """Make the change, as long as it is that one's to make. Raises `TurnLost`."""
    in_force = find_policy(transaction.connection, transaction.now)
    if in_force is None or in_force.digest != turn.digest:
        raise TurnLost("another policy is in force")
    if not is_held(transaction.connection, ROUND, turn.holder):
        raise TurnLost("another collector does the round")
    return change(transaction, *arguments, **options)


def end_round(transaction: Transaction, collector: str) -> None:
    """That collector has looked at the whole fleet."""
    upsert(transaction.connection, rounds, [{"name": ROUND, "collector": collector, "ended_at": transaction.now}])


def find_last_round(connection: Connection) -> datetime | None:
    """When the whole fleet was looked at last, by whichever collector."""
    return connection.execute(select(rounds.c.ended_at).where(rounds.c.name == ROUND)).scalar()
