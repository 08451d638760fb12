"""Asks the CA, where it offers that (RFC 9773), when it would have this node's certificates renewed."""

from datetime import timedelta

from certagent.agent.context import AgentContext
from certagent.agent.lifecycle import Lifecycle
from certagent.agent.renewal import RenewalRunner
from certagent.agent.schedule import Schedule
from certagent.domain.deployments import Generation
from certagent.issuance.renewal_info import RenewalInfoClient

FIRST_PAUSE = timedelta(seconds=30)  # a start has more urgent things to do
USUAL_PAUSE = timedelta(hours=6)


class RenewalInfoPoller:
    """What the CA suggests for the certificates that are as wanted goes into the schedule."""

    def __init__(
        self,
        context: AgentContext,
        client: RenewalInfoClient,
        renewal: RenewalRunner,
        schedule: Schedule,
        lifecycle: Lifecycle,
    ) -> None:
        self._clock = context.clock
        self._certificates = [section for section in context.settings.certificate if section.manage]
        self._client = client
        self._renewal = renewal
        self._schedule = schedule
        self._lifecycle = lifecycle

    async def run(self) -> None:
        """Ask as often as the CA allows; never returns."""
        pause = FIRST_PAUSE
        while True:
            await self._clock.sleep(pause.total_seconds())
            pause = await self.poll()

    async def poll(self) -> timedelta:
        """Ask about all of them once; the pause until the next time."""
        current = self._current_generations()
        chains = [generation.chain_pem for generation in current.values()]
        answers = await self._client.ask(chains) if chains else []
        for (name, generation), info in zip(current.items(), answers, strict=True):
            if info.window is not None:
                self._schedule.suggest(name, generation.facts, info.window, self._clock.now())
        self._lifecycle.wake()
        return min((info.again_in for info in answers), default=USUAL_PAUSE)

    def _current_generations(self) -> dict[str, Generation]:
        found = {section.name: self._renewal.current_generation(section) for section in self._certificates}
        return {name: generation for name, generation in found.items() if generation is not None}
