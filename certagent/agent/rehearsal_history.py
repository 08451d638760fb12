"""What rehearsals have shown, as long as it matters. In memory only: after a start everything is rehearsed."""

from collections import deque
from collections.abc import Iterable
from datetime import timedelta

import msgspec

from certagent.domain.diagnosis.flapping import FLAKY_WITHIN, look_of
from certagent.domain.findings import Finding, Vantage
from certagent.domain.observations import PastRehearsal
from certagent.domain.policy import Judgement
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome

MOST_REMEMBERED = 12


class RehearsalHistory:
    """The last rehearsals of each identifier, to recognize what comes and goes. Bounded."""

    def __init__(self, longest: timedelta = FLAKY_WITHIN) -> None:
        self._longest = longest
        self._past: dict[str, deque[PastRehearsal]] = {}

    def note(self, rehearsal: Rehearsal) -> None:
        """Remember what matters of it."""
        latest = look_of(rehearsal)
        if latest is None:
            return
        past = self._past.setdefault(rehearsal.identifier, deque(maxlen=MOST_REMEMBERED))
        past.append(latest)
        while latest.at - past[0].at > self._longest:
            past.popleft()

    def of(self, identifier: str) -> tuple[PastRehearsal, ...]:
        """Those of the identifier, latest last."""
        return tuple(self._past.get(identifier, ()))


class PathMemory:
    """What the CA's side saw of each identifier when it looked last. It stands until it is looked at again, or the CA
    issues: that nobody can look for a moment mends nothing."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Finding, ...]] = {}

    def complete(self, judgement: Judgement) -> Judgement:
        """Remember what it saw; or, where nobody could look, with what was seen before."""
        name, rehearsal = judgement.identifier, judgement.rehearsal
        if rehearsal is None or not _has_looked(rehearsal):
            said = {finding.code for finding in judgement.findings}
            standing = tuple(finding for finding in self._seen.get(name, ()) if finding.code not in said)
            return msgspec.structs.replace(judgement, standing=standing)
        failed = rehearsal.outcome is RehearsalOutcome.FAILED
        seen = (finding for finding in judgement.findings if failed and finding.vantage is Vantage.AUTHORITY)
        self._seen[name] = tuple(seen)
        return judgement

    def forget(self, identifiers: Iterable[str]) -> list[str]:
        """Nothing is remembered of them. Of which something was."""
        return [name for name in identifiers if self._seen.pop(name, ())]


def _has_looked(rehearsal: Rehearsal) -> bool:
    """Whether the way was looked at; where another client answers the challenges, that is all that can be done."""
    is_a_look = not rehearsal.planted and rehearsal.resolution is not None
    return is_a_look or rehearsal.outcome is not RehearsalOutcome.UNAVAILABLE
