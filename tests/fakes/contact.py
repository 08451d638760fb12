"""A log of contacts with the collector that nobody reads."""


class NoContactLog:
    """Implements `certagent.domain.ports.CollectorContactLog`, and keeps nothing of it."""

    def reached(self, way: str) -> None:
        """See `CollectorContactLog`."""

    def missed(self, way: str, reason: str) -> None:
        """See `CollectorContactLog`."""
