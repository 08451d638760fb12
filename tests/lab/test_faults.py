"""The faults: their files are right, they break what they say, and healing restores exactly."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.lab import faults, places
from deploy.lab.fleet import find
from deploy.lab.places import ROOT
from tests.lab.machine import inside, lab

FILES = """
files=$(find /etc/hosts /etc/nsswitch.conf /etc/resolv.conf /etc/nginx /etc/traefik /etc/dnsmasq* /root -type f | sort)
stat -c '%n %a %U:%G' $files
sha256sum $files
nft list ruleset
"""
"""Everything that a fault may change in a node: names, modes, owners, contents, packet filters."""


@pytest.mark.parametrize("name", faults.names())
def test_a_fault_is_declared_well(name: str) -> None:
    """Known nodes; a block has a culprit and a code that leads; what proceeds accuses nobody."""
    fault = faults.load(name)
    assert find(fault.node)
    assert all(find(node) for node in fault.green)
    assert not set(fault.expected) & set(fault.forbidden)
    if fault.verdict == "block":
        assert fault.culprit is not None
        assert fault.expected
        assert fault.culprit.node not in fault.green or fault.node in fault.green
    else:
        assert fault.culprit is None


def test_no_two_faults_look_the_same() -> None:
    """The same leading code with the same observable would be the same fault twice."""
    seen = [(fault.expected[:1], fault.observable) for fault in map(faults.load, faults.names())]
    assert len(seen) == len(set(seen))


def test_an_unknown_fault_names_those_there_are() -> None:
    """A typing error is answered with the list."""
    with pytest.raises(LookupError, match="hosts-shadow-authority"):
        faults.load("hosts-shadow")


@pytest.mark.lab
@pytest.mark.parametrize("name", faults.names())
def test_a_fault_goes_in_and_out(name: str, bare: None) -> None:
    """Twice each way is harmless; afterwards every file that it may have touched is byte for byte what it was."""
    node = faults.load(name).node
    before = inside(node, "sh", "-c", FILES)
    assert "is in now" in lab("fault", name).stdout
    assert "already" in lab("fault", name).stdout
    assert [one["name"] for one in json.loads(lab("faults", "--json").stdout) if one["in"]] == [name]
    assert "is out again" in lab("heal", name).stdout
    assert "is not in" in lab("heal", name).stdout
    assert inside(node, "sh", "-c", FILES) == before


@pytest.fixture
def broken(request: pytest.FixtureRequest, bare: None) -> Iterator[faults.Fault]:
    """The fleet broken by the fault that the test is parametrized with, and mended afterwards."""
    lab("fault", request.param)
    yield faults.load(request.param)
    lab("heal", request.param)


@pytest.mark.lab
@pytest.mark.parametrize(
    "broken", ["hosts-shadow-authority", "challenge-router-gone", "gateway-catchall", "route-dropped"], indirect=True
)
def test_the_real_ca_refuses_and_then_issues(broken: faults.Fault, request: pytest.FixtureRequest) -> None:
    """A plain ACME client, nothing of ours: an order fails on the broken fleet and succeeds on the mended one."""
    refused = _order_until(broken, lambda answer: not answer["issued"])
    assert refused["authorization"] in ("pending", "invalid")
    lab("heal", request.node.callspec.params["broken"])
    # The CA still holds its connection to the wrong box, and every further try keeps that alive: an ordinary client
    # would have to be silent for 80 seconds.
    inside("lxc103", "systemctl", "restart", "step-ca")
    assert _order_until(broken, lambda answer: bool(answer["issued"]))["authorization"] == "valid"


@pytest.mark.lab
@pytest.mark.parametrize("broken", ["nsswitch-dns-first", "challenge-redirected"], indirect=True)
def test_the_real_ca_issues_all_the_same(broken: faults.Fault) -> None:
    """What looks wrong and is not: the CA issues, so nothing may be blocked."""
    assert _order_until(broken, lambda answer: bool(answer["issued"]))


def _order_until(fault: faults.Fault, holds: Callable[[dict[str, object]], bool]) -> dict[str, object]:
    """Orders until the answer is such: the CA keeps its view of hosts for five seconds, and tries for thirty."""
    node = "lxc101" if fault.identifiers[0].startswith("nginx") else "lxc102"
    until = time.monotonic() + 45
    while not holds(answer := _order(fault.identifiers[0], node)):
        assert time.monotonic() < until, answer
    return answer


def _order(identifier: str, node: str) -> dict[str, object]:
    pid = subprocess.run(
        ["lxc-info", "-P", str(places.CONTAINERS), "-n", node, "-p", "-H"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    client = Path(__file__).parent / "plain_acme.py"
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, str(client), identifier, "--root", str(ROOT)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer
