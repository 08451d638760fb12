"""A cloned container on the lab: its agent comes up beside the original, with its name, token and configuration."""

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.lab.containers import inside
from deploy.lab.fleet import find
from deploy.story import witness
from tests.e2e.fleet import TRAEFIK, break_with, check_one, codes, heal, until

pytestmark = pytest.mark.lab

FAULT = "challenge-router-gone"
ORIGINAL, COPY = "lxc102", "vm1001"
COPIED = (
    "etc/certagent/agent.toml etc/certagent/token var/lib/certagent opt/certagent usr/local/bin/certagent"
    " etc/traefik etc/systemd/system/certagent-agent.service"
)


def _sh(node: str, script: str) -> str:
    return witness.inside(node, "sh", "-euc", script).stdout


def _run(node: str, script: str, given: bytes = b"") -> bytes:
    words = inside(find(node), "sh", "-euc", script)
    return subprocess.run(words, input=given, capture_output=True, check=True, timeout=120).stdout


def _clones() -> list[dict[str, Any]]:
    return [incident for incident in witness.open_incidents() if incident["code"] == "agent.cloned"]


def _history(identity: str) -> list[str]:
    return [transition["kind"] for transition in witness.collector(f"/v1/incidents/{identity}")["transitions"]]


def _addresses() -> list[str]:
    return next(list(agent["addresses"]) for agent in witness.items("/v1/agents") if agent["name"] == ORIGINAL)


@pytest.fixture
def clone(green: None) -> Iterator[None]:
    """A copy of the original's files, taken while its agent was stopped; what is left of it goes with the test."""
    there = _sh(COPY, f"cd /; for path in {COPIED}; do [ ! -e $path ] || echo $path; done")
    assert there == ""
    _sh(ORIGINAL, "systemctl stop certagent-agent")
    packed = _run(ORIGINAL, f"tar -C / -c {COPIED}")
    _sh(ORIGINAL, "systemctl start certagent-agent")
    _run(COPY, "tar -C / -x; systemctl daemon-reload", packed)
    until("the original is back", 30, lambda: witness.inside(ORIGINAL, "certagent", "status", check=False).stdout)
    yield
    _sh(COPY, f"systemctl stop certagent-agent || true; cd /; rm -rf {COPIED}; systemctl daemon-reload")


def test_a_cloned_container_is_told_of_and_changes_nothing(clone: None) -> None:
    """Within seconds, with both addresses; the original's fault stays as it is until it is healed there."""
    _sh(COPY, "systemctl start certagent-agent")
    (told,) = until("the clone is told of", 30, _clones)
    assert told["culprit"]["node"] == ORIGINAL
    assert "10.0.0.12" in told["explanation"]
    assert "10.0.0.101" in told["explanation"]
    break_with(FAULT)
    broken = codes(check_one(ORIGINAL, TRAEFIK))
    assert broken
    others = until("the fault is told of", 60, lambda: [x for x in witness.open_incidents() if x["id"] != told["id"]])
    began, known = time.monotonic(), {incident["id"]: _history(incident["id"]) for incident in others}
    while time.monotonic() < began + 60:
        assert _addresses() == ["10.0.0.12"]
        assert {identity: _history(identity) for identity in known} == known
        assert _history(told["id"]) == ["opened"]
        time.sleep(2)
    heal(FAULT)
    check_one(ORIGINAL, TRAEFIK)
    until("the fault is over", 60, lambda: {x["id"] for x in witness.open_incidents()} == {told["id"]})
    assert {identity: _history(identity) for identity in known} == {one: [*known[one], "resolved"] for one in known}
    _sh(COPY, "systemctl stop certagent-agent")
    until("the clone's end is told of", 75, lambda: not _clones())
    assert _history(told["id"]) == ["opened", "resolved"]
