"""`certagent check`: preflight now, by the running agent."""

from typing import Any

from certagent.commands.finding_output import hint_for, lines_of, status_of
from certagent.config import AgentSettings
from certagent.system.control_client import ask_agent


def check(settings: AgentSettings, identifiers: tuple[str, ...]) -> dict[str, Any]:
    """`{"verdict", "identifiers": [...], "findings": [...]}`, these about the agent itself, and beside the CA `allow`:
    the names that are rehearsed there; `{"error": ...}` for an identifier that is not this node's."""
    return ask_agent(settings.agent.socket, "check", identifiers=identifiers)


def exit_status(document: dict[str, Any]) -> int:
    """4 blocked or findings of `error` and above, 3 with warnings, 2 for an unknown identifier, else 0."""
    if "error" in document:
        return 2
    judged = [status_of(identifier["findings"]) for identifier in document["identifiers"]]
    verdict = {"block": 4, "warn": 3}.get(document["verdict"], 0)
    return max(verdict, status_of(document["findings"]), *(status for status in judged if status == 4), 0)


def render(document: dict[str, Any]) -> str:
    """For a person: the verdict, then each finding with what to change; at last those about the agent itself."""
    if "error" in document:
        return str(document["error"])
    lines = []
    if document.get("allow"):
        lines.append(f"beside the CA: this agent rehearses for other nodes the names {', '.join(document['allow'])}")
    for identifier in document["identifiers"]:
        rehearsal = identifier["rehearsal"]
        seen = f"rehearsal {rehearsal['outcome']}" if rehearsal else "no rehearsal"
        lines.append(f"{identifier['identifier']}: {identifier['verdict']} ({seen})")
        lines += [line for finding in identifier["findings"] for line in lines_of(finding)]
        if identifier.get("standing"):
            lines.append("  From the last check next to the CA (none is possible now):")
            lines += [line for finding in identifier["standing"] for line in lines_of(finding)]
    lines += [line for finding in document["findings"] for line in lines_of(finding)]
    found = [finding for identifier in document["identifiers"] for finding in identifier["findings"]]
    lines += hint_for([*found, *document["findings"]])
    return "\n".join(lines) or "this node has no identifiers"
