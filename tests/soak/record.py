"""What is written down of a soak, and what is read out of it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from tests.soak import ways
from tests.soak.injector import Entry
from tests.soak.meter import Sample
from tests.soak.mishaps import Mishap
from tests.soak.prober import Probe


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was written down. `numbered`: by agent, the last number that it gave a report before, and at
    the end; `dead`: how many reports it has had to keep as refused. `interrupted`: the runs that it said
    to have been interrupted. `trouble`: why the fleet was not as it should be at the end."""

    began_at: float
    ended_at: float
    journal: list[Entry]
    probes: list[Probe]
    samples: list[Sample]
    mishaps: list[Mishap]
    reports: list[dict[str, Any]]
    incidents: list[dict[str, Any]]
    numbered: dict[str, tuple[int, int]]
    dead: dict[str, int]
    interrupted: dict[str, list[str]]
    trouble: str | None = None


class Span(msgspec.Struct, frozen=True):
    """A trouble as it really was."""

    way: str
    begun_at: float
    ended_at: float
    was_in: bool


def spans_of(record: Record) -> Iterator[Span]:
    """The journal's troubles from begin to end."""
    open_: dict[str, tuple[float, bool]] = {}
    for entry in record.journal:
        if entry.event == "begun":
            open_[entry.way] = (entry.at, False)
        elif entry.event == "in":
            open_[entry.way] = (open_[entry.way][0], True)
        elif entry.event == "ended" and entry.way in open_:
            begun_at, was_in = open_.pop(entry.way)
            yield Span(entry.way, begun_at, entry.at, was_in)


def openings(record: Record) -> Iterator[tuple[dict[str, Any], float]]:
    """Each incident that opened, or opened again, during the soak, and when."""
    for incident in record.incidents:
        for transition in incident["transitions"]:
            if transition["kind"] in ("opened", "reopened") and instant(transition["at"]) >= record.began_at:
                yield incident, instant(transition["at"])


def culprits_of(span: Span) -> Sequence[Mapping[str, Any]]:
    """Who may be blamed for it."""
    expected = way_of(span.way).expected
    return expected.culprits if expected is not None else ()


def way_of(name: str) -> ways.Way:
    """The way of that name, big or small."""
    return ways.big().get(name) or ways.small()[name]


def short(culprit: Mapping[str, Any] | None) -> str:
    """For a complaint."""
    known = culprit or {}
    return " ".join(str(known[key]) for key in ("node", "file", "address") if known.get(key)) or "anybody"


def instant(text: str) -> float:
    """Seconds since 1970, of a time as the collector writes it."""
    return datetime.fromisoformat(text).timestamp()


def clock(at: float) -> str:
    """The time of day."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")
