"""The places for rehearsals beside the CA: fair among callers, and not all of them for names that never answer."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from certagent.vantage.rehearsal_places import MOST_SLOW, MOST_UNDER_WAY, PLACES, PlacesTaken, RehearsalPlaces


async def held(places: RehearsalPlaces, stack: AsyncExitStack, *callers: str) -> None:
    """A place for each of them, held until the stack closes. Waits for none longer than a second."""
    for caller in callers:
        async with asyncio.timeout(1):
            await stack.enter_async_context(places.place(caller))


async def test_one_caller_has_no_more_than_a_few_and_is_told_at_once() -> None:
    """Others still have theirs; what ended counts no more."""
    places = RehearsalPlaces()
    async with AsyncExitStack() as stack:
        await held(places, stack, *["evil"] * 4)
        for _ in range(1_000):
            with pytest.raises(PlacesTaken):
                await held(places, stack, "evil")
        await held(places, stack, *(f"lxc{number}" for number in range(PLACES - 4)))
    async with AsyncExitStack() as stack:
        await held(places, stack, "evil")


async def test_those_who_wait_are_bounded_and_come_in_their_order() -> None:
    """One more than may be under way is refused, not queued."""
    places, came = RehearsalPlaces(), []

    async def take(number: int, done: asyncio.Event) -> None:
        async with places.place(f"lxc{number}"):
            came.append(number)
            await done.wait()

    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(MOST_UNDER_WAY):
            group.create_task(take(number, done))
        await asyncio.sleep(0.01)
        assert len(came) == PLACES
        with pytest.raises(PlacesTaken):
            async with places.place("late"):
                pass
        done.set()
    assert came == sorted(came)
    assert len(came) == MOST_UNDER_WAY


async def test_slow_ones_leave_their_places_to_others() -> None:
    """Of all places taken by names that do not answer, the next caller hardly notices; so often, and no more."""
    places = RehearsalPlaces(slow_after=0.01)
    async with AsyncExitStack() as stack:
        for round_ in range(MOST_SLOW // PLACES):
            await held(places, stack, *(f"dead{round_}-{number}" for number in range(PLACES)))
        await held(places, stack, *(f"lxc{number}" for number in range(PLACES)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(held(places, stack, "late"), 0.1)
    async with AsyncExitStack() as stack:
        await held(places, stack, *(f"lxc{number}" for number in range(PLACES)))


async def test_one_that_is_cancelled_while_it_waits_or_runs_leaves_nothing_behind() -> None:
    """A caller that gives up again and again."""
    places = RehearsalPlaces()

    async def wait() -> None:
        async with places.place("evil"):
            await asyncio.Event().wait()

    async with AsyncExitStack() as stack:
        await held(places, stack, *(f"lxc{number}" for number in range(PLACES - 1)))
        for _ in range(20):
            tasks = [asyncio.create_task(wait()) for _ in range(3)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await held(places, stack, "last")
