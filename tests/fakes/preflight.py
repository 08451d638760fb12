"""A preflight that says what a test has laid down."""

from collections.abc import Sequence

from certagent.agent.preflight import Preflight
from certagent.domain.policy import Judgement
from certagent.domain.rehearsals import Rehearsal


class FakePreflight(Preflight):
    """Judges everything by the same judgements, and rehearses with the `results` in turn; the last one stays."""

    def __init__(self, *judgements: Judgement) -> None:
        self.results: list[Rehearsal] = []
        self._judgements = judgements

    async def rehearse(self, identifier: str) -> Rehearsal:
        """The next result."""
        return self.results.pop(0) if len(self.results) > 1 else self.results[0]

    async def judge(self, identifiers: Sequence[str]) -> list[Judgement]:
        """Whatever is asked for."""
        return list(self._judgements)

    def forget(self, identifiers: Sequence[str]) -> list[str]:
        """Nothing is remembered."""
        return []
