"""`certagent account`: this node's account at the CA, and nginx's lines that answer without a responder."""

from typing import Any

from certagent.config import AgentSettings
from certagent.system.control_client import ask_agent

IS_VERBATIM = True
"""What it shows is copied, or piped on."""


def account(settings: AgentSettings) -> dict[str, Any]:
    """`{"directory", "url", "thumbprint", "snippet"}`; `url` is null until the first order."""
    return ask_agent(settings.agent.socket, "account")


def render(document: dict[str, Any]) -> str:
    """The snippet, with the account as comments above: what is printed can be included by nginx as it is."""
    url = document["url"] or "not registered yet; the first order registers it"
    return f"# account {url}\n# at {document['directory']}\n{document['snippet']}".rstrip()
