"""When each identifier is judged next although nothing happened here: a path can break, and mend, without an event.

Decides from the last judgement; knows no clock of its own.
"""

from datetime import datetime, timedelta

import msgspec

from certagent.domain.findings import Culprit, Severity, Verdict
from certagent.domain.policy import Judgement, PreflightPolicy

_Essence = tuple[Verdict, tuple[tuple[str, Culprit | None], ...]]


class _Entry(msgspec.Struct, kw_only=True):
    """`at` is at most `pause` from now on, whatever the clock was set to meanwhile."""

    at: datetime
    pause: timedelta = timedelta(0)
    blocks: int = 0
    good: int | None = None  # looks since it was blocked; None when that is long past
    essence: _Essence | None = None


class RecheckSchedule:
    """All identifiers of this node."""

    def __init__(self, policy: PreflightPolicy) -> None:
        self._policy = policy
        self._entries: dict[str, _Entry] = {}

    def note(self, judgement: Judgement, now: datetime) -> bool:
        """Plan the next look: soon after a block, later with each further one; so too when a path has just come back,
        for it may come and go. Whether this one says anything new."""
        entry = self._entries.setdefault(judgement.identifier, _Entry(at=now))
        is_new = entry.essence != _essence_of(judgement)
        blocks = judgement.verdict is Verdict.BLOCK or _is_grave(judgement)
        entry.good = None if blocks else self._counted(entry)
        entry.blocks = (entry.blocks + 1 if not is_new else 1) if blocks else 0
        entry.essence = _essence_of(judgement)
        entry.pause = self._pause(entry)
        entry.at = now + entry.pause
        return is_new

    def ready(self, now: datetime) -> list[str]:
        """Who is to be judged now. They are out of the way until they are noted again."""
        names = [name for name, entry in self._entries.items() if _at(entry, now) <= now]
        for name in names:
            self._entries[name].pause = self._policy.repeat_every
            self._entries[name].at = now + self._policy.repeat_every
        return names

    def next_at(self, now: datetime) -> datetime | None:
        """When somebody is to be judged next."""
        return min((_at(entry, now) for entry in self._entries.values()), default=None)

    def _counted(self, entry: _Entry) -> int | None:
        if entry.blocks:
            return 1
        return None if entry.good is None or self._doubled(entry.good) >= self._policy.repeat_every else entry.good + 1

    def _pause(self, entry: _Entry) -> timedelta:
        if entry.blocks:
            return min(self._doubled(entry.blocks), self._policy.blocked_longest)
        return self._policy.repeat_every if entry.good is None else self._doubled(entry.good)

    def _doubled(self, times: int) -> timedelta:
        """At most as long as between looks at a path that is good."""
        pause: timedelta = self._policy.blocked_first * int(2 ** min(times - 1, 16))
        return min(pause, self._policy.repeat_every)


def _is_grave(judgement: Judgement) -> bool:
    """Whether it makes an incident although it does not block: that has to resolve by itself, too."""
    return any(finding.severity.at_least(Severity.ERROR) for finding in judgement.findings)


def _at(entry: _Entry, now: datetime) -> datetime:
    entry.at = min(entry.at, now + entry.pause)
    return entry.at


def _essence_of(judgement: Judgement) -> _Essence:
    return judgement.verdict, tuple((finding.code, finding.culprit) for finding in judgement.findings)
