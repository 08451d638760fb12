"""`certagent renew`: renew now, by the running agent."""

from contextlib import suppress
from typing import Any

from certagent.commands import UnableError
from certagent.commands.finding_output import hint_for, lines_of
from certagent.commands.status import served_lines
from certagent.config import AgentSettings
from certagent.system.control_client import ask_agent

_STATUS = {"done": 0, "not_due": 0, "found": 3, "kept": 3, "blocked": 4, "failed": 4, "interrupted": 4}


def renew(settings: AgentSettings, names: tuple[str, ...], *, force: bool) -> dict[str, Any]:
    """`{"certificates": [{"name", "outcome", "findings", "state", ...}]}`, `state` as `certagent status` has it once
    something was renewed; `{"error": ...}` for an unknown name, or one that somebody else renews."""
    document = ask_agent(settings.agent.socket, "renew", names=names, force=force)
    certificates = document.get("certificates", ())
    if any(_is_renewed(certificate) for certificate in certificates):
        with suppress(UnableError):  # what was renewed is renewed
            states = {state["name"]: state for state in ask_agent(settings.agent.socket, "status")["certificates"]}
            for certificate in certificates:
                certificate["state"] = states.get(certificate["name"])
    return document


def exit_status(document: dict[str, Any]) -> int:
    """The worst of all certificates: 4 blocked or failed, 3 done with warnings, 2 for a wrong name, else 0."""
    if "error" in document:
        return 2
    return max((_status_of(certificate) for certificate in document["certificates"]), default=0)


def _status_of(certificate: dict[str, Any]) -> int:
    status = _STATUS[certificate["outcome"]]
    return 3 if status == 0 and _has_warning(certificate) else status


def _is_renewed(certificate: dict[str, Any]) -> bool:
    return certificate["outcome"] in ("done", "found", "kept")


def _has_warning(certificate: dict[str, Any]) -> bool:
    return any(finding["severity"] != "info" for finding in certificate["findings"])


def render(document: dict[str, Any]) -> str:
    """For a person: one line per certificate, and what is in its way."""
    if "error" in document:
        return str(document["error"])
    lines = []
    for certificate in document["certificates"]:
        note = f", {certificate['note']}" if certificate.get("note") else ""
        warned = ", with warnings" if certificate["outcome"] == "done" and _has_warning(certificate) else ""
        lines.append(f"{certificate['name']}: {certificate['outcome']}{warned}{note}")
        if _is_renewed(certificate) and certificate.get("state"):
            lines += served_lines(certificate["state"])
        lines += [line for finding in certificate["findings"] for line in lines_of(finding)]
    lines += hint_for([finding for certificate in document["certificates"] for finding in certificate["findings"]])
    return "\n".join(lines) or "this node has no certificates to renew"
