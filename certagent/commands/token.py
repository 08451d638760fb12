"""`certagent token add|list|bind|unbind|revoke`: on the collector's node, beside the running collector."""

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from certagent.collector.credentials import (
    add_certificate,
    add_token,
    bind_claims,
    bind_fingerprints,
    list_tokens,
    revoke_tokens,
    unbind_fingerprints,
)
from certagent.collector.records import TokenRole
from certagent.commands.store_errors import store_of_owner
from certagent.config import CollectorSettings
from certagent.domain.claims import ClaimKind


def add(settings: CollectorSettings, name: str, role: str = "agent", certificate: str | None = None) -> dict[str, Any]:
    """`{"name", "role", "token"}`: the only time that the token is shown. With the identifier of a certificate:
    `{"name", "role", "certificate"}`. Raises ValueError for a bad name or role, or a third valid token."""
    with store_of_owner(settings.store.url):
        if certificate is not None:
            add_certificate(settings.store.url, name, TokenRole(role), certificate, _now())
            return {"name": name, "role": role, "certificate": certificate}
        secret = add_token(settings.store.url, name, TokenRole(role), _now())
    return {"name": name, "role": role, "token": secret}


def list_(settings: CollectorSettings) -> dict[str, Any]:
    """`{"tokens": [{"name", "role", "kind", "created_at", "revoked_at"}]}`, oldest first."""
    with store_of_owner(settings.store.url):
        known = list_tokens(settings.store.url)
    return {
        "tokens": [
            {
                "name": token.name,
                "role": str(token.role),
                "kind": token.kind,
                "created_at": _text(token.created_at),
                "revoked_at": _text(token.revoked_at),
            }
            for token in known
        ]
    }


def bind(
    settings: CollectorSettings,
    names: Sequence[str],
    identifiers: Sequence[str],
    addresses: Sequence[str],
    fingerprints: Sequence[str] = (),
) -> dict[str, Any]:
    """`{"bound": [{"kind", "subject", "nodes"}]}`; without names: to nobody any more. Raises ValueError for a name
    without a valid token, for what is no identifier, address or fingerprint, and if there is nothing to bind."""
    prints = [_fingerprint(text) for text in fingerprints]
    subjects = [(ClaimKind.IDENTIFIER, name.lower().rstrip(".")) for name in identifiers]
    subjects += [(ClaimKind.ADDRESS, str(ipaddress.ip_address(address))) for address in addresses]
    if not subjects and not prints:
        raise ValueError("nothing to bind: give --identifier, --address or --fingerprint")
    if prints and len(set(names)) > 1:
        raise ValueError("a certificate identifies one node: give one NAME with --fingerprint")
    with store_of_owner(settings.store.url):
        if subjects:
            bind_claims(settings.store.url, names, subjects, _now())
        if prints and names:
            bind_fingerprints(settings.store.url, names[0], prints, _now())
        elif prints:
            unbind_fingerprints(settings.store.url, prints, _now())
    bound = [(str(kind), name) for kind, name in subjects] + [("fingerprint", text) for text in prints]
    return {"bound": [{"kind": kind, "subject": name, "nodes": sorted(set(names))} for kind, name in bound]}


def revoke(settings: CollectorSettings, name: str, *, older: bool = False) -> dict[str, Any]:
    """`{"name", "revoked"}`: how many valid tokens the name had (`older`: but for the newest); 0 if none."""
    with store_of_owner(settings.store.url):
        return {"name": name, "revoked": revoke_tokens(settings.store.url, name, _now(), older=older)}


def exit_status(document: dict[str, Any]) -> int:
    """1 when there was nothing to revoke, else 0."""
    return 1 if document.get("revoked") == 0 else 0


def render(document: dict[str, Any]) -> str:
    """For a person: the token alone after `add`, so that it can be redirected into a file."""
    if "token" in document:
        return str(document["token"])
    if "bound" in document:
        bound = ((one["subject"], ", ".join(one["nodes"])) for one in document["bound"])
        return "\n".join(f"{subject}: {nodes or 'bound to no node'}" for subject, nodes in bound)
    if "certificate" in document:
        return f"a node that presents a certificate for {document['certificate']} authenticates as {document['name']}"
    if "revoked" in document:
        return f"{document['name']}: {document['revoked']} revoked"
    return "\n".join(
        f"{token['name']:24} {token['role']:10} {token['created_at']} {_state_of(token)}"
        for token in document["tokens"]
    )


def _state_of(token: dict[str, Any]) -> str:
    state = "revoked" if token["revoked_at"] else "valid"
    return state if token["kind"] == "token" else f"{state}, by {token['kind']}"


def _fingerprint(text: str) -> str:
    """SHA-256 as openssl and step write it. Raises ValueError."""
    digits = re.sub(r"^sha256[:=]|:", "", text.strip().lower())
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError(f"{text!r} is not a SHA-256 fingerprint: give 64 hexadecimal digits")
    return digits


def _now() -> datetime:
    return datetime.now(UTC)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")
