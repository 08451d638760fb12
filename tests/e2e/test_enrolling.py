"""A fleet as docs/get-started.md makes one, in containers: a collector by `certagent init`, the agent beside it and
another one by `certagent enrol` and `certagent join`; and what `init --authority` makes of the real CA's ca.json."""

import json
import subprocess
import tomllib
from collections.abc import Iterator
from functools import partial

import pytest

from deploy.lab import containers
from deploy.lab.fleet import Node, find
from deploy.lab.places import CONTAINERS, TREE
from deploy.lab.processes import run
from deploy.story import witness
from tests.e2e import guest as visitor
from tests.e2e.fleet import until

pytestmark = pytest.mark.lab

COLLECTOR, ADDRESS = visitor.NODE.name, visitor.NODE.address
JOINER = "client"
URL = f"https://{visitor.NAME}:8843"
DIRECTORY = "https://ca.internal.thinkheads.ai:9000/acme/acme/directory"
_FINGERPRINT = "openssl x509 -in /etc/certagent/root_ca.crt -noout -fingerprint -sha256"


def _sh(node: str, script: str) -> str:
    return witness.inside(node, "sh", "-euc", script).stdout


def _install(node: str, *words: str) -> str:
    installer = str(TREE / "deploy" / "lxc" / "install")
    return run([installer, node, *words, "--transport", "lxc-attach", "--lxcpath", str(CONTAINERS)])


def _line(name: str) -> str:
    """Of `certagent enrol NAME`, on the collector's node."""
    return witness.inside(COLLECTOR, "certagent", "enrol", name).stdout


def _join(line: str, node: Node, *words: str) -> subprocess.CompletedProcess[str]:
    command = containers.inside(node, "certagent", "join", *words)
    return subprocess.run(command, input=line, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def bare(green: None, guest: None) -> Iterator[str]:
    """Two containers without certagent, and without what it leaves; the fingerprint of the CA's root."""
    root = _sh("lxc103", "cat /etc/certagent/root_ca.crt")
    fingerprint = _sh("lxc103", _FINGERPRINT).partition("=")[2].strip()
    for node in (COLLECTOR, JOINER):
        _sh(node, "rm -rf /etc/certagent /var/lib/certagent")
    _sh(COLLECTOR, "systemctl stop nginx traefik || true")
    yield fingerprint
    for place in (visitor.NODE, find(JOINER)):
        _install(place.name, "--uninstall")
        _sh(place.name, "rm -rf /etc/certagent /var/lib/certagent; mkdir -p /etc/certagent")
        containers.run_inside(place, "sh", "-c", "cat >/etc/certagent/root_ca.crt", text=root)


def _init(fingerprint: str, *words: str) -> str:
    common = f"certagent init --collector --url {URL} --directory {DIRECTORY} --ca-address 10.0.0.10"
    return _sh(COLLECTOR, f"{common} --fingerprint {fingerprint} {' '.join(words)}")


@pytest.mark.timeout(600)
def test_a_collector_and_two_agents_without_a_file_written_by_hand(bare: str) -> None:
    """The collector's own certificate comes from the CA; the other agent is heard; a line is good once."""
    _install(COLLECTOR)
    shown = _init(bare)
    assert "run the same command with --write" in shown
    written = _init(bare, "--write")
    assert f"certagent enrol {COLLECTOR} | certagent join" in written
    _install(COLLECTOR, "--role", "collector")
    joined = _join(_line(COLLECTOR), visitor.NODE)
    assert joined.returncode == 0, joined.stdout + joined.stderr
    _install(COLLECTOR, "--role", "agent")
    until("the collector's certificate is the CA's", 90, _is_trusted)

    _install(JOINER)
    line = _line(JOINER)
    joined = _join(line, find(JOINER))
    assert joined.returncode == 0, joined.stdout + joined.stderr
    _install(JOINER, "--role", "agent")
    settings = tomllib.loads(_sh(JOINER, "cat /etc/certagent/agent.toml"))
    assert settings["agent"]["name"] == JOINER
    assert settings["collector"]["url"] == URL
    reader = json.loads(_sh(COLLECTOR, "certagent token add reader --role viewer --json"))["token"]
    until("the collector hears both", 60, partial(_heard, reader))

    _sh(JOINER, "mv /etc/certagent/token /root/token")
    again = _join(line, find(JOINER))
    assert again.returncode == 1
    assert "refuses" in again.stderr
    _sh(JOINER, "mv /root/token /etc/certagent/token")


def _ask(path: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
    """The new collector over HTTPS, by a client that trusts the CA alone."""
    trust = f"--cacert /etc/certagent/root_ca.crt --resolve {visitor.NAME}:8843:{ADDRESS}"
    who = f"-H 'Authorization: Bearer {token}'" if token else ""
    look = f"curl -sS {trust} {who} {URL}{path}"
    return witness.inside("lxc102", "sh", "-c", look, check=False)


def _is_trusted() -> bool:
    return _ask("/healthz").returncode == 0


def _heard(token: str) -> bool:
    """Whether the collector knows both agents, by what they reported."""
    answer = _ask("/v1/agents", token)
    return answer.returncode == 0 and {one["name"] for one in json.loads(answer.stdout)["items"]} == {COLLECTOR, JOINER}


def test_the_agent_beside_the_ca_is_configured_from_the_real_ca_json(green: None) -> None:
    """In the CA's own container, into a folder of its own: the CA's names, provisioner, root and domains."""
    _sh("lxc103", "rm -rf /root/trial; mkdir /root/trial")
    told = _sh(
        "lxc103",
        "certagent init --authority --config /root/trial/agent.toml --root /root/trial/root.crt --write --json",
    )
    assert {change["file"] for change in json.loads(told)["changes"] if change["done"]} == {
        "/root/trial/agent.toml",
        "/root/trial/root.crt",
    }
    settings = tomllib.loads(_sh("lxc103", "cat /root/trial/agent.toml"))
    assert settings["agent"]["role"] == "authority"
    assert settings["authority"]["directory"] == DIRECTORY
    assert "*.internal.thinkheads.ai" in settings["vantage"]["allow"]
    same = "cmp /root/trial/root.crt /etc/certagent/root_ca.crt && rm -r /root/trial"
    _sh("lxc103", same)
