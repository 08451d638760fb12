"""The ports: what the decisions need from outside, as protocols. `certagent.system` has the real ones."""

from datetime import datetime
from typing import Protocol, TypeVar

_Record = TypeVar("_Record")


class CollectorContactLog(Protocol):
    """Whoever wants to know how tries to reach the collector went."""

    def reached(self, way: str) -> None:
        """The collector took something that way."""
        ...

    def missed(self, way: str, reason: str) -> None:
        """A try failed that way; the reason is for a person."""
        ...


class Clock(Protocol):
    """Wall time for instants that people read, monotonic time for durations."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`. A fake clock returns when it is moved that far."""
        ...


class Journal(Protocol[_Record]):
    """What a solver put out and has to take away again; it outlives the process. One writer."""

    def load(self) -> tuple[_Record, ...]:
        """What was not taken away, as far as is known."""
        ...

    def save(self, records: tuple[_Record, ...]) -> None:
        """Keep them."""
        ...
