"""Turns: what many want of one service is done once, after all of them asked, and not too often."""

import asyncio

import pytest

from certagent.world.turns import Turns
from tests.clock import FakeClock


class _Service:
    """Counts, and is as slow as it is told."""

    def __init__(self) -> None:
        self.done = 0
        self.go_on = asyncio.Event()

    async def reload(self) -> int:
        self.done += 1
        await self.go_on.wait()
        return self.done


async def test_all_who_ask_before_it_begins_share_it() -> None:
    """And whoever asks while it runs gets the next one: this one may not have seen what they changed."""
    service, turns = _Service(), Turns(FakeClock())
    first = asyncio.create_task(turns.take("nginx", service.reload), name="first")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    late = [asyncio.create_task(turns.take("nginx", service.reload), name=f"late {n}") for n in range(50)]
    await asyncio.sleep(0)
    service.go_on.set()
    assert await first == 1
    assert await asyncio.gather(*late) == [2] * 50


async def test_two_begin_apart() -> None:
    """By the clock; another service does not wait."""
    clock, service = FakeClock(), _Service()
    service.go_on.set()
    turns = Turns(clock)
    for _ in range(3):
        await turns.take("nginx", service.reload, apart=1.0)
    await turns.take("haproxy", service.reload, apart=1.0)
    assert [seconds for seconds in clock.slept if seconds] == [1.0, 1.0]


async def test_what_goes_wrong_goes_wrong_once() -> None:
    """The next turn is a new one."""
    turns = Turns(FakeClock())

    async def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await turns.take("nginx", fail)
    service = _Service()
    service.go_on.set()
    assert await turns.take("nginx", service.reload) == 1
