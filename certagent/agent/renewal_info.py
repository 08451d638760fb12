"""Asks the CA, where it offers that (RFC 9773), when it would have this node's certificates renewed."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from certagent.agent.schedule import Schedule
from certagent.domain.deployments import Generation
from certagent.domain.ports import Clock
from certagent.issuance.renewal_info import RenewalInfo

AskAll = Callable[[Sequence[bytes]], Awaitable[Sequence[RenewalInfo]]]
"""What the CA suggests for each of the chains, PEM."""
FIRST_PAUSE = timedelta(seconds=30)  # a start has more urgent things to do
USUAL_PAUSE = timedelta(hours=6)


class RenewalInfoPoller:
    """`standing` gives a certificate's current generation, None where there is none that is as wanted."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        standing: Callable[[str], Generation | None],
        ask: AskAll,
        schedule: Schedule,
        wake: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._names = names
        self._standing = standing
        self._ask = ask
        self._schedule = schedule
        self._wake = wake
        self._clock = clock

    async def run(self) -> None:
        """For ever, as often as the CA allows."""
        pause = FIRST_PAUSE
        while True:
            await self._clock.sleep(pause.total_seconds())
            pause = await self.round()

    async def round(self) -> timedelta:
        """Ask about all of them once; the pause until the next round."""
        found = {name: generation for name in self._names if (generation := self._standing(name)) is not None}
        advised = await self._ask([generation.chain_pem for generation in found.values()]) if found else ()
        for (name, generation), advice in zip(found.items(), advised, strict=True):
            if advice.window is not None:
                self._schedule.advise(name, generation.facts, advice.window, self._clock.now())
        self._wake()
        return min((advice.again_in for advice in advised), default=USUAL_PAUSE)
