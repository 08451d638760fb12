"""`certagent status`: certificates as they are on disk and as they are served, by the running agent."""

from typing import Any

from certagent.commands.findings import lines_of, status_of
from certagent.config import AgentSettings
from certagent.world.agent_socket import ask_agent


def status(settings: AgentSettings) -> dict[str, Any]:
    """`{"agent", "certificates": [CertificateState], "reports_waiting", "findings": [Finding]}`."""
    return ask_agent(settings.agent.socket, "status")


def exit_status(document: dict[str, Any]) -> int:
    """3 when a certificate is missing or served otherwise than it lies on disk, or there is a warning about the agent
    itself, such as that its collector is gone; 4 for worse ones; else 0."""
    served = all(_is_served(one) for one in document["certificates"])
    return max(0 if served else 3, status_of(document["findings"]))


def render(document: dict[str, Any]) -> str:
    """For a person: one line per certificate."""
    lines = [f"agent {document['agent']}, {document['reports_waiting']} reports waiting"]
    for one in document["certificates"]:
        on_disk = one["on_disk"]
        until = f"valid until {on_disk['not_after']}{_due(one)}" if on_disk else "no certificate yet"
        last = f"last outcome {one['last_outcome'] or 'none'}" if one["manage"] else "somebody else renews it"
        lines.append(f"{one['name']}: {until}; {last}")
        for endpoint, fingerprint in one["served"].items():
            same = on_disk is not None and fingerprint == on_disk["fingerprint"]
            lines.append(f"  {endpoint} serves {'it' if same else fingerprint or 'nothing'}")
    lines += [line for finding in document["findings"] for line in lines_of(finding)]
    return "\n".join(lines)


def _is_served(certificate: dict[str, Any]) -> bool:
    on_disk = certificate["on_disk"]
    return on_disk is not None and all(one == on_disk["fingerprint"] for one in certificate["served"].values())


def _due(certificate: dict[str, Any]) -> str:
    return f", due {certificate['due_at']}" if certificate["due_at"] else ""
