"""`certagent check`: preflight now, by the running agent."""

from typing import Any

from certagent.config import AgentSettings
from certagent.world.agent_socket import ask_agent


def check(settings: AgentSettings, identifiers: tuple[str, ...]) -> dict[str, Any]:
    """`{"verdict", "identifiers": [...]}`; `{"error": ...}` for an identifier that is not this node's."""
    _, document = ask_agent(settings.agent.socket, "POST", "/check", {"identifiers": list(identifiers)})
    return document


def exit_status(document: dict[str, Any]) -> int:
    """4 blocked or findings of `error` and above, 3 with warnings, 2 for an unknown identifier, else 0."""
    if "error" in document:
        return 2
    severities = {finding["severity"] for one in document["identifiers"] for finding in one["findings"]}
    if document["verdict"] == "block" or severities & {"fatal", "error"}:
        return 4
    return 3 if document["verdict"] == "warn" else 0


def render(document: dict[str, Any]) -> str:
    """For a person: the verdict, then each finding with what to change."""
    if "error" in document:
        return str(document["error"])
    lines = []
    for one in document["identifiers"]:
        rehearsal = one["rehearsal"]
        seen = f"rehearsal {rehearsal['outcome']}" if rehearsal else "no rehearsal"
        lines.append(f"{one['identifier']}: {one['verdict']} ({seen})")
        lines += [line for finding in one["findings"] for line in _finding(finding)]
    return "\n".join(lines) or "this node has no identifiers"


def _impact(impact: dict[str, Any]) -> str:
    """`traefik, due 2026-11-24T22:10:00Z; it expires 2026-11-25T06:10:00Z`."""
    dates = [f"due {impact['due_at']}"] if impact.get("due_at") else []
    ends = f"; it expires {impact['expires_at']}" if impact.get("expires_at") else ", which has no certificate yet"
    return ", ".join([impact["certificate"], *dates]) + ends


def _finding(finding: dict[str, Any]) -> list[str]:
    lines = [f"  {finding['severity']:5} {finding['code']}", f"        {finding['explanation']}"]
    culprit = finding.get("culprit")
    if culprit and culprit.get("file"):
        lines.append(f"        {culprit['node']}:{culprit['file']}:{culprit['line']}: {culprit['text']}")
    if finding.get("impact"):
        lines.append(f"        breaks the renewal of {_impact(finding['impact'])}")
    if finding.get("fix"):
        lines.append(f"        fix: {finding['fix']}")
    return lines
