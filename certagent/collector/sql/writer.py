"""Group commit: whatever waits goes to disk in one transaction, in one thread. Knows neither tables nor reports."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from certagent.collector.store import Overloaded, StoreFailed

Item = TypeVar("Item")
News = TypeVar("News")

Perform = Callable[[Connection, Sequence[Item]], tuple[list[object], News, float]]
"""Does all items in the given transaction; answers their results in order, what to publish once committed, and for how
many seconds the next transaction should wait at most, so that more shares it.

It may be called again with the same items, one by one, when a transaction failed.
"""

_LONGEST_QUEUE = 20_000
_LARGEST_GROUP = 1_000
_QUIET = 0.05  # seconds


class Writer(Generic[Item, News]):
    """The only one that writes. Items submitted while one transaction is on its way share the next."""

    def __init__(self, engine: Engine, perform: Perform[Item, News], publish: Callable[[News], None]) -> None:
        self._engine = engine
        self._perform = perform
        self._publish = publish
        self._waiting: list[tuple[Item, asyncio.Future[object]]] = []
        self._wanted = asyncio.Event()
        self._stopping = asyncio.Event()

    async def submit(self, item: Item) -> object:
        """The item's result, once it is on disk. Raises what `perform` raised for it, or `Overloaded`."""
        if len(self._waiting) >= _LONGEST_QUEUE or self._stopping.is_set():
            raise Overloaded
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._wanted.set()
        return await future

    def stop(self) -> None:
        """Take nothing new; `run` ends once what waits is written."""
        self._stopping.set()
        self._wanted.set()

    async def run(self) -> None:
        """Write until stopped."""
        with ThreadPoolExecutor(1, thread_name_prefix="store-writer") as thread:
            while self._waiting or not self._stopping.is_set():
                await self._wanted.wait()
                group, self._waiting = self._waiting[:_LARGEST_GROUP], self._waiting[_LARGEST_GROUP:]
                if not self._waiting and not self._stopping.is_set():
                    self._wanted.clear()
                await self._rest(await self._write(thread, group))

    async def _rest(self, seconds: float) -> None:
        """So long, but no longer than somebody comes."""
        loop = asyncio.get_running_loop()
        until, came = loop.time() + seconds, -1
        while loop.time() < until and len(self._waiting) > came and not self._stopping.is_set():
            came = len(self._waiting)
            await asyncio.sleep(_QUIET)

    async def _write(self, thread: ThreadPoolExecutor, group: list[tuple[Item, asyncio.Future[object]]]) -> float:
        """One transaction; how long to rest then. A bad item fails alone, by one transaction for each; a bad database
        fails all at once."""
        if not group:
            return 0
        commit = asyncio.get_running_loop().run_in_executor(thread, self._commit, [item for item, _ in group])
        await asyncio.wait([commit])
        error = commit.exception()
        if error is None:
            results, news, rest = commit.result()
            self._finish(group, results, news)
            return rest
        if len(group) > 1 and not isinstance(error, OperationalError):
            for alone in group:
                await self._write(thread, [alone])
        else:
            self._fail(group, error)
        return 0

    def _commit(self, items: list[Item]) -> tuple[list[object], News, float]:
        with self._engine.begin() as connection:
            return self._perform(connection, items)

    def _fail(self, group: list[tuple[Item, asyncio.Future[object]]], error: BaseException) -> None:
        for _, future in group:
            if not future.done():
                future.set_exception(StoreFailed(str(error)) if isinstance(error, DBAPIError) else error)

    def _finish(self, group: list[tuple[Item, asyncio.Future[object]]], results: list[object], news: News) -> None:
        for (_, future), result in zip(group, results, strict=True):
            if not future.done():
                future.set_result(result)
        self._publish(news)
