"""`certagent token add|list|revoke`: on the collector's node, beside the running collector."""

from datetime import UTC, datetime
from typing import Any

from certagent.collector.credentials import add_certificate, add_token, list_tokens, revoke_tokens
from certagent.collector.records import TokenRole
from certagent.commands.store_errors import store_within_reach
from certagent.config import CollectorSettings


def add(settings: CollectorSettings, name: str, role: str = "agent", certificate: str | None = None) -> dict[str, Any]:
    """`{"name", "role", "token"}`: the only time that the token is shown. With the identifier of a certificate:
    `{"name", "role", "certificate"}`. Raises ValueError for a bad name or role, or a third valid token."""
    with store_within_reach():
        if certificate is not None:
            add_certificate(settings.store.url, name, TokenRole(role), certificate, _now())
            return {"name": name, "role": role, "certificate": certificate}
        secret = add_token(settings.store.url, name, TokenRole(role), _now())
    return {"name": name, "role": role, "token": secret}


def list_(settings: CollectorSettings) -> dict[str, Any]:
    """`{"tokens": [{"name", "role", "created_at", "revoked_at"}]}`, oldest first."""
    with store_within_reach():
        known = list_tokens(settings.store.url)
    return {
        "tokens": [
            {"name": token.name, "role": str(token.role), "created_at": _text(token.created_at), "revoked_at": revoked}
            for token in known
            for revoked in [_text(token.revoked_at)]
        ]
    }


def revoke(settings: CollectorSettings, name: str, *, older: bool = False) -> dict[str, Any]:
    """`{"name", "revoked"}`: how many valid tokens the name had (`older`: but for the newest); 0 if none."""
    with store_within_reach():
        return {"name": name, "revoked": revoke_tokens(settings.store.url, name, _now(), older=older)}


def exit_status(document: dict[str, Any]) -> int:
    """1 when there was nothing to revoke, else 0."""
    return 1 if document.get("revoked") == 0 else 0


def render(document: dict[str, Any]) -> str:
    """For a person: the token alone after `add`, so that it can be redirected into a file."""
    if "token" in document:
        return str(document["token"])
    if "certificate" in document:
        return f"whoever shows a certificate of {document['certificate']} speaks as {document['name']}"
    if "revoked" in document:
        return f"{document['name']}: {document['revoked']} revoked"
    return "\n".join(
        f"{token['name']:24} {token['role']:10} {token['created_at']} {'revoked' if token['revoked_at'] else 'valid'}"
        for token in document["tokens"]
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")
