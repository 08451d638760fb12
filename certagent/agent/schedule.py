"""When each certificate is worked on next, and when each identifier is judged again. Decides; knows no clock.

Due dates are instants, for validity is. Pauses are lengths: a clock that was set back, or a suspend, makes none longer.
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from certagent.domain.backoff import Backoff
from certagent.domain.catalogue import Trait, has_trait
from certagent.domain.certificates import CertificateFacts, Window
from certagent.domain.findings import Culprit, Severity, Verdict
from certagent.domain.policy import Judgement, PreflightPolicy, RenewalPolicy

MOST_IN_A_TURN = 64
"""Of how many certificates, or identifiers, what was seen is in memory at once."""
OUTAGE_RETRY_EVERY = timedelta(seconds=2)
_SHARE_OF_REMAINING_LIFE = 10
_SHORTEST_PAUSE = timedelta(seconds=1)


def in_turns(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many at a time as are looked at beside each other, in their order."""
    return (names[at : at + MOST_IN_A_TURN] for at in range(0, len(names), MOST_IN_A_TURN))


class Need(StrEnum):
    """How much a new certificate is needed."""

    NONE = "none"  # it was requested before its time
    DUE = "due"
    URGENT = "urgent"  # so little life is left that an order is placed although the verdict blocks


class ScheduleEntry(msgspec.Struct, kw_only=True):
    """One certificate's place in the schedule. `at` is when it is worked on next; no later than `pause` from now on, if
    a pause is what it waits for."""

    at: datetime
    pause: timedelta | None = None
    due_at: datetime | None = None  # None: there is no certificate, or not the wanted one, so it is due now
    expires_at: datetime | None = None
    failures: int = 0
    is_in_progress: bool = False


class Schedule:
    """The renewals of this node's certificates, by name."""

    def __init__(self, node: str, policy: RenewalPolicy) -> None:
        self._node = node
        self._policy = policy
        self._backoff = Backoff(policy.retry_first, policy.retry_longest)
        self._entries: dict[str, ScheduleEntry] = {}
        self._windows: dict[str, tuple[str, Window]] = {}

    def plan(self, name: str, facts: CertificateFacts | None, now: datetime) -> None:
        """From here on: due by the certificate's validity, or now when there is none. Failures are forgotten."""
        due_at = self.due_at(name, facts) if facts else None
        expires_at = facts.ends_at if facts else None
        self._entries[name] = ScheduleEntry(at=max(due_at or now, now), due_at=due_at, expires_at=expires_at)

    def plan_after_renewal(self, name: str, facts: CertificateFacts | None, now: datetime) -> None:
        """A new one is served: not again within the policy's interval, whatever its validity says."""
        self.plan(name, facts, now)
        entry, pause = self._entries[name], bounded_pause(self._policy.shortest_interval, facts, now)
        if entry.at < now + pause:
            entry.at, entry.pause = now + pause, pause

    def mark_in_progress(self, name: str) -> None:
        """Work on it begins; it is out of the schedule until it is planned or postponed."""
        self._entries[name].is_in_progress = True

    def due_at(self, name: str, facts: CertificateFacts) -> datetime:
        """A fraction of the lifetime, a little earlier by a jitter that is the certificate's own and never changes."""
        fingerprint, window = self._windows.get(name, ("", None))
        if window is not None and fingerprint == facts.fingerprint:
            return min(window.at(self._jitter(name)), facts.due_at(1 - self._policy.urgent_below))
        return facts.due_at(self._policy.due_after - self._policy.jitter * self._jitter(name))

    def suggest(self, name: str, facts: CertificateFacts, window: Window, now: datetime) -> None:
        """The CA's suggestion for that certificate: it decides in place of the policy, except in the last moments."""
        self._windows[name] = (facts.fingerprint, window)
        entry = self._entries.get(name)
        if entry is not None and entry.due_at is not None and not entry.is_in_progress and not entry.failures:
            self.plan(name, facts, now)

    def postpone(
        self, name: str, facts: CertificateFacts | None, now: datetime, not_before: datetime | None = None
    ) -> datetime:
        """After a failure or a block: doubled pauses, bounded, and short against the remaining life. Returns when.

        `not_before` is the CA's Retry-After, which is respected while half of that life remains.
        """
        entry = self._entries[name]
        pause = self.pause_after_failure(name, facts, now)
        if not_before is not None:
            half = (facts.ends_at - now) / 2 if facts is not None and facts.ends_at > now else timedelta.max
            pause = max(pause, min(not_before - now, half))
        entry.failures += 1
        entry.is_in_progress = False
        entry.at, entry.pause = now + pause, pause
        entry.expires_at = facts.ends_at if facts else entry.expires_at
        return entry.at

    def pause_after_failure(self, name: str, facts: CertificateFacts | None, now: datetime) -> timedelta:
        """How long until the next try, should the one that is under way fail."""
        return bounded_pause(self._backoff.pause_after(self._entries[name].failures), facts, now)

    def hold(self, name: str, pause: timedelta, now: datetime) -> None:
        """Due, but nothing would come of it now: looked at again after the pause."""
        entry = self._entries[name]
        entry.is_in_progress = False
        entry.at, entry.pause = now + pause, pause

    def expedite(self, name: str, now: datetime) -> None:
        """The path is good again: what is due and waits for a retry is worked on soon. What is urgent at once, the rest
        of a fleet within a moment, each certificate at its own place in it: all of them have waited for the same CA."""
        entry = self._entries[name]
        if not self.is_due(name, now) or not entry.failures or entry.is_in_progress:
            return
        pause = self._policy.spread_over * self._jitter(name)
        if entry.expires_at is None or entry.expires_at - now < _SHARE_OF_REMAINING_LIFE * pause:
            pause = timedelta(0)
        if now + pause < entry.at:
            entry.at, entry.pause = now + pause, pause
        entry.failures = 0

    def hurry(self, name: str, now: datetime) -> None:
        """What the last try failed for may be over: the next one waits no longer."""
        if self.waits(name):
            self._entries[name].at, self._entries[name].pause = now, None

    def waits(self, name: str) -> bool:
        """Whether the last try failed, and the next one waits."""
        entry = self._entries.get(name)
        return entry is not None and bool(entry.failures) and not entry.is_in_progress

    def is_due(self, name: str, now: datetime) -> bool:
        """Whether a new certificate is needed."""
        due_at = self._entries[name].due_at
        return due_at is None or due_at <= now

    def need(self, name: str, facts: CertificateFacts | None, now: datetime) -> Need:
        """How much a new certificate is needed in place of the one with those facts."""
        if facts is not None and facts.ends_at - now < facts.lifetime() * self._policy.urgent_below:
            return Need.URGENT
        return Need.DUE if self.is_due(name, now) else Need.NONE

    def ready(self, now: datetime) -> list[str]:
        """What is to be worked on now, the most urgent first."""
        waiting = [name for name, entry in self._entries.items() if not entry.is_in_progress]
        return self.by_urgency([name for name in waiting if _starts_at(self._entries[name], now) <= now])

    def by_urgency(self, names: list[str]) -> list[str]:
        """What has no certificate, or an expired one, first; then what expires first."""
        ends = {name: self._entries[name].expires_at for name in names if name in self._entries}
        return sorted(names, key=lambda name: at.timestamp() if (at := ends.get(name)) is not None else 0.0)

    def next_at(self, now: datetime) -> datetime | None:
        """When something is to be worked on next; None when there is nothing to wait for."""
        waiting = (entry for entry in self._entries.values() if not entry.is_in_progress)
        return min((_starts_at(entry, now) for entry in waiting), default=None)

    def _jitter(self, name: str) -> float:
        """A certificate's own place in every interval, from 0 to 1: a fleet is spread by it."""
        return hashlib.sha256(f"{self._node}/{name}".encode()).digest()[0] / 256


def _starts_at(entry: ScheduleEntry, now: datetime) -> datetime:
    """When it is worked on; pulled near where the clock was set back meanwhile."""
    if entry.pause is not None and entry.at > now + entry.pause:
        entry.at = now + entry.pause
    return entry.at


def bounded_pause(pause: timedelta, facts: CertificateFacts | None, now: datetime) -> timedelta:
    """The pause, short against the remaining life; against the whole of it where none remains."""
    if facts is None:
        return pause
    life = facts.ends_at - now if facts.ends_at > now else facts.without_chain().lifetime()
    return min(pause, max(life / _SHARE_OF_REMAINING_LIFE, _SHORTEST_PAUSE))


# --- while the CA is unavailable --------------------------------------------------------------------------------------


class CaOutage:
    """While the CA is unavailable, one certificate tries for all of a node: two hundred that retry each by itself would
    keep the node so busy that the CA's return is noticed too late.

    Begins with a judgement that says so, and ends with one that does not.
    """

    def __init__(self) -> None:
        self._is_on = False
        self._tried_at: datetime | None = None
        self._tried: dict[str, str] = {}

    def note(self, judgements: Sequence[Judgement]) -> bool:
        """The latest judgements; True when an outage has ended with them."""
        codes = {finding.code for judgement in judgements for finding in judgement.findings}
        was_on, self._is_on = self._is_on, any(has_trait(code, Trait.CA_UNUSABLE) for code in codes)
        has_ended = was_on and not self._is_on
        if has_ended:
            self._tried.clear()
        return has_ended

    def may_skip(self, name: str, need: str, now: datetime) -> bool:
        """Whether an attempt of that certificate can be skipped now: it had one in this outage, with the same need (so
        that every certificate is reported, and again when its end is near), and some certificate has just tried."""
        if not self._is_on:
            return False
        is_new = self._tried.get(name) != need
        waited = now - self._tried_at if self._tried_at is not None else OUTAGE_RETRY_EVERY
        if not is_new and timedelta(0) <= waited < OUTAGE_RETRY_EVERY:
            return True
        self._tried[name] = need
        self._tried_at = now
        return False


# --- judging again ----------------------------------------------------------------------------------------------------

_Essence = tuple[Verdict, tuple[tuple[str, Culprit | None], ...]]


class _Recheck(msgspec.Struct, kw_only=True):
    """One identifier. `at` is no later than `pause` from now on, whatever the clock was set to meanwhile."""

    at: datetime
    pause: timedelta = timedelta(0)
    blocks: int = 0
    good: int | None = None  # judgements since it was blocked; None when that is long past
    essence: _Essence | None = None


class RecheckSchedule:
    """When each identifier is judged next although nothing happened here: a path can break, and recover, without an
    event. Decides from the last judgement."""

    def __init__(self, policy: PreflightPolicy) -> None:
        self._policy = policy
        self._backoff = Backoff(policy.blocked_first, policy.repeat_every)
        self._rechecks: dict[str, _Recheck] = {}

    def note(self, judgement: Judgement, now: datetime) -> bool:
        """Plan the next one: soon after a block, later with each further one; likewise when a path has just recovered,
        for it may come and go. Whether this judgement says anything new."""
        recheck = self._rechecks.setdefault(judgement.identifier, _Recheck(at=now))
        is_new = recheck.essence != _essence_of(judgement)
        blocks = judgement.verdict is Verdict.BLOCK or _makes_incident(judgement)
        recheck.good = None if blocks else self._count_good(recheck)
        recheck.blocks = (recheck.blocks + 1 if not is_new else 1) if blocks else 0
        recheck.essence = _essence_of(judgement)
        recheck.pause = self._pause(recheck)
        recheck.at = now + recheck.pause
        return is_new

    def ready(self, now: datetime) -> list[str]:
        """The identifiers to judge now. Each is planned a usual pause ahead until it is noted again."""
        names = [name for name, recheck in self._rechecks.items() if _judged_at(recheck, now) <= now]
        for name in names:
            self._rechecks[name].pause = self._policy.repeat_every
            self._rechecks[name].at = now + self._policy.repeat_every
        return names

    def next_at(self, now: datetime) -> datetime | None:
        """When an identifier is to be judged next."""
        return min((_judged_at(recheck, now) for recheck in self._rechecks.values()), default=None)

    def _count_good(self, recheck: _Recheck) -> int | None:
        if recheck.blocks:
            return 1
        if recheck.good is None or self._backoff.pause_after(recheck.good - 1) >= self._policy.repeat_every:
            return None
        return recheck.good + 1

    def _pause(self, recheck: _Recheck) -> timedelta:
        if recheck.blocks:
            return min(self._backoff.pause_after(recheck.blocks - 1), self._policy.blocked_longest)
        return self._policy.repeat_every if recheck.good is None else self._backoff.pause_after(recheck.good - 1)


def _makes_incident(judgement: Judgement) -> bool:
    """Whether it opens an incident although it does not block: that has to resolve by itself, too."""
    return any(finding.severity.at_least(Severity.ERROR) for finding in judgement.findings)


def _judged_at(recheck: _Recheck, now: datetime) -> datetime:
    recheck.at = min(recheck.at, now + recheck.pause)
    return recheck.at


def _essence_of(judgement: Judgement) -> _Essence:
    return judgement.verdict, tuple((finding.code, finding.culprit) for finding in judgement.findings)
