"""Secrets stay where they belong: keys and tokens, and those that lines of files hold that certagent quotes."""

import json
import re
import secrets
import urllib.request
from collections.abc import Iterator

import pytest

from deploy.lab.fleet import FLEET
from deploy.story import witness
from tests.e2e import fleet
from tests.e2e.fleet import IDENTIFIERS, TRAEFIK, until

pytestmark = pytest.mark.lab

NGINX = IDENTIFIERS["lxc101"][0]
AGENTS = ("lxc101", "lxc102", "lxc103", "lxc104")
DROP_IN = "/etc/systemd/system/step-ca.service.d/canary.conf"
SNIPPET = "/etc/nginx/snippets/certagent-challenge.conf"
KEY = "-----BEGIN PRIVATE KEY-----"


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
    """Token, account, keys, socket: nobody else may read them."""
    for node in ("lxc101", "lxc102"):
        places = ("/etc/certagent/token", "/var/lib/certagent", "/run/certagent")
        assert witness.inside(node, "find", *places, "-type", "f,s", "-perm", "/077").stdout == ""


class Plants:
    """Secrets of this run, and the lines that hold them where findings quote them."""

    def __init__(self) -> None:
        proxy, comment, header, pasted = self.canaries = [f"c4nary{secrets.token_hex(12)}" for _ in range(4)]
        body = f"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0{pasted}".ljust(64, "x")
        self.proxy = f"Environment=HTTP_PROXY=http://agent:{proxy}@10.0.0.50:3128"
        self.hosts = (
            f"10.0.0.153 {TRAEFIK} # admin password: {comment}\n# {KEY}\n# {body}\n# {KEY.replace('BEGIN', 'END')}"
        )
        self.nginx = f'proxy_set_header Authorization "Basic {header}"; return 404;'

    def put_in(self) -> None:
        """Nginx's line and the CA's hosts file first: through a proxy the CA meets neither."""
        _sh(
            "lxc101",
            f"cp -p {SNIPPET} /root/canary.conf; sed -i '4a\\{self.nginx}' {SNIPPET}; nginx -q -t; nginx -s reload",
        )
        _sh("lxc103", f"cp -p /etc/hosts /root/canary.hosts; printf '%s\\n' '{self.hosts}' >>/etc/hosts")

    def put_proxy_in(self) -> None:
        """Into the CA's environment."""
        _sh("lxc103", f"mkdir -p {DROP_IN.rpartition('/')[0]}; printf '[Service]\\n%s\\n' '{self.proxy}' >{DROP_IN}")
        fleet.restart_ca()

    def take_out(self) -> None:
        """As it was; harmless to repeat."""
        _sh("lxc101", f"[ ! -e /root/canary.conf ] || {{ mv /root/canary.conf {SNIPPET}; nginx -s reload; }}")
        _sh("lxc103", "[ ! -e /root/canary.hosts ] || { cat /root/canary.hosts >/etc/hosts; rm /root/canary.hosts; }")
        _sh("lxc103", f"rm -f {DROP_IN}")
        fleet.restart_ca()


@pytest.fixture
def plants(green: None) -> Iterator[Plants]:
    """Planted by the test, gone after it."""
    one = Plants()
    yield one
    one.take_out()


def test_planted_secrets_appear_nowhere_and_what_they_broke_resolves(plants: Plants) -> None:
    """In a hosts line, a pasted key, nginx's files, the CA's environment: what quotes the line withholds the secret, in
    API, page, Mermaid, journals, database and messages; and redaction keeps no incident open once the line is gone."""
    plants.put_in()
    fleet.check("lxc101")
    until("hosts file and snippet are named", 30, lambda: _names("/etc/hosts") and _names(SNIPPET))
    plants.put_proxy_in()
    fleet.check("lxc102")
    until("the CA's proxy is named", 30, lambda: _names(DROP_IN))
    wanted = [*plants.canaries, *_real_secrets()]
    assert len(wanted) >= 15
    for place, text in _everything_told():
        assert text, place
        assert [one for one in wanted if one in text] == [], place
    _look_into_the_database(wanted)
    plants.take_out()
    until("every incident is resolved", 60, lambda: not witness.open_incidents())
    told = "\n".join(text for _, text in _everything_told())
    assert [one for one in wanted if one in told] == []


def _sh(node: str, script: str) -> str:
    return witness.inside(node, "sh", "-euc", script).stdout


def _names(file: str) -> bool:
    """Whether an open incident names the file, and quotes the line of it that holds the secret."""
    return any(one["culprit"]["file"] == file and one["lines"][0]["text"] for one in witness.open_incidents())


def _real_secrets() -> list[str]:
    """Tokens and the first line of every private key there is."""
    found = []
    for node in AGENTS:
        places = "/etc/certagent /etc/step-ca /etc/nginx /etc/traefik /var/lib/certagent"
        keys = f"grep -rlE 'BEGIN ([A-Z]+ )?PRIVATE KEY' {places}"
        found += _sh(
            node, f"cat /etc/certagent/token; for one in $({keys} 2>/dev/null); do sed -n 2p $one; done"
        ).split()
    return sorted({one for one in found if len(one) > 20})


def _everything_told() -> Iterator[tuple[str, str]]:
    """(where, what) of all that certagent says to anybody."""
    incidents = witness.items("/v1/incidents")
    for path in ("/v1/agents", "/v1/certificates", "/v1/incidents", "/v1/reports"):
        yield path, json.dumps(witness.items(path))
    pages = [f"/v1/incidents/{one['id']}" for one in incidents] + [f"/incidents/{one['id']}" for one in incidents]
    names = [name for names in IDENTIFIERS.values() for name in names]
    pages += [f"{path}/{name}" for path in ("/v1/paths", "/paths") for name in names]
    pages += [f"/paths/{name}/mermaid" for name in names] + [f"/nodes/{node}" for node in AGENTS]
    pages += ["/", "/incidents", "/certificates", "/nodes", "/metrics", "/v1/survival"]
    pages += ["/nodes/lxc101/certificates/gateway", "/nodes/lxc102/certificates/traefik"]
    for path in pages:
        with urllib.request.urlopen(witness.page() + path, timeout=10) as answer:  # noqa: S310 -- loopback, http
            yield path, answer.read().decode()
    yield "messages", json.dumps(witness.messages())
    for node in AGENTS:
        yield f"journal of {node}", _sh(node, "journalctl -u 'certagent-*' -o cat --no-pager")
    for node, names in (("lxc102", [TRAEFIK]), ("lxc101", [NGINX]), ("lxc103", [TRAEFIK])):
        for words in (["check"], ["status"], ["lint"], ["trace", *names], ["resolve", *names]):
            yield f"{words[0]} on {node}", witness.inside(node, "certagent", *words, check=False).stdout


def _look_into_the_database(wanted: list[str]) -> None:
    """Its files as they are, write-ahead log included; that the look sees something is shown by what is no secret."""
    found = _sh(
        "lxc104",
        f"grep -aohE '{'|'.join(map(re.escape, [*wanted, 'c4nar[y]', TRAEFIK]))}' /var/lib/certagent/collector.db*",
    )
    assert set(found.split()) == {TRAEFIK}
