"""The whole fleet goes from one root to another, step by step as `docs/root-rotation.md` says: no client is refused for
a moment, and nothing is trusted that a person has not compared."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.lab import page, places
from deploy.story import witness
from tests.e2e.fleet import restart_ca, until

pytestmark = pytest.mark.lab

NODES = ("lxc101", "lxc102", "lxc103", "lxc104")
CERTIFICATES = {"lxc101": "gateway", "lxc102": "traefik", "lxc104": "collector"}
SERVICES = (
    ("10.0.0.153:443", "nginx.internal.thinkheads.ai"),
    ("10.0.0.12:443", "traefik.internal.thinkheads.ai"),
    ("10.0.0.104:8843", "collector.internal.thinkheads.ai"),
)
AUTHORITY = ("10.0.0.10:9000", "ca.internal.thinkheads.ai")
OLD, NEW = "/etc/certagent/root_ca.crt", "/etc/certagent/root_b.crt"

MAKE = """
cd /etc/step-ca
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout secrets/root_b_key -out certs/root_b.crt -days 3650 -subj '/CN=Root B' 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout secrets/intermediate_b_key -out /root/b.csr -subj '/CN=Intermediate B' 2>/dev/null
printf 'basicConstraints=critical,CA:TRUE,pathlen:0\\nkeyUsage=critical,keyCertSign,cRLSign\\nsubjectKeyIdentifier=hash\\nauthorityKeyIdentifier=keyid\\n' >/root/b.ext
openssl x509 -req -in /root/b.csr -CA certs/root_b.crt -CAkey secrets/root_b_key -CAcreateserial -out certs/intermediate_b.crt -days 3650 -extfile /root/b.ext 2>/dev/null
chown step:step certs/*_b.crt secrets/intermediate_b_key
chmod 600 secrets/*_b_key
"""  # noqa: E501 - commands as a person types them
PUBLISH = """
sed -i 's#"root": .*#"root": ["/etc/step-ca/certs/root_ca.crt", "/etc/step-ca/certs/root_b.crt"],#' /etc/step-ca/ca.json
"""
SWITCH = """
sed -i 's#certs/intermediate_ca.crt#certs/intermediate_b.crt#; s#secrets/intermediate_ca_key#secrets/intermediate_b_key#' /etc/step-ca/ca.json
"""  # noqa: E501 - likewise
RETIRE = """
sed -i 's#"root": .*#"root": "/etc/step-ca/certs/root_b.crt",#' /etc/step-ca/ca.json
"""
WATCH = """
cat {old} {new} >/root/both.crt
while :; do
  for place in {places}; do
    address=${{place%/*}} name=${{place#*/}}
    options="-servername $name -verify_hostname $name -verify_return_error -CAfile /root/both.crt"
    openssl s_client -connect $address $options </dev/null >/root/shake 2>&1 || (date; cat /root/shake) >>/root/refused
    echo >>/root/shaken
  done
  sleep 0.1
done
"""


def _sh(node: str, script: str) -> str:
    return witness.inside(node, "sh", "-euc", script).stdout


def _fingerprint(node: str, file: str) -> str:
    return (
        _sh(node, f"openssl x509 -in {file} -noout -fingerprint -sha256")
        .partition("=")[2]
        .replace(":", "")
        .lower()
        .strip()
    )


def _pin(node: str, *roots: str) -> None:
    """What a person writes into the agent's configuration, and the restart that it needs."""
    listed = ", ".join(f'"{root}"' for root in roots)
    _sh(node, f"sed -i 's#^root = .*#root = [{listed}]#' /etc/certagent/agent.toml; systemctl restart certagent-agent")
    until("the agent answers", 30, lambda: witness.inside(node, "certagent", "status", check=False).returncode != 1)


def _trusted() -> dict[str, list[str]]:
    """As the collector shows it."""
    return {agent["name"]: sorted(agent["roots"]) for agent in witness.items("/v1/agents")}


def _missing(node: str) -> list[str]:
    """What `certagent check` says of further roots."""
    found: list[dict[str, Any]] = witness.certagent(node, "check")[1]["findings"]
    return [finding["explanation"] for finding in found if finding["code"] == "ca.root_missing"]


def _renew(node: str) -> None:
    _, document = witness.certagent(node, "renew", CERTIFICATES[node], "--force")
    (renewed,) = document["certificates"]
    assert renewed["outcome"] in ("done", "found"), renewed


def _shows(address: str, name: str, root: str) -> bool:
    """Whether a client that trusts only that root is content."""
    words = f"-connect {address} -servername {name} -verify_hostname {name} -verify_return_error -CAfile {root}"
    return witness.inside("client", "sh", "-c", f"openssl s_client {words} </dev/null", check=False).returncode == 0


def _let_the_page_trust(root: str) -> None:
    """The lab's own forwarder, through which this test looks at the collector, is a client as well."""
    places.ROOT.write_bytes(places.ROOT.read_bytes() + root.encode())
    record = json.loads((places.RUNTIME / "page.json").read_text())
    os.kill(record["pid"], signal.SIGKILL)
    until("the old forwarder is gone", 5, lambda: page.url() is None)
    start = "from deploy.lab import page; page.start()"
    subprocess.run([sys.executable, "-c", start], cwd=places.TREE, stdout=subprocess.DEVNULL, check=True, timeout=30)
    witness.page.cache_clear()
    until("the page is back", 10, _sees_the_page)


def _sees_the_page() -> bool:
    try:
        return bool(witness.items("/v1/agents"))
    except witness.Unseen:
        return False


@pytest.fixture
def watcher(green: None) -> Iterator[None]:
    """A client that trusts both roots and asks all the time; the lab goes with it, for its root is another one then."""
    yield
    witness.lab("down", show=True)


def test_the_fleet_goes_from_one_root_to_another(watcher: None) -> None:
    """Published, compared and pinned beside the old one, used, and alone at last."""
    _sh("lxc103", MAKE)
    old, new = (_fingerprint("lxc103", f"/etc/step-ca/certs/{name}.crt") for name in ("root_ca", "root_b"))
    root = _sh("lxc103", "cat /etc/step-ca/certs/root_b.crt")
    for node in (*NODES, "client"):
        _sh(node, f"cat >{NEW} <<'END'\n{root}END")
        assert _fingerprint(node, NEW) == new  # the person's part
    _let_the_page_trust(root)
    shaken = " ".join("/".join(place) for place in SERVICES)
    watch = WATCH.format(old=OLD, new=NEW, places=shaken)
    _sh("client", f"cat >/root/watch <<'END'\n{watch}END\nsystemd-run --unit=watch sh /root/watch")

    _sh("lxc103", PUBLISH)
    restart_ca()
    for node in NODES:
        (told, *_) = _missing(node)
        assert new in told
    assert _trusted() == {node: [old] for node in NODES}
    assert any("lxc101, lxc102 and lxc104 do not trust" in told for told in _missing("lxc103"))

    for node in NODES:
        _pin(node, OLD, NEW)
    until("all trust both", 30, lambda: _trusted() == {node: sorted((old, new)) for node in NODES})
    assert [_missing(node) for node in NODES] == [[]] * len(NODES)

    _sh("lxc103", SWITCH)
    restart_ca()
    for node in CERTIFICATES:
        _renew(node)
    for address, name in (*SERVICES, AUTHORITY):
        assert _shows(address, name, NEW)
        assert not _shows(address, name, OLD)

    _sh("lxc103", RETIRE)
    restart_ca()
    for node in NODES:
        _pin(node, NEW)
    until("all trust the new one alone", 30, lambda: _trusted() == {node: [new] for node in NODES})
    for node in CERTIFICATES:
        _renew(node)
    until("no incident is open", 60, lambda: not witness.open_incidents())
    time.sleep(2)
    refused, asked = _sh("client", "cat /root/refused 2>/dev/null || true"), _sh("client", "wc -l </root/shaken")
    assert int(asked) > 100
    assert refused == ""
