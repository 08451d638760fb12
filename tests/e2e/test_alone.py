"""Smaller set-ups than a whole fleet, on the lab: an agent without a collector, a collector without an agent beside the
CA, and one agent in the CA's own container. Each renews, and `check` says what it sees and what it does not see."""

from collections.abc import Iterator

import pytest

from deploy.story import witness
from tests.e2e.fleet import IDENTIFIERS, TRAEFIK, check, check_one, codes, restart_agent, until

pytestmark = pytest.mark.lab

CONFIGURATION, RECORD = "/etc/certagent/agent.toml", "/etc/dnsmasq.d/alone.conf"
CA, WEB, ELSEWHERE = "lxc103", "web.internal.thinkheads.ai", "10.0.0.153"
OWN = "ca.internal.thinkheads.ai"
"""On the CA's node it leads to 127.0.0.1, as Debian has it of a node's own name."""
SOON = 30.0
"""Seconds; the machine may be busy."""
_WITHOUT_COLLECTOR = f"sed -i '/^\\[collector\\]/,/^$/d' {CONFIGURATION}"
_CERTIFICATE = f"""
[[certificate]]
name = "beside"
identifiers = ["{WEB}", "{OWN}"]
solver = {{ kind = "listener", listen = "0.0.0.0:80" }}

[[certificate.deploy]]
kind = "command"
certificate = "/etc/alone/tls.crt"
key = "/etc/alone/tls.key"
command = ["true"]
"""


def _sh(node: str, script: str) -> str:
    return witness.inside(node, "sh", "-euc", script).stdout


def _renew(node: str, name: str) -> str:
    _, document = witness.certagent(node, "renew", name, "--force")
    return str(document["certificates"][0]["outcome"])


@pytest.fixture
def alone(green: None) -> Iterator[None]:
    """Configurations, hosts file and agents as they were, afterwards."""
    nodes = ("lxc102", CA)
    for node in nodes:
        _sh(node, f"cp -a {CONFIGURATION} /root/agent.toml; cp -a /etc/hosts /root/hosts")
    yield
    for node in nodes:
        _sh(node, f"cat /root/hosts >/etc/hosts; cp -a /root/agent.toml {CONFIGURATION}; rm -rf /etc/alone")
        restart_agent(node)
    _sh("lxc101", f"rm -f {RECORD}; systemctl restart dnsmasq")
    until("all proceed", SOON, lambda: all(check(node)["verdict"] == "proceed" for node in IDENTIFIERS))


def test_an_agent_without_a_collector(alone: None) -> None:
    """It renews and proves, and finds a wrong line of its own; the challenge's path is unverified, and that is said."""
    _sh("lxc102", _WITHOUT_COLLECTOR)
    restart_agent("lxc102")
    status, document = witness.certagent("lxc102", "check")
    (judgement,) = document["identifiers"]
    assert (status, codes(judgement), codes(document)) == (3, ["ca.vantage_missing"], ["agent.alone"])
    assert document["findings"][0]["explanation"].startswith("lxc102 works alone.")
    assert _renew("lxc102", "traefik") == "done"
    _sh("lxc102", f"echo '{ELSEWHERE} {TRAEFIK}' >>/etc/hosts")
    (judgement,) = check("lxc102")["identifiers"]
    (shadow,) = [finding for finding in judgement["findings"] if finding["code"] == "dns.hosts_shadow.client"]
    assert (shadow["culprit"]["node"], shadow["culprit"]["file"]) == ("lxc102", "/etc/hosts")


def test_a_collector_without_an_agent_beside_the_ca(alone: None) -> None:
    """It renews and reports; what is missing is said, with the reason."""
    _sh(CA, "systemctl stop certagent-agent")
    until("it is gone", SOON, lambda: "ca.vantage_missing" in codes(check("lxc102")["identifiers"][0]))
    status, document = witness.certagent("lxc102", "check")
    (judgement,) = document["identifiers"]
    assert (status, codes(judgement), codes(document)) == (3, ["ca.vantage_missing"], [])
    assert "no agent beside the CA is connected" in judgement["findings"][0]["explanation"]
    assert _renew("lxc102", "traefik") == "done"


def test_one_agent_in_the_cas_own_container(alone: None) -> None:
    """It rehearses by itself, from where the CA looks; a wrong line of the CA's is found before the order is lost."""
    _sh("lxc101", f"echo 'host-record={WEB},10.0.0.10' >{RECORD}; systemctl restart dnsmasq")
    _sh(CA, f"{_WITHOUT_COLLECTOR}; mkdir -p /etc/alone; cat >>{CONFIGURATION} <<'END'\n{_CERTIFICATE}END")
    restart_agent(CA)
    until("it is renewed", SOON, lambda: _sh(CA, "ls /etc/alone").count("tls.crt"))
    status, document = witness.certagent(CA, "check")
    assert (status, document["verdict"]) == (0, "proceed")
    for judgement in document["identifiers"]:
        assert codes(judgement) == []
        assert (judgement["rehearsal"]["outcome"], judgement["rehearsal"]["node"]) == ("passed", CA)
    (said,) = document["findings"]
    assert (said["code"], said["severity"]) == ("agent.alone", "info")
    assert "the challenge's path from the CA. It does not see other nodes' files" in said["explanation"]
    _sh(CA, f"sed -i '1i {ELSEWHERE} {WEB}' /etc/hosts")
    until("it is blocked", SOON, lambda: check(CA)["verdict"] == "block")
    judgement = check_one(CA, WEB)
    first = judgement["findings"][0]
    assert first["code"] == "dns.hosts_shadow.authority"
    culprit = first["culprit"]
    assert (culprit["node"], culprit["file"], culprit["line"]) == (CA, "/etc/hosts", 1)
    assert _renew(CA, "beside") == "blocked"
