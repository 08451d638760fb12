"""What the lab is like now, read from the containers themselves."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from deploy.lab import checkout, faults, page, places
from deploy.lab.agents import OPERATOR
from deploy.lab.containers import is_running, run_inside
from deploy.lab.fleet import FLEET, Node
from deploy.lab.processes import Failed
from deploy.lab.up import is_complete


def read() -> dict[str, Any]:
    """The document of `status --json`."""
    with ThreadPoolExecutor(len(FLEET)) as pool:
        nodes = list(pool.map(_read_node, FLEET))
    return {
        "up": is_complete() and all(node["state"] == "running" for node in nodes),
        "nodes": nodes,
        "page": page.url(),
        "root": _existing(places.ROOT),
        "operator_token_file": _existing(OPERATOR),
        "provisioning": _existing(checkout.CHECKOUT),
    }


def read_faults() -> list[dict[str, Any]]:
    """The document of `faults --json`: what each file says, without its scripts, and whether it is in now."""
    found = set(faults.find_in())
    return [_read_fault(name, is_in=name in found) for name in faults.names()]


def as_text(document: dict[str, Any]) -> str:
    """The same for people."""
    lines = ["up" if document["up"] else "not up"]
    for node in document["nodes"]:
        services = ", ".join(f"{name} {state}" for name, state in node["services"].items())
        lines.append(f"{node['name']:7} {node['address']:11} {node['state']:8} {node['role']}: {services or '-'}")
    if document["page"]:
        lines.append(f"the collector's page: {document['page']}")
    return "\n".join(lines)


def _existing(path: Path) -> str | None:
    return str(path) if path.exists() else None


def _read_fault(name: str, *, is_in: bool) -> dict[str, Any]:
    fault = faults.load(name)
    told: dict[str, Any] = msgspec.to_builtins(fault)
    for script in ("is_in", "break", "heal"):
        del told[script]
    return {"name": name, **told, "in": is_in}


def _read_node(node: Node) -> dict[str, Any]:
    running = places.CONTAINERS.exists() and is_running(node)
    return {
        "name": node.name,
        "address": node.address,
        "role": node.role,
        "state": "running" if running else "stopped",
        "services": _services(node) if running else {},
    }


def _services(node: Node) -> dict[str, str]:
    units = list(node.services)
    units += ["certagent-agent"] if node.agent else []
    units += ["certagent-collector"] if node.collector else []
    try:
        told = run_inside(node, "sh", "-c", 'systemctl is-active "$@" || true', "sh", *units)
    except Failed:
        return dict.fromkeys(units, "unknown")
    return dict(zip(units, told.split("\n"), strict=False))
