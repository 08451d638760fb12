"""The store on an SQL database: the port's methods, each a read in a thread or an item for the writer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import TypeVar, cast

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.exc import DBAPIError

from certagent.collector.sql import api_queries, auth_queries, fleet_queries, metrics_queries, page_queries
from certagent.collector.sql.database import open_readers, open_writer
from certagent.collector.sql.dirty_set import DirtySet
from certagent.collector.sql.fleet_sweep import fleet_snapshot, replace_found, sweep
from certagent.collector.sql.incident_writer import settle
from certagent.collector.sql.ingest import Post, accept_posts, keep_rehearsals, note_seen
from certagent.collector.sql.inventories import identifiers_of
from certagent.collector.sql.leases import Leases
from certagent.collector.sql.outbox import record_transition, remind
from certagent.collector.sql.pruning import is_finished, prune_incidents, prune_reports
from certagent.collector.sql.schema import incidents, outbox
from certagent.collector.sql.statements import decode_incident, text_of
from certagent.collector.sql.writer import Writer
from certagent.collector.store import (
    Acceptance,
    Caller,
    Changes,
    Counts,
    Delivery,
    FleetTotals,
    KnownAgent,
    KnownUser,
    NodeFacts,
    Page,
    StoreFailed,
    Transition,
)
from certagent.domain.alerting import Alerting
from certagent.domain.findings import Finding
from certagent.domain.fleet import conclude
from certagent.domain.incidents import Fleet, Incident, KnownRehearsal, Sighting, TransitionKind, acknowledge
from certagent.domain.policy import Policy
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import AddressOwner, Rehearsal, RehearsalOutcome
from certagent.domain.reports import Report
from certagent.domain.survival import CertificateLife

Result = TypeVar("Result")
_Change = Callable[[Connection, DirtySet], object]

_LONG = 0.05  # seconds of concluding, after which others are let in for so many times as long, and no longer than that
_REST = 3
_LONGEST_REST = 0.5


class SqlStore:
    """Implements `certagent.collector.store.Store`. Made by `open_store`."""

    def __init__(self, writer: Engine, readers: Engine, duties: Leases, alerting: Alerting, clock: Clock) -> None:
        self._readers = readers
        self._duties = duties
        self._alerting = alerting
        self._clock = clock
        self._callers: tuple[object, Mapping[str, Caller]] = (None, {})
        self._listeners: list[Callable[[Changes], None]] = []
        self.writer: Writer[Post | _Change, Changes] = Writer(writer, self._perform, self._publish)

    def listen(self, listener: Callable[[Changes], None]) -> None:
        """See `Store`."""
        self._listeners.append(listener)

    async def accept(self, caller: Caller, reports: Sequence[Report]) -> Acceptance:
        """See `Store`."""
        return cast("Acceptance", await self.writer.submit(Post(caller, reports)))

    async def greet(self, caller: Caller) -> None:
        """See `Store`."""
        now = self._clock.now()
        await self.writer.submit(lambda connection, touched: note_seen(connection, {caller.name: caller}, now, touched))

    async def record_rehearsal(self, rehearsal: Rehearsal) -> None:
        """See `Store`."""
        if rehearsal.outcome is RehearsalOutcome.UNAVAILABLE:
            return
        now = self._clock.now()
        await self.writer.submit(
            lambda connection, touched: keep_rehearsals(connection, (rehearsal,), now, touched, brokered=True)
        )

    async def acknowledge(self, incident: str, by: str) -> Incident | None:
        """See `Store`."""
        now = self._clock.now()
        changed = await self.writer.submit(lambda connection, _: _acknowledge(connection, incident, by, now))
        if changed is None:
            return None
        after, is_new = cast("tuple[Incident, bool]", changed)
        if is_new:
            self._publish(Changes(incidents=(after,)))
        return after

    async def look(self, connected: Collection[str], policy: Policy, since: datetime) -> None:
        """See `Store`."""
        now, after = self._clock.now(), policy.collector.silent_after
        await self.writer.submit(lambda connection, touched: sweep(connection, connected, after, now, touched))
        seen = await self._read(lambda connection: fleet_snapshot(connection, since))
        found = await asyncio.to_thread(lambda: [policy.grade(one) for one in conclude(seen, policy.collector, now)])
        await self.writer.submit(lambda connection, touched: replace_found(connection, found, now, touched))

    async def remind(self) -> int:
        """See `Store`."""
        now = self._clock.now()
        count = await self.writer.submit(lambda connection, _: remind(connection, self._alerting, now))
        if count:
            self._publish(Changes(alerts=True))
        return cast("int", count)

    async def prune(self, reports_before: datetime, incidents_before: datetime) -> int:
        """See `Store`. Step by step, so that nobody waits long."""
        total = 0
        for step, before in ((prune_reports, reports_before), (prune_incidents, incidents_before)):
            is_over = False
            while not is_over:
                count = cast("int", await self.writer.submit(partial(_prune, step, before)))
                total, is_over = total + count, is_finished(count)
        return total

    async def callers(self) -> Mapping[str, Caller]:
        """See `Store`."""
        return await self._read(self._list_callers)

    async def caller(self, digest: str) -> Caller | None:
        """See `Store`."""
        return await self._read(lambda connection: auth_queries.find_caller(connection, digest, self._clock.now()))

    async def person(self, name: str) -> KnownUser | None:
        """See `Store`."""
        return await self._read(lambda connection: auth_queries.find_user(connection, name))

    async def open_session(self, person: str, digest: str, expires_at: datetime) -> None:
        """See `Store`."""
        now = self._clock.now()
        await self.writer.submit(
            lambda connection, _: auth_queries.open_session(connection, person, digest, now, expires_at)
        )

    async def end_session(self, digest: str) -> None:
        """See `Store`."""
        await self.writer.submit(lambda connection, _: auth_queries.end_session(connection, digest))

    async def agents(self, after: str | None, limit: int, *, silent_first: bool = False) -> Page:
        """See `Store`."""
        listing = page_queries.list_silent if silent_first else api_queries.list_agents
        return await self._read(lambda connection: listing(connection, after, limit))

    async def agent(self, name: str) -> KnownAgent | None:
        """See `Store`."""
        return await self._read(lambda connection: api_queries.find_agent(connection, name))

    async def certificates(self, after: str | None, limit: int, *, soonest_first: bool = False) -> Page:
        """See `Store`."""
        listing = page_queries.list_soonest if soonest_first else api_queries.list_certificates
        return await self._read(lambda connection: listing(connection, after, limit))

    async def lives(self) -> Sequence[CertificateLife]:
        """See `Store`."""
        return await self._read(metrics_queries.certificate_lives)

    async def counts(self) -> Counts:
        """See `Store`."""
        return await self._read(metrics_queries.counts)

    async def incidents(
        self, after: str | None, limit: int, *, party: str | None = None, states: Sequence[str] = ()
    ) -> Page:
        """See `Store`."""
        return await self._read(lambda connection: api_queries.list_incidents(connection, after, limit, party, states))

    async def reports(self, after: str | None, limit: int, *, agent: str | None = None) -> Page:
        """See `Store`."""
        return await self._read(lambda connection: api_queries.list_reports(connection, after, limit, agent))

    async def incident(self, identity: str) -> tuple[Incident, Sequence[Transition], Sequence[Sighting]] | None:
        """See `Store`."""
        return await self._read(lambda connection: api_queries.find_incident(connection, identity))

    async def stock(self) -> FleetTotals:
        """See `Store`."""
        return await self._read(page_queries.fleet_totals)

    async def node(self, name: str) -> NodeFacts | None:
        """See `Store`."""
        return await self._read(lambda connection: page_queries.find_node(connection, name))

    async def deeds(self, agent: str, certificate: str, names: Sequence[str], limit: int) -> Sequence[Report]:
        """See `Store`."""
        return await self._read(
            lambda connection: page_queries.list_timeline(connection, agent, certificate, names, limit)
        )

    async def identifiers_of(self, agent: str) -> frozenset[str]:
        """See `Store`."""
        return await self._read(lambda connection: identifiers_of(connection, agent))

    async def owners(self, addresses: frozenset[str]) -> dict[str, AddressOwner]:
        """See `Store`."""
        return await self._read(lambda connection: fleet_queries.owners_of(connection, addresses))

    async def testimony(self, identifier: str) -> tuple[Finding, ...]:
        """See `Store`."""
        return await self._read(lambda connection: fleet_queries.testimony_about(connection, identifier))

    async def path_facts(self, identifier: str) -> tuple[KnownRehearsal | None, Sequence[Sighting], Fleet]:
        """See `Store`."""
        return await self._read(lambda connection: api_queries.path_facts(connection, identifier))

    async def stale_identifiers_of(self, agent: str) -> frozenset[str]:
        """See `Store`."""
        return await self._read(lambda connection: api_queries.stale_identifiers(connection, agent))

    async def takes(self, duty: str) -> bool:
        """See `Store`."""
        return await asyncio.to_thread(self._duties.takes, duty)

    async def next_delivery(self, channel: str) -> Delivery | None:
        """See `Store`."""
        return await self._read(lambda connection: api_queries.next_delivery(connection, channel))

    async def standing(self, channel: str) -> Sequence[Incident]:
        """See `Store`."""
        return await self._read(lambda connection: api_queries.standing(connection, channel))

    async def settle_delivery(self, number: int, *, failure: str | None, retry_at: datetime | None) -> None:
        """See `Store`."""
        now = self._clock.now()
        values = {
            "attempts": outbox.c.attempts + 1,
            "failure": failure,
            "sent_at": now if failure is None else None,
            "given_up": failure is not None and retry_at is None,
            "due_at": retry_at or now,
        }
        statement = update(outbox).where(outbox.c.number == number).values(values)
        await self.writer.submit(lambda connection, _: connection.execute(statement).rowcount)

    async def _read(self, query: Callable[[Connection], Result]) -> Result:
        return await asyncio.to_thread(self._query, query)

    def _query(self, query: Callable[[Connection], Result]) -> Result:
        try:
            with self._readers.begin() as connection:
                return query(connection)
        except DBAPIError as error:
            raise StoreFailed(str(error)) from error

    def _list_callers(self, connection: Connection) -> Mapping[str, Caller]:
        edition = auth_queries.token_revision(connection)
        if edition != self._callers[0]:
            self._callers = edition, auth_queries.list_callers(connection)
        return self._callers[1]

    def _perform(self, connection: Connection, items: Sequence[Post | _Change]) -> tuple[list[object], Changes, float]:
        """One transaction's work: all posts together, then the single changes, then the conclusions from both.

        In a storm each conclusion looks at all that the storm is about: few for many posts are done sooner than many
        for few.
        """
        now, touched = self._clock.now(), DirtySet()
        posts = [item for item in items if isinstance(item, Post)]
        answers = iter(accept_posts(connection, posts, now, touched) if posts else ())
        results = [next(answers) if isinstance(item, Post) else item(connection, touched) for item in items]
        began_at = self._clock.monotonic()
        settled = settle(connection, touched, self._alerting, now)
        took = self._clock.monotonic() - began_at
        return results, settled, min(_REST * took, _LONGEST_REST) if took >= _LONG else 0.0

    def _publish(self, changes: Changes) -> None:
        if changes != Changes():
            for listener in self._listeners:
                listener(changes)


@asynccontextmanager
async def open_store(url: str, alerting: Alerting, clock: Clock) -> AsyncIterator[SqlStore]:
    """The store at `url`, at the present schema. What was submitted is written before it closes.

    `alerting` says who is told of transitions.
    """
    writer, readers, duties = await asyncio.to_thread(open_writer, url), open_readers(url), Leases(url)
    try:
        store = SqlStore(writer, readers, duties, alerting, clock)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(store.writer.run(), name="store-writer")
            try:
                yield store
            finally:
                store.writer.stop()
    finally:
        duties.close()
        readers.dispose()
        writer.dispose()


def _prune(step: Callable[[Connection, datetime], int], before: datetime, connection: Connection, _: DirtySet) -> int:
    return step(connection, before)


def _acknowledge(connection: Connection, identity: str, by: str, now: datetime) -> tuple[Incident, bool] | None:
    row = connection.execute(select(incidents.c.document).where(incidents.c.id == identity)).one_or_none()
    if row is None:
        return None
    before = decode_incident(row.document)
    after = acknowledge(before, by, now)
    if after != before:
        values = {"state": after.state, "document": text_of(after)}
        connection.execute(update(incidents).where(incidents.c.id == identity).values(values))
        record_transition(connection, after, TransitionKind.ACKNOWLEDGED, by, now)
    return after, after != before
