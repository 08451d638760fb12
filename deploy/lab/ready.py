"""Is the fleet up? Asked from where a user would ask: each node of itself, and the client over the network."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from deploy.lab import places
from deploy.lab.containers import run_inside
from deploy.lab.fleet import FLEET, Node, find
from deploy.lab.processes import Failed

_BOUND = 60
"""Seconds; a fleet that answers at all does so within two or three."""

ANSWERS = (
    "10.0.0.153:53",  # before any name: a question to a nameserver that is not there yet costs five seconds
    "ca.internal.thinkheads.ai:9000",
    "traefik.internal.thinkheads.ai:80",
    "traefik.internal.thinkheads.ai:443",
    "nginx.internal.thinkheads.ai:80",
    "nginx.internal.thinkheads.ai:443",
    "portainer.phoenix.thinkheads.ai:443",
    "portainer.internal.thinkheads.ai:443",
    "10.0.0.50:8080",
)
"""What accepts a connection from the client, by name, so that the nameserver is asked as well."""


CERTIFIED = (
    "https://nginx.internal.thinkheads.ai/",
    "https://portainer.phoenix.thinkheads.ai/",  # gateway, Traefik, application: each verifies the next
    "https://collector.internal.thinkheads.ai:8843/healthz",
)
"""What answers the client with a certificate of the CA, once the agents have done their work."""


def wait_until_ready() -> None:
    """Return when every node has booted and every service answers.

    Raises:
        Failed: one has not within the bound; it is named, with what systemd says.
    """
    with ThreadPoolExecutor(len(FLEET) + 1) as pool:
        answers = pool.submit(_ask_from_client, ANSWERS)
        for booted in pool.map(wait_until_booted, FLEET):
            del booted
        answers.result()


_BOOTED = """
until state=$(systemctl is-system-running --wait 2>/dev/null); [ "$state" ] && [ "$state" != offline ]; do
    sleep 0.02  # systemd does not listen yet, so there is nothing else to wait for
done
[ "$state" = running ]
"""


def wait_until_booted(node: Node) -> None:
    """Return when every unit of the node has come up. Raises `Failed` with those that have not."""
    try:
        run_inside(node, "timeout", str(_BOUND), "sh", "-c", _BOOTED, timeout=_BOUND + 5)
    except Failed as failed:
        raise Failed(f"{node.name} has not come up: {_failed_units(node) or failed}") from failed


def _failed_units(node: Node) -> str:
    try:
        return run_inside(node, "systemctl", "--no-legend", "--plain", "list-units", "--state=failed").strip()
    except Failed:
        return ""


def wait_until_certified() -> None:
    """Return when every certificate that certagent looks after is served, verified from the client.

    Raises:
        Failed: one is not within the bound; it is named.
    """
    _ask_from_client(CERTIFIED)


def wait_until_rehearsed() -> None:
    """Return when `certagent check` on every node with certificates proceeds, with a rehearsal that passed for each
    identifier: the agent beside the CA is connected then.

    Raises:
        Failed: one does not within the bound; it is named, with what it says.
    """
    with ThreadPoolExecutor() as pool:
        list(pool.map(_wait_until_rehearsed, (node for node in FLEET if node.agent and not node.speaks_as)))


def _wait_until_rehearsed(node: Node) -> None:
    until = time.monotonic() + _BOUND
    while reason := _not_rehearsed(node):
        if time.monotonic() > until:
            raise Failed(f"{node.name}: certagent check does not proceed: {reason}")


def _not_rehearsed(node: Node) -> str | None:
    """Why a certificate of the node would not be ordered without doubt now, else None."""
    try:
        document = json.loads(run_inside(node, "certagent", "check", "--json"))
    except Failed as failed:
        return str(failed)
    for judged in document["identifiers"]:
        rehearsal = judged["rehearsal"] or {}
        if judged["verdict"] != "proceed" or rehearsal.get("outcome") != "passed":
            return f"{judged['identifier']}: {judged['verdict']}, rehearsal {rehearsal.get('outcome')}"
    return None


def _ask_from_client(places_to_ask: Sequence[str]) -> None:
    script = (places.LAB / "answering.py").read_text()
    run_inside(find("client"), "python3", "-", str(_BOUND), *places_to_ask, text=script, timeout=_BOUND + 5)
