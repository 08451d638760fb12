"""While the CA cannot be had, one certificate asks for all of a node: two hundred that retry each by itself would keep
the node so busy that the CA's return is seen too late. Decides from judgements; knows no clock of its own."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from certagent.domain.catalogue import Trait, has_trait
from certagent.domain.policy import Judgement

ASKED_EVERY = timedelta(seconds=2)


class CaOutage:
    """Begins with a judgement that says so, and ends with one that does not."""

    def __init__(self) -> None:
        self._is_on = False
        self._asked_at: datetime | None = None
        self._seen: dict[str, str] = {}

    def note(self, judgements: Sequence[Judgement]) -> bool:
        """What was just judged; True when an outage has ended with it."""
        codes = {finding.code for judgement in judgements for finding in judgement.findings}
        was_on, self._is_on = self._is_on, any(has_trait(code, Trait.CA_UNUSABLE) for code in codes)
        has_ended = was_on and not self._is_on
        if has_ended:
            self._seen.clear()
        return has_ended

    def spares(self, name: str, need: str, now: datetime) -> bool:
        """Whether a try of that certificate can be spared now: it had one in this outage, as badly wanted as it is
        (so that every certificate is reported, and again when its end is near), and somebody has just asked."""
        if not self._is_on:
            return False
        is_new = self._seen.get(name) != need
        waited = now - self._asked_at if self._asked_at is not None else ASKED_EVERY
        if not is_new and timedelta(0) <= waited < ASKED_EVERY:
            return True
        self._seen[name] = need
        self._asked_at = now
        return False
