"""What is judged: the plan of a campaign, from the faults' files and a seed. Pure, but for reading those files."""

import itertools
import random
from collections.abc import Sequence

import msgspec

from deploy.lab import faults
from tests.e2e.fleet import IDENTIFIERS

EVERY_IDENTIFIER = tuple(itertools.chain.from_iterable(IDENTIFIERS.values()))
NODE_OF = {identifier: node for node, identifiers in IDENTIFIERS.items() for identifier in identifiers}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """Faults that are in at once, and the identifiers that are judged meanwhile. `kind`: "single", "composed",
    "healthy" (no fault at all) or "stale"."""

    kind: str
    faults: tuple[str, ...] = ()
    identifiers: tuple[str, ...]

    def name(self) -> str:
        """`a + b`."""
        return " + ".join(self.faults) or "healthy"


def singles(names: Sequence[str]) -> list[Case]:
    """Every fault, with every identifier of the fleet: those that it spares must not be blocked either."""
    return [Case(kind="single", faults=(name,), identifiers=EVERY_IDENTIFIER) for name in names]


def composed(names: Sequence[str], count: int, seed: int) -> list[Case]:
    """`count` different pairs of faults that can be in together, with the identifiers that either of them concerns."""
    possible = [pair for pair in itertools.combinations(sorted(names), 2) if not _collide(*pair)]
    chosen = random.Random(seed).sample(possible, min(count, len(possible)))  # noqa: S311 -- repeatable, not secret
    return [Case(kind="composed", faults=pair, identifiers=_concerned(pair)) for pair in chosen]


def _collide(one: str, other: str) -> bool:
    return other in faults.load(one).conflicts or one in faults.load(other).conflicts


def _concerned(names: Sequence[str]) -> tuple[str, ...]:
    wanted = {identifier for name in names for identifier in faults.load(name).identifiers}
    return tuple(identifier for identifier in EVERY_IDENTIFIER if identifier in wanted)
