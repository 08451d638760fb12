"""The three tiers of the tests, and what each runs of the long families. The table is tiers.toml, beside this file."""

import random
import time
import tomllib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

TABLE = Path(__file__).with_name("tiers.toml")

_T = TypeVar("_T")


class Tier(StrEnum):
    """`FAST` needs neither root nor lab and a minute; `PLAIN` is what `.ci/run` runs; `ALL` is everything."""

    FAST = "fast"
    PLAIN = "plain"
    ALL = "all"


NOT_FAST = ("lab", "nested", "servers", "slow")
"""The marks of what takes long, or needs root or a server."""


class Family(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tests of one kind, of which the plain tier runs a sample. `tests` is how their ids begin, `sample` how many of
    them the plain tier runs; 0 where the test itself runs less (see `plain`) or nothing can stand for it.
    `seconds`: what all of them take, one after the other."""

    tests: str
    sample: int
    seconds: int
    why: str


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A test that is a family in itself: how much of it the plain tier runs, in a unit that `what` names."""

    test: str
    what: str
    plain: float
    all: float
    seconds: int
    why: str


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """tiers.toml. `longest_first`: files that are begun with."""

    longest_first: tuple[str, ...]
    family: tuple[Family, ...]
    part: tuple[Part, ...]


class Tiers:
    """A tier, with the seed that its samples are drawn by."""

    def __init__(self, tier: Tier, seed: int, table: Table) -> None:
        self.tier = tier
        self.seed = seed
        self.table = table

    @classmethod
    def load(cls, tier: Tier, seed: int | None) -> "Tiers":
        """By the table; the seed is the day's, if none is given: days add up to all of it."""
        table = msgspec.convert(tomllib.loads(TABLE.read_text(encoding="utf-8")), Table)
        return cls(tier, int(time.time() // 86400) if seed is None else seed, table)

    def choose(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """What this tier runs of them, in the order in which they are."""
        if self.tier is Tier.ALL:
            return list(items)
        if self.tier is Tier.FAST:
            return [item for item in items if not any(item.get_closest_marker(name) for name in NOT_FAST)]
        left_out: set[str] = set()
        for family in self.table.family:
            ids = [item.nodeid for item in items if item.nodeid.startswith(family.tests)]
            left_out |= set(ids) - set(self.sample(family.tests, ids, family.sample))
        return [item for item in items if item.nodeid not in left_out]

    def sample(self, name: str, members: Sequence[_T], size: int) -> list[_T]:
        """So many of them, in their order: the same for the same seed and name."""
        chosen = random.Random(f"{self.seed} {name}").sample(range(len(members)), min(size, len(members)))  # noqa: S311
        return [members[number] for number in sorted(chosen)]

    def amount(self, test: str) -> float:
        """How much of a test that is a family in itself this tier runs. Raises LookupError for one not in the table."""
        for part in self.table.part:
            if part.test == test:
                return part.plain if self.tier is Tier.PLAIN else part.all
        raise LookupError(f"{test} is no part of {TABLE.name}")

    def in_order(self, items: Iterable[pytest.Item]) -> list[pytest.Item]:
        """Files that take long first, so that nobody waits for them alone at the end."""
        places = {path: place for place, path in enumerate(self.table.longest_first)}
        return sorted(items, key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))
