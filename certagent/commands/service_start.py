"""`--start` of `certagent init` and `certagent join`: systemd starts the service that was configured, now and at each
boot."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from certagent.system.processes import run

UNITS = {"agent": "certagent-agent.service", "collector": "certagent-collector.service"}
"""Role -> its unit."""
_STARTED_WITHIN = 90.0
_UNIT_FOLDERS = tuple(map(Path, ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")))


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a unit. `said`: what systemd complained of."""

    unit: str
    done: bool
    said: str | None = None


def start_service(role: str) -> Start:
    """Enable and start the unit of that role."""
    unit = UNITS[role]
    try:
        finished = asyncio.run(run(("systemctl", "enable", "--now", unit), timeout=_STARTED_WITHIN))
    except OSError as error:
        return Start(unit=unit, done=False, said=f"systemctl: {error.strerror}")
    if finished.is_good:
        return Start(unit=unit, done=True)
    said = finished.output.splitlines() or [f"no answer within {_STARTED_WITHIN:g} s"]
    return Start(unit=unit, done=False, said=said[0])


def how_to_start(role: str) -> str:
    """What a person runs to have it started; where the unit is not there yet, the installer brings it."""
    unit = UNITS[role]
    if any((folder / unit).exists() for folder in _UNIT_FOLDERS):
        return f"systemctl enable --now {unit.removesuffix('.service')}"
    return f"on the host: deploy/lxc/install NODE --role {role}"


def add_start(document: dict[str, Any], role: str) -> None:
    """Start it, and put into the document what became of it, and what is next then."""
    start = start_service(role)
    document["started"] = msgspec.to_builtins(start)
    if start.done and role == "agent":
        document["next"] = ["certagent check, then certagent status"]


def say_start(document: dict[str, Any]) -> list[str]:
    """For a person."""
    start = document.get("started")
    if start is None:
        return []
    if start["done"]:
        return [f"# {start['unit']}: started, now and at each boot"]
    return [f"# {start['unit']}: not started ({start['said']}); see systemctl status {start['unit']}"]


def exit_status(document: dict[str, Any]) -> int:
    """1 where a service was to be started, and was not."""
    start = document.get("started")
    return 0 if start is None or start["done"] else 1
