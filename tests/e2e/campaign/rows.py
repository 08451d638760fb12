"""One judged pair as a row, and what all rows come to. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

COMPARED = ("node", "file", "line", "address")
"""What has to be equal in the first culprit, as far as it is expected."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One case and one identifier. `issued`: the CA's own verdict. `code`, `culprit` and `explanation` are the first
    finding's. `expected`: culprits, any of which is right."""

    case: str
    kind: str
    identifier: str
    issued: bool
    problem: str | None
    verdict: str
    code: str | None
    culprit: dict[str, Any]
    explanation: str = ""
    expected: tuple[dict[str, Any], ...] = ()
    seconds: float = 0.0

    @property
    def blocked(self) -> bool:
        """certagent's verdict; a check that could not be made is one that does not block."""
        return self.verdict == "block"

    @property
    def agreed(self) -> bool:
        """Whether the verdict before the order is the CA's verdict after it."""
        return self.verdict != "error" and self.blocked is not self.issued

    @property
    def outcome(self) -> str:
        """`agreed`, `false block`, `false pass`, `error`."""
        if self.verdict == "error":
            return "error"
        if self.agreed:
            return "agreed"
        return "false block" if self.blocked else "false pass"

    @property
    def named(self) -> bool | None:
        """Whether the first culprit is an expected one; None where nothing is blocked or expected."""
        if not (self.blocked and not self.issued and self.expected):
            return None
        return any(is_named(self.culprit, one) for one in self.expected)


class StaleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stale connection: was it named with its address, and did the CA go by it?"""

    case: str
    identifier: str
    address: str
    named: bool
    used: bool
    verdict: str


def is_named(culprit: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Equality of whatever the expected culprit says."""
    return all(culprit.get(key) == expected[key] for key in COMPARED if expected.get(key) is not None)


def summary(rows: Sequence[Row], stale: Sequence[StaleRow]) -> dict[str, Any]:
    """The figures of a campaign."""
    outcomes = Counter(row.outcome for row in rows)
    judged = [row for row in rows if row.named is not None]
    return {
        "pairs": len(rows),
        "refused": sum(not row.issued for row in rows),
        "agreed": outcomes["agreed"],
        "agreement": outcomes["agreed"] / len(rows) if rows else None,
        "false_blocks": outcomes["false block"],
        "false_passes": outcomes["false pass"],
        "errors": outcomes["error"],
        "culprits": len(judged),
        "culprits_right": sum(bool(row.named) for row in judged),
        "culprit_accuracy": sum(bool(row.named) for row in judged) / len(judged) if judged else None,
        "stale": len(stale),
        "stale_named": sum(row.named for row in stale),
        "stale_used": sum(row.used for row in stale),
    }


def as_markdown(figures: Mapping[str, Any], rows: Sequence[Row], stale: Sequence[StaleRow], heading: str) -> str:
    """The artefact: the figures, then every row."""
    lines = [f"# {heading}", ""]
    lines += [f"- {key.replace('_', ' ')}: {_figure(value)}" for key, value in figures.items()]
    lines += ["", "| faults | identifier | CA | certagent | first code | first culprit | outcome | culprit right |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    lines += [_line(row) for row in rows]
    if stale:
        lines += ["", "## Stale connections", "", "| case | identifier | held to | named | used by the CA | verdict |"]
        lines += ["|---|---|---|---|---|---|"]
        lines += [
            f"| {one.case} | {one.identifier} | {one.address} | {_yes(one.named)} | {_yes(one.used)} | {one.verdict} |"
            for one in stale
        ]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    cells = (
        row.case,
        row.identifier,
        "issued" if row.issued else "refused",
        row.verdict,
        row.code or "",
        place(row.culprit),
        row.outcome,
        "" if row.named is None else _yes(row.named),
    )
    return "| " + " | ".join(cells) + " |"


def place(culprit: Mapping[str, Any]) -> str:
    """`lxc103:/etc/hosts:9 (10.0.0.153)`, as much of it as there is."""
    parts = [str(culprit[key]) for key in ("node", "file", "line") if culprit.get(key) is not None]
    where = ":".join(parts)
    return f"{where} ({culprit['address']})" if culprit.get("address") else where


def _yes(value: bool) -> str:
    return "yes" if value else "NO"


def _figure(value: object) -> str:
    return f"{value:.2%}" if isinstance(value, float) else str(value)
