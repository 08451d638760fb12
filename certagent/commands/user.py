"""`certagent user add|passwd|list|remove`: the people who may log in to the page, on the collector's node."""

from datetime import UTC, datetime
from typing import Any

from certagent.collector.credentials import add_user, list_users, remove_user, set_password
from certagent.collector.records import TokenRole
from certagent.commands.store_errors import store_of_owner
from certagent.config import CollectorSettings


def add(settings: CollectorSettings, name: str, role: str, password: str) -> dict[str, Any]:
    """`{"name", "role"}`. Raises ValueError: the name is taken or not one, the password too short."""
    with store_of_owner(settings.store.url):
        add_user(settings.store.url, name, TokenRole(role), password, datetime.now(UTC))
    return {"name": name, "role": role}


def passwd(settings: CollectorSettings, name: str, password: str) -> dict[str, Any]:
    """`{"name", "changed"}`; every session of the person has ended. Raises ValueError."""
    with store_of_owner(settings.store.url):
        return {"name": name, "changed": set_password(settings.store.url, name, password)}


def list_(settings: CollectorSettings) -> dict[str, Any]:
    """`{"people": [{"name", "role"}]}`."""
    with store_of_owner(settings.store.url):
        return {"people": [{"name": user.name, "role": str(user.role)} for user in list_users(settings.store.url)]}


def remove(settings: CollectorSettings, name: str) -> dict[str, Any]:
    """`{"name", "removed"}`."""
    with store_of_owner(settings.store.url):
        return {"name": name, "removed": remove_user(settings.store.url, name)}


def exit_status(document: dict[str, Any]) -> int:
    """1 when there was nobody of that name, else 0."""
    return 0 if document.get("changed", document.get("removed", True)) else 1


def render(document: dict[str, Any]) -> str:
    """For a person."""
    if "people" in document:
        return "\n".join(f"{user['name']:24} {user['role']}" for user in document["people"]) or "nobody yet"
    if exit_status(document) != 0:
        return f"there is no {document['name']}"
    done = "removed" if "removed" in document else "has a new password" if "changed" in document else "may log in"
    return f"{document['name']}: {done}"
