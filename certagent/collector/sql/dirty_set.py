"""What a transaction changed, and so what has to be concluded again before it commits."""

import msgspec


class DirtySet(msgspec.Struct):
    """Incidents by key, everything about an identifier, or `all` there is.

    `agents`: whose inventory changed. `judge_again`: (identifier, the agent whose word on it changed): the
    identifier's other agents should look again.
    """

    keys: set[str] = msgspec.field(default_factory=set)
    identifiers: set[str] = msgspec.field(default_factory=set)
    agents: set[str] = msgspec.field(default_factory=set)
    judge_again: set[tuple[str, str]] = msgspec.field(default_factory=set)
    all: bool = False

    def needs_settling(self) -> bool:
        """Whether an incident may have changed."""
        return bool(self.keys or self.identifiers or self.all)
