"""When each certificate is worked on next. Decides from the certificate's own validity; knows no clock of its own.

Due dates are instants, for validity is. Pauses are lengths: a clock that was set back, or a suspend, makes none longer.
"""

import hashlib
from datetime import datetime, timedelta

import msgspec

from certagent.domain.certificates import CertificateFacts, Window
from certagent.domain.policy import RenewalPolicy

_LONGEST_FRACTION_OF_REMAINING = 10
_SHORTEST_PAUSE = timedelta(seconds=1)


class Entry(msgspec.Struct, kw_only=True):
    """One certificate's place in the schedule. `at` is when it is looked at next, at most `pause` from now on if it is
    a pause that is waited for."""

    at: datetime
    pause: timedelta | None = None
    due_at: datetime | None = None  # null: there is no certificate, or not the wanted one, so it is due now
    expires_at: datetime | None = None
    failures: int = 0
    is_taken: bool = False  # somebody is at work on it


class Schedule:
    """All certificates of this node, by name."""

    def __init__(self, node: str, policy: RenewalPolicy) -> None:
        self._node = node
        self._policy = policy
        self._entries: dict[str, Entry] = {}
        self._windows: dict[str, tuple[str, Window]] = {}

    def set(self, name: str, facts: CertificateFacts | None, now: datetime) -> None:
        """From here on: due by what the certificate says, or now when there is none. Failures are forgotten."""
        due_at = self.due_at(name, facts) if facts else None
        expires_at = facts.not_after if facts else None
        self._entries[name] = Entry(at=max(due_at or now, now), due_at=due_at, expires_at=expires_at)

    def renewed(self, name: str, facts: CertificateFacts | None, now: datetime) -> None:
        """A new one is served: not again within the policy's interval, whatever its validity says."""
        self.set(name, facts, now)
        entry, pause = self._entries[name], bounded(self._policy.shortest_interval, facts, now)
        if entry.at < now + pause:
            entry.at, entry.pause = now + pause, pause

    def take(self, name: str) -> None:
        """Work on it begins; it is out of the schedule until `set` or `postpone` puts it back."""
        self._entries[name].is_taken = True

    def due_at(self, name: str, facts: CertificateFacts) -> datetime:
        """A fraction of the lifetime, a little earlier by a jitter that is the certificate's own for ever."""
        fingerprint, window = self._windows.get(name, ("", None))
        if window is not None and fingerprint == facts.fingerprint:
            return min(window.at(self._share(name)), facts.due_at(1 - self._policy.urgent_below))
        return facts.due_at(self._policy.due_after - self._policy.jitter * self._share(name))

    def advise(self, name: str, facts: CertificateFacts, window: Window, now: datetime) -> None:
        """The CA's wish for that certificate: it decides in place of the policy, but never into the last moments."""
        self._windows[name] = (facts.fingerprint, window)
        entry = self._entries.get(name)
        if entry is not None and entry.due_at is not None and not entry.is_taken and not entry.failures:
            self.set(name, facts, now)

    def postpone(
        self, name: str, facts: CertificateFacts | None, now: datetime, not_before: datetime | None = None
    ) -> datetime:
        """After a failure or a block: doubled pauses, bounded, and short against what life is left. Returns when.

        `not_before`: the CA's wish, which goes before our impatience as long as half of that life is not over.
        """
        entry = self._entries[name]
        pause = min(self._policy.retry_first * 2 ** min(entry.failures, 16), self._policy.retry_longest)
        pause = bounded(pause, facts, now)
        if not_before is not None:
            half = (facts.not_after - now) / 2 if facts is not None and facts.not_after > now else timedelta.max
            pause = max(pause, min(not_before - now, half))
        entry.failures += 1
        entry.is_taken = False
        entry.at, entry.pause = now + pause, pause
        entry.expires_at = facts.not_after if facts else entry.expires_at
        return entry.at

    def hasten(self, name: str, now: datetime) -> None:
        """The path is good again: what is due and waits for a retry is looked at soon. What is urgent at once, the rest
        of a fleet within a moment, each certificate at its own place in it: all of them have waited for the same CA."""
        entry = self._entries[name]
        if not self.is_due(name, now) or not entry.failures or entry.is_taken:
            return
        soon = self._policy.spread_over * self._share(name)
        if entry.expires_at is None or entry.expires_at - now < _LONGEST_FRACTION_OF_REMAINING * soon:
            soon = timedelta(0)
        if now + soon < entry.at:
            entry.at, entry.pause = now + soon, soon
        entry.failures = 0

    def is_due(self, name: str, now: datetime) -> bool:
        """Whether a new certificate is wanted."""
        due_at = self._entries[name].due_at
        return due_at is None or due_at <= now

    def is_urgent(self, facts: CertificateFacts | None, now: datetime) -> bool:
        """Whether so little life is left that an order is placed although the verdict blocks."""
        return facts is not None and facts.not_after - now < facts.lifetime() * self._policy.urgent_below

    def ready(self, now: datetime) -> list[str]:
        """What is to be looked at now, the most urgent first."""
        names = [name for name, entry in self._entries.items() if not entry.is_taken and self._at(entry, now) <= now]
        return self.by_urgency(names)

    def by_urgency(self, names: list[str]) -> list[str]:
        """What has nothing, or has expired, first; then what expires first."""
        ends = {name: self._entries[name].expires_at for name in names if name in self._entries}
        return sorted(names, key=lambda name: at.timestamp() if (at := ends.get(name)) is not None else 0.0)

    def next_at(self, now: datetime) -> datetime | None:
        """When something is to be looked at next; None when there is nothing to wait for."""
        return min((self._at(entry, now) for entry in self._entries.values() if not entry.is_taken), default=None)

    def _at(self, entry: Entry, now: datetime) -> datetime:
        """When it is looked at; pulled near where the clock was set back meanwhile."""
        if entry.pause is not None and entry.at > now + entry.pause:
            entry.at = now + entry.pause
        return entry.at

    def _share(self, name: str) -> float:
        """A certificate's own place in every interval, the same for ever: a fleet is spread by it."""
        return hashlib.sha256(f"{self._node}/{name}".encode()).digest()[0] / 256


def bounded(pause: timedelta, facts: CertificateFacts | None, now: datetime) -> timedelta:
    """The pause, short against what life is left; against the whole of it where none is left."""
    if facts is None:
        return pause
    life = facts.not_after - now if facts.not_after > now else facts.lifetime()
    return min(pause, max(life / _LONGEST_FRACTION_OF_REMAINING, _SHORTEST_PAUSE))
