"""All that is ready for one service goes live together: promoted within one still moment, tested once, reloaded once.

Where the service refuses what is live, all of it goes back before anything is loaded, and by halves it is found whose
pair is refused: one bad neighbour fails alone. Killed anywhere, each pair is the old or the new one.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from certagent.deployers.target import Target
from certagent.domain.deployments import Fault, Generation, RollbackResult, Step
from certagent.domain.ports import Clock
from certagent.system.files import UnknownOwnerError
from certagent.system.folder_syncs import synced_once


class Member:
    """One target in a wave, with the generation that is to go live there; None: only to be loaded, as it is by now.

    What came of it: `error` where it could not be written, `refused` where the service does not accept it; then
    `restored` is what it went back to. `trouble`: what the reload said.
    """

    def __init__(self, target: Target, generation: Generation | None, clock: Clock) -> None:
        self.target = target
        self.generation = generation
        self.error: OSError | UnknownOwnerError | None = None
        self.refused: Fault | None = None
        self.restored: RollbackResult | None = None
        self.trouble: Fault | None = None
        self.steps: list[Step] = []
        self._clock = clock

    async def go_live(self) -> None:
        """With all others who wait for the same service; afterwards it says what came of it."""
        await self.target.in_turn(self, _bring_live)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Note how long it takes."""
        started = self._clock.monotonic()
        try:
            yield
        finally:
            self.steps.append(Step(name=name, took=timedelta(seconds=self._clock.monotonic() - started)))

    def promote(self) -> None:
        """Blocks."""
        if self.generation is None:
            return
        try:
            with self.step("promote"):
                self.target.promote(self.generation)
        except (OSError, UnknownOwnerError) as error:
            self.error = error

    def go_back(self) -> None:
        """Blocks."""
        if self.generation is None or self.error is not None:
            return
        try:
            self.restored = self.target.roll_back()
        except (OSError, UnknownOwnerError) as error:
            self.error = error


async def _bring_live(members: Sequence[Member]) -> None:
    await asyncio.to_thread(_promote, members)
    live = await _accepted([member for member in members if member.error is None])
    if live:
        await _reload(live)


async def _accepted(members: list[Member]) -> list[Member]:
    """Those that the service accepts; the others are back."""
    new = [member for member in members if member.generation is not None]
    if not new:
        return members
    refused = await _test(new)
    if refused is None:
        return members
    await asyncio.to_thread(_go_back, new)
    if len(new) > 1 and await new[0].target.validate() is None:
        await _bisect(new)
    else:
        _refuse(new, refused)
    return [member for member in members if member.refused is None and member.error is None]


async def _bisect(members: list[Member]) -> None:
    """They are not accepted together, and the service accepts what is there without them."""
    if len(members) == 1:
        return
    for half in (members[: len(members) // 2], members[len(members) // 2 :]):
        await asyncio.to_thread(_promote, half)
        refused = await half[0].target.validate()
        if refused is None:
            continue
        await asyncio.to_thread(_go_back, half)
        if len(half) == 1:
            _refuse(half, refused)
        await _bisect(half)


async def _test(members: Sequence[Member]) -> Fault | None:
    with _step_of(members, "validate"):
        return await members[0].target.validate()


async def _reload(members: Sequence[Member]) -> None:
    """By the first for all of one service; each for itself where that is how it is told."""
    with _step_of(members, "reload"):
        first, *others = members
        first.trouble = await first.target.reload()
        for member in others:
            if member.target.service is None:
                member.trouble = await member.target.reload()
            else:
                member.target.reloaded = first.target.reloaded
                member.trouble = first.trouble


@contextmanager
def _step_of(members: Sequence[Member], name: str) -> Iterator[None]:
    with members[0].step(name):
        yield
    for member in members[1:]:
        member.steps.append(members[0].steps[-1])


def _promote(members: Sequence[Member]) -> None:
    try:
        with synced_once():
            for member in members:
                member.restored = None
                member.promote()
    except OSError as error:  # what is on the disk of it, nobody knows
        for member in members:
            member.error = member.error or error


def _go_back(members: Sequence[Member]) -> None:
    for member in members:
        member.go_back()


def _refuse(members: Sequence[Member], fault: Fault) -> None:
    for member in members:
        member.refused = fault
