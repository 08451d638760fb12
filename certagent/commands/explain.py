"""`certagent explain`: what the codes of findings mean. No network, no agent, no configuration."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from certagent.domain.catalogue import Entry, Severities
from certagent.domain.catalogue.entries import CATALOGUE
from certagent.domain.catalogue.examples import example_of
from certagent.domain.findings import Severity

_MOST_SUGGESTED = 3


class UnknownCodeError(ValueError):
    """No finding has that code; `matches` are the nearest ones."""

    def __init__(self, code: str, matches: list[str]) -> None:
        suggestion = f"; did you mean {' or '.join(matches)}?" if matches else ""
        super().__init__(f"no finding has the code {code}{suggestion}")
        self.matches = matches


def explain(code: str) -> dict[str, Any]:
    """`{"code", "layer", "severity", "meaning", "cause", "fix", "example"}`; `severity` is one, or one per vantage.

    Raises `UnknownCodeError`.
    """
    entry = CATALOGUE.get(code.strip().lower())
    if entry is None:
        raise UnknownCodeError(code, get_close_matches(code, CATALOGUE, n=_MOST_SUGGESTED))
    return {
        "code": entry.code,
        "layer": entry.layer,
        "severity": entry.severity if isinstance(entry.severity, Severity) else dict(entry.severity),
        "meaning": entry.meaning,
        "cause": entry.cause,
        "fix": entry.action,
        "example": example_of(entry),
    }


def explain_all() -> dict[str, Any]:
    """`{"findings": [...]}`: the same of every code, by layer."""
    return {"findings": [explain(code) for code in CATALOGUE]}


def render(document: Mapping[str, Any]) -> str:
    """For a person: one code, or all of them with a blank line between."""
    if "findings" in document:
        return "\n\n".join(render(one) for one in document["findings"])
    rows = [
        ("meaning", document["meaning"]),
        ("cause", document["cause"]),
        ("fix", document["fix"]),
        ("example", document["example"]),
    ]
    head = f"{document['code']}  ({severity_text(document['severity'])})"
    return "\n".join([head, *(f"  {name + ':':9} {text}" for name, text in rows)])


def severity_text(severity: Severities) -> str:
    """`fatal`, or `fatal (authority), error (wire)`."""
    if isinstance(severity, Mapping):
        return ", ".join(f"{one} ({vantage})" for vantage, one in severity.items())
    return str(severity)


def table_of_codes() -> str:
    """The README's table, in Markdown."""
    rows = ["| code | what it means | default | what to do |", "|---|---|---|---|"]
    return "\n".join([*rows, *map(_row, CATALOGUE.values())])


def _row(entry: Entry) -> str:
    return f"| `{entry.code}` | {entry.meaning} | {severity_text(entry.severity)} | {entry.action} |"
