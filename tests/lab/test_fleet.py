"""The fleet's table and the nodes' files say the same: addresses, names, units, configurations."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from certagent.config import endpoint_of
from certagent.config.settings import AgentSettings, CollectorSettings
from deploy.lab import checkout
from deploy.lab.agents import read_readme, read_recipe_sources
from deploy.lab.fleet import FLEET, Node, find
from deploy.lab.places import LAB, TREE

NODES = LAB / "nodes"
Settings = TypeVar("Settings", AgentSettings, CollectorSettings)
AGENTS = [node for node in FLEET if node.agent]


@pytest.mark.parametrize("node", FLEET, ids=lambda node: node.name)
def test_a_node_has_its_own_line_in_hosts(node: Node) -> None:
    """As Proxmox VE writes it: inside the managed section."""
    hosts = (NODES / node.name / "etc/hosts").read_text()
    managed = hosts.split("# --- BEGIN PVE ---\n")[1].split("# --- END PVE ---")[0]
    assert managed == f"{node.address} {node.name}.internal.thinkheads.ai {node.name}\n"


@pytest.mark.parametrize("node", FLEET, ids=lambda node: node.name)
def test_a_node_has_what_its_services_are_started_by(node: Node) -> None:
    """A unit of ours in its tree, or Debian's nginx with a site of ours."""
    for service in node.services:
        own = NODES / node.name / f"etc/systemd/system/{service}.service"
        site = NODES / node.name / "etc/nginx/conf.d"
        assert own.exists() or (service == "nginx" and any(site.iterdir()))


def test_dns_knows_the_fleet_as_the_table_does() -> None:
    """Every address that the nameserver gives is a node's; the one name from outside leads to the gateway."""
    records = dict(
        re.findall(r"^host-record=(.*),(.*)$", (NODES / "lxc101/etc/dnsmasq.d/internal.conf").read_text(), re.MULTILINE)
    )
    addresses = {node.address for node in FLEET}
    assert set(records.values()) <= addresses
    assert records["portainer.phoenix.thinkheads.ai"] == find("lxc101").address
    assert records["traefik.internal.thinkheads.ai"] == find("lxc102").address
    assert records["ca.internal.thinkheads.ai"] == find("lxc103").address
    assert records["collector.internal.thinkheads.ai"] == find("lxc104").address


@pytest.mark.parametrize("node", AGENTS, ids=lambda node: node.name)
def test_an_agent_is_configured_by_the_contract(node: Node) -> None:
    """Its own file, or what the README prints; its name and its addresses are the table's."""
    own = NODES / node.name / "etc/certagent/agent.toml"
    text = own.read_text() if own.exists() else read_readme("/etc/certagent/agent.toml")
    settings = _read(text, AgentSettings)
    assert settings.agent.name == node.name
    assert settings.authority.addresses == (find("lxc103").address,)
    assert settings.collector is not None
    assert settings.collector.addresses == (find("lxc104").address,)
    assert (settings.vantage is not None) == (node.speaks_as == "authority")
    for certificate in settings.certificate:
        places = [endpoint_of(place).address for target in certificate.deploy for place in target.prove]
        assert all(place.startswith(f"{node.address}:") for place in places)


def test_the_readme_configures_the_collector_and_one_agent() -> None:
    """The lab installs exactly what the README prints, and where the code is as the recipe prints it."""
    assert not (NODES / "lxc102/etc/certagent").exists()
    collector = _read(read_readme("/etc/certagent/collector.toml") + read_recipe_sources(), CollectorSettings)
    assert collector.sources is not None
    assert str(collector.sources.path) == checkout.COLLECTORS_COPY
    assert [channel.url for channel in collector.channel] == [f"http://{find('client').address}:8080/certagent"]


@pytest.mark.parametrize(
    ("inside", "shipped"),
    [
        ("lxc101/etc/nginx/snippets/certagent-challenge.conf", "deploy/nginx/certagent-challenge.conf"),
        ("lxc102/etc/traefik/dynamic/challenge.yml", "deploy/traefik/certagent-challenge.yml"),
    ],
)
def test_the_nodes_have_what_users_copy(inside: str, shipped: str) -> None:
    """The snippet in the node is the file that a user copies, not a copy of it."""
    assert (NODES / inside).resolve() == (TREE / shipped).resolve()


def test_nothing_in_the_lab_is_named_after_this_machine() -> None:
    """No path of a home or cache, and no package registry, in any file of the lab."""
    unwanted = re.compile(r"/root/\.cache|/home/\w|/work/|pypi\.org|proxy\.golang")
    for path in (*Path(TREE / "deploy").rglob("*"), TREE / "deploy" / "setup"):
        if path.is_file() and path.suffix != ".pyc":
            assert not unwanted.search(path.read_text(errors="replace")), path


def _read(text: str, kind: type[Settings]) -> Settings:
    """The keys and types; whether files exist is asked on the node."""
    return msgspec.convert(tomllib.loads(text), kind, dec_hook=lambda wanted, value: wanted(value))


@pytest.mark.parametrize("words", [(), ("lxc101",), ("lxc101", "--")])
def test_exec_without_a_command_says_how_it_is_used(words: tuple[str, ...]) -> None:
    """Whether the lab is up or not."""
    done = subprocess.run([LAB / "run", "exec", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: deploy/lab/run exec NODE -- CMD...\n"
