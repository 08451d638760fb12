"""What this node remembers of its last rehearsals, for what comes and goes. Bounded; in memory alone."""

from collections import deque
from datetime import timedelta

from certagent.domain.diagnosis.flapping import FLAKY_WITHIN, look_of
from certagent.domain.observations import PastRehearsal
from certagent.domain.rehearsals import Rehearsal

MOST_LOOKS = 12


class RehearsalHistory:
    """The last looks at each identifier of this node."""

    def __init__(self, longest: timedelta = FLAKY_WITHIN) -> None:
        self._longest = longest
        self._looks: dict[str, deque[PastRehearsal]] = {}

    def note(self, rehearsal: Rehearsal) -> None:
        """Keep what counts of it."""
        look = look_of(rehearsal)
        if look is None:
            return
        looks = self._looks.setdefault(rehearsal.identifier, deque(maxlen=MOST_LOOKS))
        looks.append(look)
        while look.at - looks[0].at > self._longest:
            looks.popleft()

    def of(self, identifier: str) -> tuple[PastRehearsal, ...]:
        """The looks at it, the latest last."""
        return tuple(self._looks.get(identifier, ()))
