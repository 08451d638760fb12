"""What people met with incidents that were too many, too few or too long, done again on the lab: cases 09, 18, 21, 24
and 25."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from deploy.story import witness
from tests.e2e import fleet
from tests.e2e.fleet import TRAEFIK, restart_agent, until

pytestmark = pytest.mark.lab

NGINX = "nginx.internal.thinkheads.ai"
PORTAINER = "portainer.phoenix.thinkheads.ai"
SHOP = "shop.internal.thinkheads.ai"
CONFIGURATION = "/etc/certagent/agent.toml"
GATEWAY = "/etc/nginx/conf.d/gateway.conf"
_PROVEN = ("done", "found", "kept")


def _sh(node: str, script: str) -> str:
    return witness.inside(node, "sh", "-euc", script).stdout


def _renew(node: str, name: str) -> tuple[str, int]:
    """(outcome, exit status) of a renewal that is asked for."""
    status, document = witness.certagent(node, "renew", name, "--force")
    (one,) = document["certificates"]
    return one["outcome"], status


def _places() -> list[tuple[str, str | None, list[str]]]:
    """Of each open incident: node, file, and whom it concerns."""
    return sorted(
        (one["culprit"]["node"], one["culprit"]["file"], sorted({victim["identifier"] for victim in one["victims"]}))
        for one in witness.open_incidents()
    )


def _named(document: dict[str, Any]) -> set[str]:
    """Every file that a check names."""
    findings = (finding for judgement in document["identifiers"] for finding in judgement["findings"])
    return {finding["culprit"]["file"] for finding in findings if finding["culprit"] and finding["culprit"]["file"]}


def _watch_openings(since: int, seconds: float) -> list[str]:
    """The titles of the messages that open an incident, once that time has passed."""
    time.sleep(seconds)
    return fleet.openings(fleet.sent_messages(since))


@pytest.fixture
def gateway(green: None) -> Iterator[None]:
    """The gateway's files, as they were."""
    _sh(
        "lxc101",
        f"rm -rf /root/before; mkdir /root/before; cp -a /etc/nginx/conf.d /etc/dnsmasq.d {CONFIGURATION} /root/before",
    )
    yield
    _sh(
        "lxc101",
        "rm -rf /etc/nginx/conf.d /etc/nginx/ssl-shop /etc/extra.hosts /etc/dnsmasq.d;"
        " cp -a /root/before/conf.d /etc/nginx/; cp -a /root/before/dnsmasq.d /etc/;"
        f" cp -a /root/before/agent.toml {CONFIGURATION}; nginx -t -q; systemctl reload nginx;"
        " systemctl restart dnsmasq",
    )
    restart_agent("lxc101")


def test_a_name_is_removed_while_its_incident_is_open(gateway: None) -> None:
    """Case 09. Each incident has its one victim, and ends with the name, and then with the certificate."""
    _sh("lxc101", f"sed -i 's/server_name {NGINX} {PORTAINER}/server_name {NGINX}/' {GATEWAY}; systemctl reload nginx")
    until("the CA finds another site", 10, lambda: fleet.check("lxc101")["verdict"] == "block")
    until("one incident has one victim", 20, lambda: _places() == [("lxc101", GATEWAY, [PORTAINER])])
    _sh("lxc101", f"sed -i 's/identifiers = .*/identifiers = [\"{NGINX}\"]/' {CONFIGURATION}")
    restart_agent("lxc101")
    until("it is over", 60, lambda: not witness.open_incidents())
    _sh("lxc101", f"sed -i 's/server_name {NGINX};/server_name x.{NGINX};/' {GATEWAY}; systemctl reload nginx")
    until("the CA finds another site", 10, lambda: fleet.check("lxc101")["verdict"] == "block")
    until("one incident has one victim", 20, lambda: _places() == [("lxc101", GATEWAY, [NGINX])])
    _sh("lxc101", f"sed -i '/^\\[\\[certificate\\]\\]/,$d' {CONFIGURATION}")
    restart_agent("lxc101")
    until("it is over", 60, lambda: not witness.open_incidents())
    until(
        "its certificate is gone",
        10,
        lambda: "lxc101" not in {one["node"] for one in witness.items("/v1/certificates")},
    )


def test_a_certificate_is_removed_while_its_agent_is_down(gateway: None) -> None:
    """A member of case 09: nobody is there to say so, and then the state that knew of it is gone as well."""
    _sh("lxc101", f"sed -i 's/listen 80;/listen 8088;/' {GATEWAY}; systemctl reload nginx")
    assert fleet.check("lxc101")["verdict"] == "block"
    until("there is an incident", 20, witness.open_incidents)
    _sh(
        "lxc101",
        f"systemctl stop certagent-agent; sed -i '/^\\[\\[certificate\\]\\]/,$d' {CONFIGURATION};"
        " mkdir /root/state; find /var/lib/certagent -maxdepth 1 -name '*.json' -exec mv {} /root/state/ ';'",
    )
    restart_agent("lxc101")
    until("it is over", 60, lambda: not witness.open_incidents())
    _sh("lxc101", "rm -rf /root/state")


def test_a_name_is_added(gateway: None) -> None:
    """Case 18. Nobody says renew, and there is no incident."""
    since = len(witness.messages())
    _sh(
        "lxc101",
        f"cp {CONFIGURATION} /root/both.toml; sed -i 's/identifiers = .*/identifiers = [\"{NGINX}\"]/' {CONFIGURATION}",
    )
    restart_agent("lxc101")
    assert _renew("lxc101", "gateway")[0] in _PROVEN
    _sh("lxc101", f"mv /root/both.toml {CONFIGURATION}")
    restart_agent("lxc101")
    ask = f"openssl s_client -connect 10.0.0.153:443 -servername {NGINX} </dev/null 2>/dev/null"

    def serves_both() -> bool:
        shown = _sh("client", f"{ask} | openssl x509 -noout -ext subjectAltName")
        return NGINX in shown and PORTAINER in shown

    until("both names are served", 45, serves_both)
    assert witness.certagent("lxc101", "status")[0] == 0
    assert fleet.openings(fleet.sent_messages(since)) == []


def test_a_hosts_file_of_the_nameserver_comes_and_goes(gateway: None) -> None:
    """Case 21. It is named by itself; once file and setting are gone nothing names it, whatever happens next."""
    extra = "/etc/extra.hosts"
    _sh(
        "lxc101",
        f"echo '10.0.0.153 {TRAEFIK}' > {extra}; echo addn-hosts={extra} > /etc/dnsmasq.d/extra.conf;"
        " systemctl restart dnsmasq",
    )

    def is_named() -> bool:
        places = [(one["culprit"]["node"], one["culprit"]["file"]) for one in witness.open_incidents()]
        lines = [line["line"] for one in witness.open_incidents() for line in one["lines"]]
        return places == [("lxc101", extra)] and lines == [1]

    until("the file is named", 50, is_named)
    _sh("lxc101", f"rm {extra} /etc/dnsmasq.d/extra.conf; systemctl restart dnsmasq")
    until("nothing names it", 45, lambda: not witness.open_incidents())
    fleet.break_with("challenge-router-gone")
    found = fleet.check("lxc102")
    assert (found["verdict"], extra in _named(found)) == ("block", False)
    until("there is an incident", 20, witness.open_incidents)
    assert [(node, file) for node, file, _ in _places() if file == extra or node != "lxc102"] == []


_SHOP = f"""
echo 'host-record={SHOP},10.0.0.153' >/etc/dnsmasq.d/shop.conf; systemctl restart dnsmasq
cat >/etc/nginx/conf.d/shop.conf <<NGINX
server {{ listen 80; server_name {SHOP}; include snippets/certagent-challenge.conf; }}
NGINX
mkdir -p /etc/nginx/ssl-shop; cd /etc/nginx/ssl-shop
openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=seed -keyout shop.key -out shop.crt 2>/dev/null
cat >/etc/nginx/conf.d/shop-9443.conf <<NGINX
server {{ listen 9443 ssl; server_name {SHOP}; ssl_certificate /etc/nginx/ssl-shop/shop.crt;
    ssl_certificate_key /etc/nginx/ssl-shop/shop.key; return 204; }}
NGINX
nginx -t -q; systemctl reload nginx
cat >>{CONFIGURATION} <<TOML

[[certificate]]
name = "shopfront"
identifiers = ["{SHOP}"]
challenge = "http-01"
solver = {{ kind = "listener", listen = "127.0.0.1:5002" }}
key = "ecdsa-p256"

[[certificate.deploy]]
kind = "nginx"
certificate = "/etc/nginx/ssl-shop/shop.crt"
key = "/etc/nginx/ssl-shop/shop.key"
prove = ["10.0.0.153:9443"]
TOML
"""


@pytest.fixture
def shop(gateway: None) -> None:
    """One more certificate of the gateway, served at a port of its own."""
    _sh("lxc101", _SHOP)
    restart_agent("lxc101")
    assert _renew("lxc101", "shopfront")[0] in _PROVEN
    fleet.wait_until_green(60)


def test_a_failed_deployment_is_one_incident(shop: None) -> None:
    """Case 24. Nothing listens any more; one incident, one message, and it says which certificate."""
    since = len(witness.messages())
    _sh("lxc101", "rm /etc/nginx/conf.d/shop-9443.conf; systemctl reload nginx")
    assert _renew("lxc101", "shopfront") == ("failed", 4)
    titles = _watch_openings(since, 70)
    ((one,), (title,)) = witness.open_incidents(), titles
    assert [(victim["identifier"], victim["certificate"]) for victim in one["victims"]] == [(SHOP, "shopfront")]
    assert title.startswith("certificate shopfront on lxc101: "), title
    assert [told["headers"]["X-Certagent-Incident"] for told in fleet.sent_messages(since)] == [one["id"]]


def test_one_bad_file_under_two_certificates_is_one_incident(shop: None) -> None:
    """A member of case 24: nginx refuses its configuration, and both deployments fail for it."""
    since = len(witness.messages())
    _sh("lxc101", "echo 'lissten 81;' > /etc/nginx/conf.d/zz-typo.conf")
    assert {_renew("lxc101", name) for name in ("shopfront", "gateway")} == {("failed", 4)}
    titles = _watch_openings(since, 20)
    everybody = sorted([NGINX, PORTAINER, SHOP])
    assert _places() == [("lxc101", "/etc/nginx/conf.d/zz-typo.conf", everybody)]
    assert len(titles) == 1, titles


def test_a_broken_port_is_one_incident(gateway: None) -> None:
    """Case 25. Both names are its victims."""
    since = len(witness.messages())
    _sh("lxc101", f"sed -i 's/listen 80\\b/listen 8088/' {GATEWAY}; nginx -t -q && systemctl reload nginx")
    found = fleet.check("lxc101")
    assert [judgement["verdict"] for judgement in found["identifiers"]] == ["block", "block"]
    titles = _watch_openings(since, 20)
    (one,) = witness.open_incidents()
    assert (one["culprit"]["node"], one["culprit"]["address"]) == ("lxc101", "10.0.0.153")
    assert sorted(victim["identifier"] for victim in one["victims"]) == sorted([NGINX, PORTAINER])
    assert len(titles) == 1, titles


def test_a_stopped_gateway_is_one_incident(gateway: None) -> None:
    """A member of case 25: neither port answers, for a challenge or for what is served."""
    since = len(witness.messages())
    _sh("lxc101", "systemctl stop nginx")
    try:
        assert fleet.check("lxc101")["verdict"] == "block"
        titles = _watch_openings(since, 75)  # what is served is seen within a minute
        (one,) = witness.open_incidents()
    finally:
        _sh("lxc101", "systemctl start nginx")
    assert sorted(victim["identifier"] for victim in one["victims"]) == sorted([NGINX, PORTAINER])
    assert len(titles) == 1, titles


@pytest.mark.parametrize(
    ("node", "service"), [("lxc103", "step-ca"), ("lxc101", "nginx"), ("lxc101", "dnsmasq"), ("lxc102", "traefik")]
)
def test_a_restart_is_told_to_nobody(green: None, node: str, service: str) -> None:
    """Checked by everybody in the very moment, and over within the policy's `after`."""
    since = len(witness.messages())
    with ThreadPoolExecutor() as pool:
        _sh(node, f"systemctl stop {service}")
        try:
            checks = [pool.submit(witness.inside, one, "certagent", "check", check=False) for one in fleet.IDENTIFIERS]
            time.sleep(2)
        finally:
            _sh(node, f"systemctl start {service}")
    assert {check.result().returncode for check in checks} & {1, 3, 4}
    assert _watch_openings(since, 30) == []
    assert witness.open_incidents() == []
