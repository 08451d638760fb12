"""One measured figure as a row, and all rows as a table. Pure."""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence

import msgspec

_HEAD = ("| what | ours | peer | ratio | bar | met |", "|---|---|---|---|---|---|")

IN_SHORT = (
    "preflight against the CA, agreement",
    "broken path to culprit named, faults that answer",
    "write to the CA's hosts file to incident open, p50",
    "due to proven served, nginx",
    "100 due at once, deployed and proven",
    "100 due at once, processor time of one",
    "agent's memory, idle",
    "5000 agents connected, memory",
    "ingest",
    "a round over 50,000 agents, 150,000 certificates, 1,000,000 reports: SQLite",
)
"""The rows that matter, for the README; of several beside one another the first."""

Part = Callable[[], "Iterator[Row]"]
"""A part of the bench: measures one thing after the other, a row each."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. `ours` is compared with `bar` (`at_least`: more is better), and the ratio to a peer with
    `ratio_bar`. `inside` and `peer_inside`: what is in either figure. `ours_all`: every single value."""

    what: str
    unit: str
    ours: float
    ours_all: tuple[float, ...] = ()
    inside: str
    bar: float | None = None
    peer: float | None = None
    peer_all: tuple[float, ...] = ()
    peer_name: str | None = None
    peer_inside: str | None = None
    ratio_bar: float | None = None
    at_least: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours by the peer's."""
        return self.ours / self.peer if self.peer else None

    @property
    def strain(self) -> float | None:
        """How much of the bar is used up, 1.0 being all of it; of two bars, of the tighter one. Null without a bar."""
        used: list[float] = []
        if self.bar is not None:
            spent, allowed = (self.bar, self.ours) if self.at_least else (self.ours, self.bar)
            used.append(spent / allowed if allowed else (math.inf if spent else 0.0))
        if self.ratio is not None and self.ratio_bar is not None:
            used.append(self.ratio / self.ratio_bar)
        return max(used, default=None)

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; null without one."""
        return None if self.strain is None else self.strain <= 1.0


def of(what: str, unit: str, values: Sequence[float], inside: str, **more: object) -> Row:
    """The row of several runs: their median."""
    document = {"what": what, "unit": unit, "ours": statistics.median(values), "inside": inside, **more}
    return msgspec.convert({**document, "ours_all": tuple(values)}, Row)


def against(row: Row, name: str, values: Sequence[float], inside: str, ratio_bar: float | None = None) -> Row:
    """The row beside a peer's runs."""
    return msgspec.structs.replace(
        row,
        peer=statistics.median(values),
        peer_all=tuple(values),
        peer_name=name,
        peer_inside=inside,
        ratio_bar=ratio_bar,
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The value that so many do not exceed; of few values, the next larger one."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def least_flattering(rows: Sequence[Row]) -> list[Row]:
    """What uses most of its bar, and what is worst against its peer."""
    found = [max((row for row in rows if row.strain is not None), key=lambda row: row.strain or 0, default=None)]
    found.append(max((row for row in rows if row.ratio is not None), key=lambda row: row.ratio or 0, default=None))
    return [row for row in dict.fromkeys(found) if row is not None]


def as_document(row: Row) -> dict[str, object]:
    """For programs: with what follows from it."""
    told: dict[str, object] = msgspec.to_builtins(row)
    return {**told, "ratio": row.ratio, "met": row.met}


def as_markdown(rows: Sequence[Row], heading: str, machine: Sequence[str], failed: Sequence[str]) -> str:
    """For people."""
    lines = [f"# {heading}", "", *(f"- {line}" for line in machine), ""]
    if failed:
        lines += ["**Not everything was measured:**", "", *(f"- {line}" for line in failed), ""]
    lines += [*_HEAD, *map(_line, rows)]
    lines += ["", "What flatters us least:", "", *(f"- {_plain(row)}" for row in least_flattering(rows))]
    lines += ["", "## In short", "", *_HEAD, *map(_line, _in_short(rows))]
    lines += ["", "## What is inside", "", *map(_inside, rows)]
    return "\n".join(lines) + "\n"


def _in_short(rows: Sequence[Row]) -> list[Row]:
    """What uses most of its bar at the top."""
    first = {row.what: row for row in reversed(rows) if row.what in IN_SHORT}
    return sorted(first.values(), key=lambda row: row.strain or 0, reverse=True)


def _line(row: Row) -> str:
    peer = "" if row.peer is None else f"{row.peer_name} {_figure(row.peer, row.peer_all, row.unit)}"
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
    met = {None: "", True: "yes", False: "**NO**"}[row.met]
    return f"| {row.what} | {_figure(row.ours, row.ours_all, row.unit)} | {peer} | {ratio} | {_bar(row)} | {met} |"


def _plain(row: Row) -> str:
    strain = "" if row.strain is None else f", {row.strain:.0%} of its bar"
    ratio = "" if row.ratio is None else f", {row.ratio:.3g} x {row.peer_name}"
    return f"{row.what}: {row.ours:.4g} {row.unit}{strain}{ratio}"


def _inside(row: Row) -> str:
    peer = f" {row.peer_name}: {row.peer_inside}." if row.peer_inside else ""
    return f"- **{row.what}.** Ours: {row.inside}.{peer}"


def _bar(row: Row) -> str:
    bars = [] if row.bar is None else [f"{'>=' if row.at_least else '<='} {row.bar:g} {row.unit}"]
    if row.ratio_bar is not None:
        bars.append(f"<= {row.ratio_bar:g} x {row.peer_name}")
    return ", ".join(bars)


def _figure(value: float, values: Sequence[float], unit: str) -> str:
    spread = f" ({min(values):.3g}-{max(values):.3g}, n={len(values)})" if len(values) > 1 else ""
    return f"{value:.4g} {unit}{spread}"
