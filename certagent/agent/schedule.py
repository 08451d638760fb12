"""When each certificate is worked on next. Decides from the certificate's own validity; knows no clock of its own."""

import hashlib
from datetime import datetime, timedelta

import msgspec

from certagent.domain.certificates import CertificateFacts
from certagent.domain.policy import RenewalPolicy

_LONGEST_FRACTION_OF_REMAINING = 10


class Entry(msgspec.Struct, kw_only=True):
    """One certificate's place in the schedule. `at` is when it is looked at next."""

    at: datetime
    due_at: datetime | None = None  # null: there is no certificate yet, so it is due now
    failures: int = 0
    is_taken: bool = False  # somebody is at work on it


class Schedule:
    """All certificates of this node, by name."""

    def __init__(self, node: str, policy: RenewalPolicy) -> None:
        self._node = node
        self._policy = policy
        self._entries: dict[str, Entry] = {}

    def set(self, name: str, facts: CertificateFacts | None, now: datetime) -> None:
        """From here on: due by what the certificate says, or now when there is none. Failures are forgotten."""
        due_at = self.due_at(name, facts) if facts else None
        self._entries[name] = Entry(at=max(due_at or now, now), due_at=due_at)

    def take(self, name: str) -> None:
        """Work on it begins; it is out of the schedule until `set` or `postpone` puts it back."""
        self._entries[name].is_taken = True

    def due_at(self, name: str, facts: CertificateFacts) -> datetime:
        """A fraction of the lifetime, a little earlier by a jitter that is the certificate's own for ever."""
        share = hashlib.sha256(f"{self._node}/{name}".encode()).digest()[0] / 256
        return facts.due_at(self._policy.due_after - self._policy.jitter * share)

    def postpone(self, name: str, facts: CertificateFacts | None, now: datetime) -> datetime:
        """After a failure or a block: doubled pauses, bounded, and short against what life is left. Returns when."""
        entry = self._entries[name]
        pause = min(self._policy.retry_first * 2 ** min(entry.failures, 16), self._policy.retry_longest)
        if facts is not None and facts.not_after > now:
            pause = min(pause, max((facts.not_after - now) / _LONGEST_FRACTION_OF_REMAINING, timedelta(seconds=1)))
        entry.failures += 1
        entry.is_taken = False
        entry.at = now + pause
        return entry.at

    def hasten(self, name: str, now: datetime) -> None:
        """The path is good again: what is due and waits for a retry is looked at now."""
        entry = self._entries[name]
        if self.is_due(name, now):
            entry.at, entry.failures = now, 0

    def is_due(self, name: str, now: datetime) -> bool:
        """Whether a new certificate is wanted."""
        due_at = self._entries[name].due_at
        return due_at is None or due_at <= now

    def is_urgent(self, facts: CertificateFacts | None, now: datetime) -> bool:
        """Whether so little life is left that an order is placed although the verdict blocks."""
        return facts is not None and facts.not_after - now < facts.lifetime() * self._policy.urgent_below

    def ready(self, now: datetime) -> list[str]:
        """What is to be looked at now, the most urgent first."""
        names = [name for name, entry in self._entries.items() if entry.at <= now and not entry.is_taken]
        return sorted(names, key=lambda name: self._entries[name].due_at or datetime.min.replace(tzinfo=now.tzinfo))

    def next_at(self) -> datetime | None:
        """When something is to be looked at next; None when there is nothing to wait for."""
        return min((entry.at for entry in self._entries.values() if not entry.is_taken), default=None)
