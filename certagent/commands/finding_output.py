"""Findings in the documents of commands: their lines for a person, and what they mean for the exit status."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

_DIGITS = 16  # of a fingerprint, as a person compares it


def status_of(findings: Iterable[dict[str, Any]]) -> int:
    """4 with findings of `error` and above, 3 with warnings, else 0."""
    severities = {finding["severity"] for finding in findings}
    if severities & {"fatal", "error"}:
        return 4
    return 3 if "warn" in severities else 0


def lines_of(finding: dict[str, Any]) -> list[str]:
    """What it is, where, what it breaks, and what to do."""
    lines = [f"  {finding['severity']:5} {finding['code']}", f"        {finding['explanation']}"]
    culprit = finding.get("culprit")
    if culprit and culprit.get("line"):
        text = f": {culprit['text']}" if culprit.get("text") is not None else ""
        lines.append(f"        {culprit['node']}:{culprit['file']}:{culprit['line']}{text}")
    elif culprit and culprit.get("file"):
        lines.append(f"        {culprit['node']}:{culprit['file']}")
    if finding.get("impact"):
        verb = "breaks" if status_of([finding]) == 4 else "concerns"
        lines.append(f"        {verb} the renewal of {_impact(finding['impact'])}")
    if finding.get("fix"):
        lines.append(f"        fix: {finding['fix']}")
    return lines


def hint_for(findings: Iterable[dict[str, Any]]) -> list[str]:
    """How to have a code explained, with the first one there is; nothing without findings."""
    first = next(iter(findings), None)
    return [f"What a code means: certagent explain {first['code']}"] if first is not None else []


def moment(text: str) -> str:
    """A time of a document as a person reads it: `2026-11-24 22:10 UTC`."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def short(fingerprint: str) -> str:
    """Enough of a fingerprint to compare it by."""
    return f"{fingerprint[:_DIGITS]}…"


def _impact(impact: dict[str, Any]) -> str:
    """`traefik, due 2026-11-24 22:10 UTC; it expires 2026-11-25 06:10 UTC`."""
    dates = [f"due {moment(impact['due_at'])}"] if impact.get("due_at") else []
    expires_at = impact.get("expires_at")
    ends = f"; it expires {moment(expires_at)}" if expires_at else ", which has no certificate yet"
    return ", ".join([impact["certificate"], *dates]) + ends
