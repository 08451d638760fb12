"""The survival clock: if no certificate can be renewed from now on, when does which one die? Pure."""

from collections.abc import Iterable
from datetime import datetime

import msgspec


class CertificateLife(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """How long one certificate on disk lives."""

    expires_at: datetime
    node: str
    certificate: str


class ManagedLife(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that certagent renews, so that it needs the CA; `due_at`: of its renewal, null: at once."""

    life: CertificateLife
    due_at: datetime | None


class Survival(msgspec.Struct, frozen=True, kw_only=True):
    """What is left. `first` dies next, at `half_at` half of those that live now are dead, at `last_at` all.

    All three are null when none lives; `expired` are dead already.
    """

    living: int
    expired: int
    first: CertificateLife | None = None
    half_at: datetime | None = None
    last_at: datetime | None = None


def living_of(lives: Iterable[CertificateLife], now: datetime) -> list[CertificateLife]:
    """Those that live now, the first to die on top."""
    return sorted(life for life in lives if life.expires_at > now)


def survive(lives: Iterable[CertificateLife], now: datetime) -> Survival:
    """The clock as it stands now."""
    known = list(lives)
    living = living_of(known, now)
    if not living:
        return Survival(living=0, expired=len(known))
    return Survival(
        living=len(living),
        expired=len(known) - len(living),
        first=living[0],
        half_at=living[(len(living) - 1) // 2].expires_at,
        last_at=living[-1].expires_at,
    )
