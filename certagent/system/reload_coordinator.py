"""Turns: what many want of one service at once is done once for all of them, and not too often; and no file that it
reads then is changed meanwhile."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

from certagent.domain.ports import Clock
from certagent.system.file_lock import ReadersWriters

_Result = TypeVar("_Result")

APART_SECONDS = 1.05
"""Between two reloads of a service. Not 1.0: what systemd takes until it tells the service varies."""
PATIENCE_SECONDS = 3.0
"""Between two reloads, while others are expected who want one, too."""
_LOOK_EVERY = 0.02


class ReloadCoordinator:
    """One for all deployments of an agent: a hundred certificates of one nginx are a reload a second, not a hundred."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queues: dict[Hashable, _Queue] = {}
        self._files: defaultdict[Hashable, ReadersWriters] = defaultdict(ReadersWriters)
        self._expected: defaultdict[Hashable, set[str]] = defaultdict(set)

    def files_of(self, service: Hashable) -> ReadersWriters:
        """For all who change that service's files, and for the turns in which it reads them."""
        return self._files[service]

    @contextmanager
    def expecting(self, service: Hashable, who: str) -> Iterator[None]:
        """Meanwhile `who` is on the way to a reload of that service, until it asks for one."""
        expected = self._expected[service]
        expected.add(who)
        try:
            yield
        finally:
            expected.discard(who)

    async def reload(self, service: Hashable, who: str, act: Callable[[], Awaitable[_Result]]) -> _Result:
        """As `take`; of many who come one after the other, the last do not wait because one reload just missed them."""
        expected = self._expected[service]
        expected.discard(who)
        return await self.take(service, act, apart=APART_SECONDS, reads=self.files_of(service), awaits=expected)

    async def take(
        self,
        key: Hashable,
        act: Callable[[], Awaitable[_Result]],
        *,
        apart: float = 0.0,
        reads: ReadersWriters | None = None,
        awaits: Collection[str] = (),
    ) -> _Result:
        """Have `act` begin after this call, and share what comes of it with all who ask before it begins. Nobody
        changes the files that it `reads` meanwhile.

        Two never run at once, and begin at least `apart` seconds after each other; more, up to `PATIENCE_SECONDS`,
        while `awaits` is not empty. Raises what `act` raises. When who leads is cancelled, another of them leads.
        """
        queue = self._queues.setdefault(key, _Queue())
        while (shared := queue.next) is not None:
            await asyncio.wait([shared])
            if not shared.cancelled():
                result: _Result = shared.result()
                return result
        queue.next = turn = asyncio.get_running_loop().create_future()
        try:
            async with queue.busy:
                await self._clock.sleep(max(0.0, queue.began + apart - self._clock.monotonic()))
                while awaits and self._clock.monotonic() < queue.began + PATIENCE_SECONDS:
                    await self._clock.sleep(_LOOK_EVERY)
                async with reads.reading() if reads is not None else nullcontext():
                    queue.next = None  # whoever comes from here on has changed something that this turn may not see
                    queue.began = self._clock.monotonic()
                    result = await act()
        except BaseException as error:
            queue.next = None if queue.next is turn else queue.next
            _fail(turn, error)
            raise
        turn.set_result(result)
        return result


def _fail(turn: asyncio.Future[Any], error: BaseException) -> None:
    """Trouble is shared; that its leader goes away concerns nobody else."""
    if isinstance(error, Exception):
        turn.set_exception(error)
        turn.exception()  # there may be nobody to share it
    else:
        turn.cancel()


class _Queue:
    """Of one service."""

    def __init__(self) -> None:
        self.next: asyncio.Future[Any] | None = None
        self.busy = asyncio.Lock()
        self.began = float("-inf")
