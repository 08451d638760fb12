"""The two judges, and the oracle. Neither judge sees the other: the agents of the asking nodes are stopped while the
CA judges, and the CA that judges is a process that has never been asked anything."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import msgspec

from deploy.lab import faults, places
from deploy.story import witness
from tests.e2e.campaign.cases import NODE_OF
from tests.e2e.plain import CLIENT

PATIENCE = 35  # seconds: the CA itself gives up after 30
_PORTS = {"lxc104": 80}
_OTHER_PORT = 5002
_RENEW = """
systemctl is-active --quiet step-ca || exit 0
systemctl reset-failed step-ca
systemctl restart step-ca || exit 0
tries=0
until ss -Htlnp | grep -q '"step-ca"' || ! systemctl is-active --quiet step-ca; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || { echo 'the CA does not listen within ten seconds' >&2; exit 1; }
    sleep 0.05
done
"""


def ask_authority(identifiers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What a fresh process of the real CA says to plain orders, by identifier. The agents' responders are away."""
    by_node = _by_node(identifiers)
    _each(by_node, lambda node: witness.inside(node, "systemctl", "stop", "certagent-agent"))
    try:
        renew_authority()
        answers = _each(by_node, lambda node: _order(node, by_node[node]))
    finally:
        _each(by_node, lambda node: witness.inside(node, "systemctl", "start", "certagent-agent"))
    return {answer["identifier"]: answer for found in answers.values() for answer in found}


def renew_authority() -> None:
    """A new process of the CA, listening; unless a fault keeps it down."""
    witness.inside("lxc103", "sh", "-c", _RENEW)


def ask_certagent(identifiers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`certagent check` on the node of each identifier."""
    found = _each(_by_node(identifiers), lambda node: _check(node, _by_node(identifiers)[node]))
    return {name: judgement for judgements in found.values() for name, judgement in judgements.items()}


_FOR_EVERY_NAME = {("lxc103", "/etc/nsswitch.conf"), ("lxc103", "/etc/resolv.conf")}


def expected_culprits(names: Sequence[str], identifier: str) -> tuple[dict[str, Any], ...]:
    """Whom the faults' files accuse for that identifier; the line's number is where its text stands now. Beside a fault
    that names it, one in a file by which the CA resolves every name may be the nearer cause."""
    loaded = [faults.load(name) for name in names]
    if not any(identifier in fault.identifiers for fault in loaded):
        return ()
    culprits = [(fault, fault.culprit) for fault in loaded if fault.culprit is not None]
    return tuple(
        _located(msgspec.to_builtins(culprit))
        for fault, culprit in culprits
        if identifier in fault.identifiers or (culprit.node, culprit.file) in _FOR_EVERY_NAME
    )


def ask_authority_again(node: str, identifier: str) -> dict[str, Any]:
    """A plain order to the CA's process as it is, with whatever it holds open."""
    witness.inside(node, "systemctl", "stop", "certagent-agent")
    try:
        return _order(node, [identifier])[0]
    finally:
        witness.inside(node, "systemctl", "start", "certagent-agent")


def _located(culprit: dict[str, Any]) -> dict[str, Any]:
    if culprit.get("file") is None or culprit.get("text") is None:
        return culprit
    content = witness.inside(culprit["node"], "cat", culprit["file"], check=False).stdout
    numbers = [number for number, line in enumerate(content.splitlines(), 1) if line.strip() == culprit["text"].strip()]
    return {**culprit, "line": culprit["line"] if culprit.get("line") in numbers or not numbers else numbers[0]}


def _check(node: str, identifiers: Sequence[str]) -> dict[str, dict[str, Any]]:
    try:
        _, document = witness.certagent(node, "check", *identifiers)
    except witness.Unseen as unseen:
        return {identifier: {"verdict": "error", "findings": [], "said": str(unseen)} for identifier in identifiers}
    return {judgement["identifier"]: judgement for judgement in document["identifiers"]}


def _order(node: str, identifiers: Sequence[str]) -> list[dict[str, Any]]:
    info = ["lxc-info", "-P", str(places.CONTAINERS), "-n", node, "-p", "-H"]
    pid = subprocess.run(info, capture_output=True, text=True, check=True).stdout.strip()
    words = [sys.executable, str(CLIENT), *identifiers, "--root", str(places.ROOT), "--patience", str(PATIENCE)]
    words += ["--listen", str(_PORTS.get(node, _OTHER_PORT)), "--ca", _way_to_authority(node)]
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", *words], capture_output=True, text=True, timeout=180, check=False
    )
    if done.returncode != 0:
        raise witness.Unseen(f"the plain client on {node}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _way_to_authority(node: str) -> str:
    """The CA's address as a client on that node has it: configured, or else what the node's own libc says."""
    configured = tomllib.loads(witness.inside(node, "cat", "/etc/certagent/agent.toml").stdout)["authority"]
    for address in configured.get("addresses", ()):
        return str(address)
    name = urlsplit(configured["directory"]).hostname or ""
    return witness.inside(node, "getent", "ahostsv4", name).stdout.split()[0]


def _by_node(identifiers: Sequence[str]) -> dict[str, list[str]]:
    nodes: dict[str, list[str]] = {}
    for identifier in identifiers:
        nodes.setdefault(NODE_OF[identifier], []).append(identifier)
    return nodes


def _each(nodes: Mapping[str, object], work: Any) -> dict[str, Any]:
    """`work` for every node at once."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(nodes, pool.map(work, nodes), strict=True))
