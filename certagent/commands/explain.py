"""`certagent explain`: what the codes of findings mean. No network, no agent, no configuration."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import msgspec

from certagent.commands.finding_output import lines_of
from certagent.domain.catalogue import Entry, Severities
from certagent.domain.catalogue.entries import CATALOGUE
from certagent.domain.catalogue.examples import example_finding, example_of
from certagent.domain.findings import Severity

_MOST_SUGGESTED = 3


class UnknownCodeError(ValueError):
    """No finding has that code; `matches` are the nearest ones."""

    def __init__(self, code: str, matches: Sequence[str]) -> None:
        suggestion = f"; did you mean {' or '.join(matches)}?" if matches else ""
        more = "" if matches else "; `certagent explain` lists all codes"
        super().__init__(f"no finding has the code {code}{suggestion}{more}")
        self.matches = matches


def explain(code: str) -> dict[str, Any]:
    """`{"code", "layer", "severity", "meaning", "cause", "fix", "example"}`; `severity` is one, or one per vantage.

    Raises `UnknownCodeError`.
    """
    entry = CATALOGUE.get(code.strip().lower())
    if entry is None:
        raise UnknownCodeError(code, near_codes(code))
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


def near_codes(word: str) -> list[str]:
    """The codes that were probably meant: those that have the word in them (the first ones), else the most similar,
    with their layer or without."""
    wanted = word.strip().lower().replace("-", "_")
    having = [code for code in CATALOGUE if wanted and wanted in code]
    if having:
        return having[:_MOST_SUGGESTED]
    by_name = {code.partition(".")[2]: code for code in CATALOGUE}
    similar = get_close_matches(wanted, CATALOGUE, n=_MOST_SUGGESTED)
    return similar or [by_name[name] for name in get_close_matches(wanted, by_name, n=_MOST_SUGGESTED)]


def render(document: Mapping[str, Any]) -> str:
    """For a person: one code, or all of them with a blank line between."""
    if "findings" in document:
        return "\n\n".join(render(one) for one in document["findings"])
    rows = [("meaning", document["meaning"]), ("cause", document["cause"]), ("fix", document["fix"])]
    head = f"{document['code']}  ({severity_text(document['severity'])})"
    example = msgspec.to_builtins(example_finding(CATALOGUE[document["code"]]))
    lines = [head, *(f"  {name + ':':9} {text}" for name, text in rows), "  example:"]
    return "\n".join([*lines, *(f"  {line}" for line in lines_of(example))])


def render_list(document: Mapping[str, Any]) -> str:
    """For a person: each code with what it means, and how to read on."""
    lines = [f"{one['code']}\n    {one['meaning']}" for one in document["findings"]]
    return "\n".join(
        [*lines, "", "certagent explain CODE says more about one code; certagent explain --all, about every code."]
    )


def severity_text(severity: Severities) -> str:
    """`fatal`, or `fatal (authority), error (wire)`."""
    if isinstance(severity, Mapping):
        return ", ".join(f"{one} ({vantage})" for vantage, one in severity.items())
    return str(severity)


def table_of_codes() -> str:
    """The table of all codes in docs/findings.md, in Markdown."""
    rows = ["| code | what it means | default | what to do |", "|---|---|---|---|"]
    return "\n".join([*rows, *map(_row, CATALOGUE.values())])


def _row(entry: Entry) -> str:
    return f"| `{entry.code}` | {entry.meaning} | {severity_text(entry.severity)} | {entry.action} |"
