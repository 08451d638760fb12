"""Who changes files and who reads them: changes beside each other, a reading alone, first come, first served."""

import asyncio
from contextlib import AbstractAsyncContextManager

from certagent.system.processes import ReadersWriters, ReloadCoordinator
from tests.fakes.clock import FakeClock


class _Scene:
    """What has begun and ended, in order; each part goes on until it is told to end."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self, name: str, turn: AbstractAsyncContextManager[None]) -> None:
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._play(name, turn), name=name)
        await _all_that_can()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await _all_that_can()

    async def _play(self, name: str, turn: AbstractAsyncContextManager[None]) -> None:
        async with turn:
            self.said.append(f"{name} begins")
            await self._ends[name].wait()
            self.said.append(f"{name} ends")


async def _all_that_can() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_changes_go_on_beside_each_other_and_a_reading_alone() -> None:
    """A change that comes after the reading waits for it, so that readings come to their turn."""
    files, scene = ReadersWriters(), _Scene()
    await scene.begin("a", files.writing())
    await scene.begin("b", files.writing())
    await scene.begin("reading", files.reading())
    await scene.begin("late", files.writing())
    assert scene.said == ["a begins", "b begins"]
    for name in ("b", "a", "reading", "late"):
        await scene.end(name)
    assert scene.said[2:] == ["b ends", "a ends", "reading begins", "reading ends", "late begins", "late ends"]


async def test_a_change_that_is_given_up_or_fails_holds_nobody_up() -> None:
    """Waiting, or under way."""
    files, scene = ReadersWriters(), _Scene()
    await scene.begin("reading", files.reading())
    waiting = asyncio.create_task(_fail(files), name="waiting")
    await _all_that_can()
    waiting.cancel()
    await scene.end("reading")
    assert isinstance((await asyncio.gather(_fail(files), return_exceptions=True))[0], OSError)
    await scene.begin("next", files.reading())
    assert scene.said[-1] == "next begins"
    await scene.end("next")


async def _fail(files: ReadersWriters) -> None:
    async with files.writing():
        raise OSError


async def test_who_asks_while_a_turn_waits_for_the_files_shares_it() -> None:
    """It has not read anything yet."""
    reloads, scene, done = ReloadCoordinator(FakeClock()), _Scene(), []
    files = reloads.files_of("nginx")

    async def read() -> int:
        done.append("read")
        return len(done)

    await scene.begin("change", files.writing())
    first = asyncio.create_task(reloads.run_shared("nginx", read, reads=files), name="first")
    await _all_that_can()
    second = asyncio.create_task(reloads.run_shared("nginx", read, reads=files), name="second")
    await _all_that_can()
    assert done == []
    await scene.end("change")
    assert (await first, await second) == (1, 1)
