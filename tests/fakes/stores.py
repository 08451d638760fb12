"""What the disk keeps, kept in memory: it outlives what uses it, and ends with the test."""

import errno
from typing import Any

from certagent.domain.orders import Account, PendingOrder


class MemoryAccounts:
    """An account store that forgets with the test."""

    def __init__(self) -> None:
        self.account: Account | None = None

    def load(self) -> Account | None:
        """See `AccountStore`."""
        return self.account

    def save(self, account: Account) -> None:
        """See `AccountStore`."""
        self.account = account


class MemoryOrders:
    """An order store that outlives an `Orderer`, as the disk does."""

    def __init__(self) -> None:
        self.order: PendingOrder | None = None

    def pending_order(self) -> PendingOrder | None:
        """See `OrderStore`."""
        return self.order

    def save_order(self, order: PendingOrder) -> None:
        """See `OrderStore`."""
        self.order = order

    def forget_order(self) -> None:
        """See `OrderStore`."""
        self.order = None


class MemoryJournal:
    """Outlives a solver, as the state folder does."""

    def __init__(self) -> None:
        self.records: tuple[Any, ...] = ()
        self.is_full = False

    def load(self) -> tuple[Any, ...]:
        """See `Journal`."""
        return self.records

    def save(self, records: tuple[Any, ...]) -> None:
        """See `Journal`."""
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.records = records
