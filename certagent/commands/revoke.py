"""`certagent revoke NAME`: have the CA revoke a certificate, and renew it at once, by the running agent."""

from typing import Any

from certagent.commands import renew
from certagent.config import AgentSettings
from certagent.system.control_client import ask_agent

REASONS = {"unspecified": 0, "key-compromise": 1, "affiliation-changed": 3, "superseded": 4, "cessation": 5}
"""RFC 5280 section 5.3.1, as much of it as an ACME client may say."""


def revoke(settings: AgentSettings, name: str, reason: str) -> dict[str, Any]:
    """`{"name", "revoked": fingerprint | null, "problem": str | null, "renewed": ... | null}`; `{"error": ...}` for an
    unknown name, or one that somebody else renews."""
    return ask_agent(settings.agent.socket, "revoke", name=name, reason=REASONS[reason])


def exit_status(document: dict[str, Any]) -> int:
    """4 when it was not revoked, else that of the renewal that follows; 2 for an unknown name."""
    if "error" in document:
        return 2
    return 4 if document["revoked"] is None else renew.exit_status({"certificates": [document["renewed"]]})


def render(document: dict[str, Any]) -> str:
    """For a person."""
    if "error" in document:
        return str(document["error"])
    if document["revoked"] is None:
        return f"{document['name']}: not revoked: {document['problem']}"
    said = renew.render({"certificates": [document["renewed"]]})
    return f"{document['name']}: {document['revoked']} is revoked\n{said}"
