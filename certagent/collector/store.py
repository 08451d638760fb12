"""The store: an open database that is read in threads and written by one thread, many changes in one transaction.

Whatever waits shares the next transaction (group commit). What is read or changed is a function of `collector.sql`
that is passed in with its arguments. Nothing in the collector's memory is the only copy (decision 13).
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Concatenate, ParamSpec, TypeVar, cast

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, OperationalError, ProgrammingError

from certagent.collector.records import Acceptance, Caller, Changes, Overloaded, StoreFailed
from certagent.collector.sql.damage import check_whole
from certagent.collector.sql.database import PROBE, beside, one_line, open_readers, open_writer, transaction_of
from certagent.collector.sql.deliveries import release_claims
from certagent.collector.sql.incident_writer import conclude_incidents
from certagent.collector.sql.ingest import NotQuiet, Post, accept_beside, accept_posts
from certagent.collector.sql.leases import RENEW_EVERY, DatabaseClock, Leases
from certagent.collector.sql.peer_queries import notify_changes
from certagent.collector.sql.statements import Transaction
from certagent.domain.policy import Alerting
from certagent.domain.ports import Clock
from certagent.domain.reports import Report

log = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Change = Callable[[Transaction], object]

_THREADS = 12
"""For reading and for leases; fewer than the connections that the readers' engine opens at once."""
_LONGEST_QUEUE = 20_000
_LARGEST_GROUP = 2_000
_PROBE_EVERY = 1.0  # seconds between two tries to write while the database fails

_LONG = 0.05  # seconds of concluding, after which the next transaction waits several times as long for others to join
_REST_FACTOR = 3
_LONGEST_REST = 1.0
_QUIET = 0.05

_ITEM_ERRORS = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""What a change may be to blame for; with any other error the database itself fails."""


class _Item(msgspec.Struct, eq=False):
    """A change that waits to be written, and who waits for its result. `is_quiet`: see `Post.may_be_quiet`."""

    change: Post | Change
    result: asyncio.Future[object]
    is_quiet: bool


class Store:
    """Made by `open_store`. Every method may raise `StoreFailed`; those that change something return when it is on
    disk."""

    def __init__(
        self,
        writer: Engine,
        readers: Engine,
        leases: Leases,
        threads: ThreadPoolExecutor,
        alerting: Alerting,
        clock: Clock,
    ) -> None:
        self._writer = writer
        self._beside = beside(writer)
        self._readers = readers
        self._leases = leases
        self._threads = threads
        self._alerting = alerting
        self._clock = clock
        self._listeners: list[Callable[[Changes], None]] = []
        self._queue: deque[_Item] = deque()  # the loop adds to it, and the writer's thread takes from it
        self._wanted = asyncio.Event()
        self._stopping = asyncio.Event()
        self._due_since: float | None = None
        self._has_failed = False

    @property
    def identity(self) -> str:
        """Of this process, among the collectors on the database."""
        return self._leases.holder

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that there are."""
        return self._alerting.channels

    def listen(self, listener: Callable[[Changes], None]) -> None:
        """Call `listener` in the event loop after each commit that changed something."""
        self._listeners.append(listener)

    async def read(
        self,
        query: Callable[Concatenate[Connection, Arguments], Result],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Result:
        """What the query answers; all that it reads is of one moment."""
        return await self._in_thread(self._read, lambda connection: query(connection, *arguments, **options))

    async def write(
        self,
        change: Callable[Concatenate[Transaction, Arguments], Result],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Result:
        """Make the change, and let incidents follow. Raises what `change` raises, or `Overloaded`."""
        result = await self._submit(lambda transaction: change(transaction, *arguments, **options))
        return cast("Result", result)

    async def accept(self, caller: Caller, reports: Sequence[Report], dues: int = 0) -> Acceptance:
        """Store the new reports, let their findings replace older ones, and let incidents follow. `dues`: see `Post`.
        Raises `Overloaded`."""
        return cast("Acceptance", await self._submit(Post(caller, reports, dues)))

    async def holds_lease(self, name: str) -> bool:
        """Whether it is this collector that does what only one may do; another does once this one is gone."""
        return await self._in_thread(self._leases.hold, name)

    async def give_up_lease(self, name: str) -> None:
        """Let another collector do it at once."""
        await self._in_thread(self._leases.give_up, name)

    async def renew_leases(self) -> None:
        """Keep what this collector holds, and its clock by the database's, for ever."""
        while True:
            try:
                await self._in_thread(self._leases.renew)
            except DBAPIError as error:
                log.warning("the leases were not renewed: %s", one_line(error))
            await asyncio.sleep(RENEW_EVERY.total_seconds())

    def stalled_for(self) -> float:
        """For how many seconds a write has been due without any commit; 0.0 if none is due."""
        return self._clock.monotonic() - self._due_since if self._due_since is not None else 0.0

    def stop(self) -> None:
        """Take nothing new; `run` ends once what waits is written."""
        self._stopping.set()
        self._wanted.set()

    async def run(self) -> None:
        """Write until stopped."""
        with ThreadPoolExecutor(1, thread_name_prefix="store-writer") as thread:
            while self._queue or not self._stopping.is_set():
                await self._wait_for_work()
                if not self._stopping.is_set():
                    self._wanted.clear()
                await self._rest(await self._write(thread, await self._write_beside(thread)))
                if self._queue:
                    self._wanted.set()

    async def _in_thread(self, ask: Callable[..., Result], *arguments: object) -> Result:
        """One of this store's own: whoever closes it waits for them, also for what nobody waits for any more."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, ask, *arguments)

    async def _submit(self, change: Post | Change) -> object:
        if len(self._queue) >= _LONGEST_QUEUE or self._stopping.is_set():
            raise Overloaded
        if self._due_since is None:
            self._due_since = self._clock.monotonic()
        is_quiet = isinstance(change, Post) and change.may_be_quiet()
        item = _Item(change, asyncio.get_running_loop().create_future(), is_quiet)
        self._queue.append(item)
        self._wanted.set()
        return await item.result

    async def _wait_for_work(self) -> None:
        """Until there is something to write, or the database is to be tried again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PROBE_EVERY if self._has_failed else None):
                await self._wanted.wait()

    async def _rest(self, seconds: float) -> None:
        """So long, but no longer than others join."""
        loop = asyncio.get_running_loop()
        until, joined = loop.time() + seconds, -1
        while loop.time() < until and len(self._queue) > joined and not self._stopping.is_set():
            joined = len(self._queue)
            await asyncio.sleep(_QUIET)

    async def _write_beside(self, thread: ThreadPoolExecutor) -> list[_Item]:
        """Of what waits, store what can be stored while other collectors write; answers what is left. What fails is
        left, too."""
        if self._beside is None or self._has_failed or not any(item.is_quiet for item in self._queue):
            return self._take()
        group: list[_Item] = []
        commit = asyncio.get_running_loop().run_in_executor(thread, self._commit_beside, self._beside, group)
        await asyncio.wait([commit])
        if commit.exception() is not None:
            return group or self._take()
        answers = commit.result()
        left = [item for item in group if item not in answers]
        self._finish(list(answers), list(answers.values()), Changes(), is_more=bool(left))
        return left

    def _take(self) -> list[_Item]:
        return [self._queue.popleft() for _ in range(min(len(self._queue), _LARGEST_GROUP))]

    async def _write(self, thread: ThreadPoolExecutor, group: list[_Item]) -> float:
        """One transaction; for how many seconds to rest then. A bad item fails alone, by one transaction for each; a
        bad database fails all at once."""
        if not group and not self._has_failed:
            return 0.0
        commit = asyncio.get_running_loop().run_in_executor(thread, self._commit, group)
        await asyncio.wait([commit])
        error = commit.exception()
        if error is None:
            results, changes, rest = commit.result()
            self._finish(group, results, changes)
            return rest
        if len(group) > 1 and not isinstance(error, OperationalError):
            for item in group:
                await self._write(thread, [item])
        else:
            self._fail(group, error)
        return 0.0

    def _commit_beside(self, engine: Engine, group: list[_Item]) -> dict[_Item, Acceptance]:
        """Whoever comes while this one waits for its turn shares it. `group`: filled with what it takes out."""
        done: dict[_Item, Acceptance] = {}
        with suppress(NotQuiet), transaction_of(engine) as connection:
            group += self._take()
            quiet = [item for item in group if item.is_quiet]
            transaction = Transaction(connection, self._clock.now(), self._alerting)
            answers = accept_beside(transaction, [cast("Post", item.change) for item in quiet])
            done |= {item: answer for item, answer in zip(quiet, answers, strict=True) if answer is not None}
        return done

    def _commit(self, group: Sequence[_Item]) -> tuple[list[object], Changes, float]:
        """All posts together, then the other changes, then the conclusions from both: each conclusion looks at all that
        a storm is about, so few for many posts are done sooner than many for few.

        Answers the items' results in order, what changed, and how long to rest. It may be called again with the same
        items, one by one, when it failed.
        """
        with transaction_of(self._writer) as connection:
            transaction = Transaction(connection, self._clock.now(), self._alerting)
            if self._has_failed:
                connection.execute(PROBE)
            posts = [item.change for item in group if isinstance(item.change, Post)]
            answers = iter(accept_posts(transaction, posts) if posts else ())
            results = [next(answers) if isinstance(item.change, Post) else item.change(transaction) for item in group]
            began_at = self._clock.monotonic()
            changes = conclude_incidents(transaction)
            took = self._clock.monotonic() - began_at
            if changes != Changes():
                notify_changes(transaction, self.identity, changes)
        return results, changes, min(_REST_FACTOR * took, _LONGEST_REST) if took >= _LONG else 0.0

    def _finish(
        self, group: Sequence[_Item], results: Sequence[object], changes: Changes, *, is_more: bool = False
    ) -> None:
        self._has_failed = False
        self._due_since = self._clock.monotonic() if self._queue or is_more else None
        for item, result in zip(group, results, strict=True):
            if not item.result.done():
                item.result.set_result(result)
        if changes != Changes():
            for listener in self._listeners:
                listener(changes)

    def _fail(self, group: list[_Item], error: BaseException) -> None:
        if isinstance(error, DBAPIError) and not isinstance(error, _ITEM_ERRORS):
            self._has_failed = True
        elif not self._has_failed and not self._queue:
            self._due_since = None
        for item in group:
            if not item.result.done():
                item.result.set_exception(StoreFailed(one_line(error)) if isinstance(error, DBAPIError) else error)

    def _read(self, query: Callable[[Connection], Result]) -> Result:
        try:
            with transaction_of(self._readers) as connection:
                return query(connection)
        except (DBAPIError, msgspec.DecodeError, UnicodeDecodeError) as error:  # of a document: the file is damaged
            raise StoreFailed(one_line(error)) from error


def _begin(writer: Engine, leases: Leases) -> None:
    """What an earlier process left on a database that has one collector is this one's; others' claims end by
    themselves."""
    with suppress(DBAPIError):  # renewed again soon
        leases.renew()
    if writer.dialect.name == "sqlite":
        with writer.begin() as connection:
            release_claims(connection)


@asynccontextmanager
async def open_store(url: str, alerting: Alerting, clock: Clock) -> AsyncIterator[Store]:
    """The store at `url`, at the present schema. What was submitted is written before it closes.

    `alerting` says which channels are alerted of which incidents. A `DatabaseClock` is set first.
    """
    await asyncio.to_thread(check_whole, url)
    writer, readers = await asyncio.to_thread(open_writer, url), open_readers(url)
    leases = Leases(url, clock if isinstance(clock, DatabaseClock) else None)
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store-reader")
    try:
        await asyncio.to_thread(_begin, writer, leases)
        store = Store(writer, readers, leases, threads, alerting, clock)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(store.run(), name="store-writer")
            renewing = tasks.create_task(store.renew_leases(), name="leases")
            try:
                yield store
            finally:
                renewing.cancel()
                store.stop()
    finally:
        await asyncio.to_thread(threads.shutdown)
        leases.close()
        readers.dispose()
        writer.dispose()
