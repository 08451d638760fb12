"""Keys stay where they belong."""

import json

import pytest

from deploy.lab.fleet import FLEET
from deploy.story import witness

pytestmark = pytest.mark.lab


def test_the_cas_keys_are_on_its_node_alone(green: None) -> None:
    """Readable by the CA's own user, and no line of them is anywhere else in the fleet."""
    configuration = json.loads(witness.inside("lxc103", "cat", "/etc/step-ca/ca.json").stdout)
    path = configuration["key"]
    mode, owner = witness.inside("lxc103", "stat", "-c", "%a %U", path).stdout.split()
    assert mode in ("400", "600")
    user = witness.inside("lxc103", "systemctl", "show", "-p", "User", "--value", "step-ca").stdout.strip()
    assert owner == (user or "root")
    line = witness.inside("lxc103", "sed", "-n", "2p", path).stdout.strip()
    assert len(line) > 40
    for node in FLEET:
        if node.name != "lxc103":
            found = witness.inside(node.name, "grep", "-rlF", line, "/etc", "/var", "/root", "/opt", check=False)
            assert found.stdout == ""


def test_an_agents_secrets_are_roots_alone(green: None) -> None:
    """Token, account, keys, socket: nobody else may read them, and the collector's page shows none of them."""
    for node in ("lxc101", "lxc102"):
        places = ("/etc/certagent/token", "/var/lib/certagent", "/run/certagent")
        assert witness.inside(node, "find", *places, "-type", "f,s", "-perm", "/077").stdout == ""
    shown = json.dumps([witness.items("/v1/reports"), witness.items("/v1/agents"), witness.items("/v1/certificates")])
    assert "PRIVATE KEY" not in shown
    assert witness.inside("lxc102", "cat", "/etc/certagent/token").stdout.strip() not in shown
