"""Turns: what many want of one service is done once, after all of them asked, and not too often."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack

import pytest

from certagent.system.processes import APART_SECONDS, PATIENCE_SECONDS, ReloadCoordinator
from tests.fakes.clock import FakeClock


class _Service:
    """Counts, and is as slow as it is told."""

    def __init__(self) -> None:
        self.done = 0
        self.go_on = asyncio.Event()

    async def reload(self) -> int:
        self.done += 1
        await self.go_on.wait()
        return self.done


async def _reload(reloads: ReloadCoordinator, who: str, act: Callable[[], Awaitable[int]]) -> int:
    """Which reload it was that `who` shared."""
    came: list[int] = []

    async def for_all(members: Sequence[list[int]]) -> None:
        number = await act()
        for member in members:
            member.append(number)

    await reloads.gather("nginx", who, came, for_all)
    (number,) = came
    return number


async def test_all_who_ask_before_it_begins_share_it() -> None:
    """And whoever asks while it runs gets the next one: this one may not have seen what they changed."""
    service, reloads = _Service(), ReloadCoordinator(FakeClock())
    first = asyncio.create_task(reloads.run_shared("nginx", service.reload), name="first")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    late = [asyncio.create_task(reloads.run_shared("nginx", service.reload), name=f"late {n}") for n in range(50)]
    await asyncio.sleep(0)
    service.go_on.set()
    assert await first == 1
    assert await asyncio.gather(*late) == [2] * 50


async def test_two_begin_apart() -> None:
    """By the clock; another service does not wait."""
    clock, service = FakeClock(), _Service()
    service.go_on.set()
    reloads = ReloadCoordinator(clock)
    for _ in range(3):
        await reloads.run_shared("nginx", service.reload, apart=1.0)
    await reloads.run_shared("haproxy", service.reload, apart=1.0)
    assert [seconds for seconds in clock.slept if seconds] == [1.0, 1.0]


async def test_a_reload_waits_for_who_is_expected() -> None:
    """Once there was one: the first who comes is served at once, and then it is one for all who are on the way."""
    clock, service = FakeClock(), _Service()
    service.go_on.set()
    reloads = ReloadCoordinator(clock)
    with ExitStack() as stack:
        for who in "abcd":
            stack.enter_context(reloads.expecting("nginx", who))
        assert await _reload(reloads, "a", service.reload) == 1
        assert clock.slept == [0.0]
        second = asyncio.create_task(_reload(reloads, "b", service.reload), name="b")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not second.done()
        with reloads.expecting("haproxy", "d"):
            pass  # is another service's
        third = asyncio.create_task(_reload(reloads, "c", service.reload), name="c")
        await asyncio.sleep(0)
        assert not second.done()
        fourth = asyncio.create_task(_reload(reloads, "d", service.reload), name="d")
        assert list(await asyncio.gather(second, third, fourth)) == [2, 2, 2]
    assert APART_SECONDS <= sum(clock.slept) < PATIENCE_SECONDS


async def test_a_reload_does_not_wait_for_ever() -> None:
    """Who is expected may be held up by a CA that is down; or give up, and is expected no more."""
    clock, service = FakeClock(), _Service()
    service.go_on.set()
    reloads = ReloadCoordinator(clock)
    with reloads.expecting("nginx", "late"):
        for _ in range(2):
            await _reload(reloads, "early", service.reload)
        assert PATIENCE_SECONDS <= sum(clock.slept) < PATIENCE_SECONDS + 0.1
    before = sum(clock.slept)
    await _reload(reloads, "early", service.reload)
    assert sum(clock.slept) == pytest.approx(before + APART_SECONDS)


async def test_what_goes_wrong_goes_wrong_once() -> None:
    """The next turn is a new one."""
    reloads = ReloadCoordinator(FakeClock())

    async def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await reloads.run_shared("nginx", fail)
    service = _Service()
    service.go_on.set()
    assert await reloads.run_shared("nginx", service.reload) == 1


async def test_who_shares_a_turn_whose_leader_is_cancelled_takes_another() -> None:
    """Before it begins and while it runs; they share one again. Who is cancelled himself is so, and nobody else."""
    service, reloads = _Service(), ReloadCoordinator(FakeClock())
    running = asyncio.create_task(reloads.run_shared("nginx", service.reload), name="running")
    await _pause()
    leader, *sharers = (
        asyncio.create_task(reloads.run_shared("nginx", service.reload), name=f"late {n}") for n in range(4)
    )
    await _pause()
    leader.cancel()
    await _pause()
    sharers[2].cancel()
    running.cancel()
    await _pause()
    service.go_on.set()
    ended = await asyncio.gather(running, leader, *sharers, return_exceptions=True)
    assert [type(one) for one in (ended[0], ended[1], ended[4])] == [asyncio.CancelledError] * 3
    assert ended[2:4] == [2, 2]


async def test_trouble_is_shared_as_well() -> None:
    """It is the same for all who asked before."""
    service, reloads = _Service(), ReloadCoordinator(FakeClock())

    async def fail() -> int:
        raise OSError("no")

    running = asyncio.create_task(reloads.run_shared("nginx", service.reload), name="running")
    await _pause()
    late = [asyncio.create_task(reloads.run_shared("nginx", fail), name=f"late {n}") for n in range(3)]
    await _pause()
    service.go_on.set()
    assert await running == 1
    assert [type(one) for one in await asyncio.gather(*late, return_exceptions=True)] == [OSError] * 3


async def _pause() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_when_who_leads_goes_away_another_one_leads_with_all_others() -> None:
    """In the middle of it: whoever waited with it is in the next turn, and nobody waits for ever."""
    service, reloads = _Service(), ReloadCoordinator(FakeClock())
    who = [asyncio.create_task(_reload(reloads, f"n{number}", service.reload), name=f"{number}") for number in range(4)]
    while not service.done:
        await asyncio.sleep(0)
    who[0].cancel()
    service.go_on.set()
    assert await asyncio.gather(*who[1:]) == [2, 2, 2]
