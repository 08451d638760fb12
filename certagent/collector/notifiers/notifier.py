"""What the modules beside this one are: each delivers messages to one kind of channel."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from certagent.collector.incident_text import Message


class Notifier(Protocol):
    """What delivers a channel's messages."""

    async def deliver(self, message: Message) -> None:
        """Return once the receiver has accepted the message. Raises `TransientFailure` or `PermanentFailure`."""
        ...


@runtime_checkable
class AlertRepeater(Protocol):
    """A notifier whose receiver forgets an alert that is not repeated."""

    async def repeat(self, messages: Sequence[Message]) -> None:
        """Send all unresolved incidents again, each as it is now. Raises as `deliver` does."""
        ...
