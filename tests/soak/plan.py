"""What is done when: decided by a seed. Pure.

Two tracks run side by side: big faults, one at a time with a breath in between, and small disturbances, never on a
node that a big fault is on.
"""

import random
from collections.abc import Sequence

import msgspec

from tests.soak import ways

WEIGHTS = {"fault": 12, "partition": 4, "stopped": 3, "frozen": 1, "disk": 1, "clock": 2}
_BREATH = (8.0, 20.0)
_PAUSE = (5.0, 25.0)
_RECOVERY = 15.0
"""Seconds: so much before a big fault begins and after it ends no disturbance is on its nodes."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from the beginning, and for how long."""

    at: float
    way: str
    lasts: float

    @property
    def ends_at(self) -> float:
        """When it is over."""
        return self.at + self.lasts


def make(seed: int, seconds: float, collectors: int = 1) -> list[Step]:
    """Both tracks, by time. Every kind of fault comes in its turn before one comes again more often than it weighs."""
    chance = random.Random(seed)  # noqa: S311 -- repeatable, not secret
    large = list(_large(chance, seconds, collectors))
    return sorted([*large, *_small(chance, seconds, large, collectors)], key=lambda step: step.at)


def _large(chance: random.Random, seconds: float, collectors: int) -> list[Step]:
    by_kind = ways.kinds(ways.names(ways.big(), collectors))
    steps: list[Step] = []
    at = chance.uniform(*_BREATH)
    bag: list[str] = []
    while True:
        if not bag:
            bag = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]
            chance.shuffle(bag)
        way = ways.big()[chance.choice(by_kind[bag.pop()])]
        lasts = chance.uniform(*way.lasts)
        if at + lasts > seconds:
            return steps
        steps.append(Step(at=at, way=way.name, lasts=lasts))
        at += lasts + chance.uniform(*_BREATH)


def _small(chance: random.Random, seconds: float, large: Sequence[Step], collectors: int) -> list[Step]:
    names = ways.names(ways.small(), collectors)
    steps: list[Step] = []
    at = chance.uniform(*_PAUSE)
    while at < seconds:
        way = ways.small()[chance.choice(names)]
        step = Step(at=at, way=way.name, lasts=chance.uniform(*way.lasts))
        if not any(_meet(step, other) for other in large):
            steps.append(step)
        at += chance.uniform(*_PAUSE)
    return steps


def _meet(step: Step, other: Step) -> bool:
    is_apart = step.ends_at + _RECOVERY < other.at or other.ends_at + _RECOVERY < step.at
    there = set(ways.big()[other.way].nodes)
    return not is_apart and bool(there & set(ways.small()[step.way].nodes))
