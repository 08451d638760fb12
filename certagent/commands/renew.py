"""`certagent renew`: renew now, by the running agent."""

from typing import Any

from certagent.commands.finding_output import hint_for
from certagent.config import AgentSettings
from certagent.system.control_client import ask_agent

_STATUS = {"done": 0, "not_due": 0, "found": 3, "kept": 3, "blocked": 4, "failed": 4, "interrupted": 4}


def renew(settings: AgentSettings, names: tuple[str, ...], *, force: bool) -> dict[str, Any]:
    """`{"certificates": [{"name", "outcome", "findings", ...}]}`; `{"error": ...}` for an unknown name, or
    one that somebody else renews."""
    return ask_agent(settings.agent.socket, "renew", names=names, force=force)


def exit_status(document: dict[str, Any]) -> int:
    """The worst of all certificates: 4 blocked or failed, 3 done with warnings, 2 for a wrong name, else 0."""
    if "error" in document:
        return 2
    return max((_status_of(certificate) for certificate in document["certificates"]), default=0)


def _status_of(certificate: dict[str, Any]) -> int:
    status = _STATUS[certificate["outcome"]]
    return 3 if status == 0 and _has_warning(certificate) else status


def _has_warning(certificate: dict[str, Any]) -> bool:
    return any(finding["severity"] != "info" for finding in certificate["findings"])


def render(document: dict[str, Any]) -> str:
    """For a person: one line per certificate, and what is in its way."""
    if "error" in document:
        return str(document["error"])
    lines = []
    for certificate in document["certificates"]:
        note = f", {certificate['note']}" if certificate.get("note") else ""
        lines.append(f"{certificate['name']}: {certificate['outcome']}{note}")
        for finding in certificate["findings"]:
            lines += [f"  {finding['severity']:5} {finding['code']}", f"        {finding['explanation']}"]
            lines += [f"        fix: {finding['fix']}"] if finding.get("fix") else []
    lines += hint_for([finding for certificate in document["certificates"] for finding in certificate["findings"]])
    return "\n".join(lines) or "this node has no certificates to renew"
