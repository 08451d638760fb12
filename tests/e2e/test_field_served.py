"""What people met with certificates as they are served, done again on the lab: cases 02, 10, 17 and 23."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.story import witness
from tests.e2e.fleet import TRAEFIK, restart_agent, restart_ca, until

pytestmark = pytest.mark.lab

NGINX = "nginx.internal.thinkheads.ai"
CONFIGURATION = "/etc/certagent/agent.toml"
_INTERMEDIATE = "/etc/step-ca/certs/intermediate_ca.crt"
_PROVEN = ("done", "found", "kept")


def _sh(node: str, script: str) -> str:
    return witness.inside(node, "sh", "-euc", script).stdout


def _renew(node: str, name: str) -> tuple[str, list[dict[str, Any]]]:
    """(outcome, findings) of a renewal that is asked for."""
    _, document = witness.certagent(node, "renew", name, "--force")
    (one,) = document["certificates"]
    return one["outcome"], one["findings"]


def _codes(findings: list[dict[str, Any]]) -> list[str]:
    return [one["code"] for one in findings if one["severity"] in ("fatal", "error")]


def _fingerprint(node: str, file: str) -> str:
    shown = _sh(node, f"openssl x509 -in {file} -noout -fingerprint -sha256")
    return shown.strip().partition("=")[2].replace(":", "").lower()


def _shown_to(signature: str) -> str:
    """What a client is shown that can use only that kind of signature, in TLS 1.3."""
    words = f"-connect 10.0.0.153:443 -servername {NGINX} -tls1_3 -sigalgs {signature}"
    ask = f"openssl s_client {words} </dev/null 2>/dev/null"
    shown = _sh("client", f"{ask} | openssl x509 -noout -fingerprint -sha256")
    return shown.strip().partition("=")[2].replace(":", "").lower()


@pytest.fixture
def gateway(green: None) -> Iterator[None]:
    """The gateway's files, as they were."""
    _sh("lxc101", f"rm -rf /root/before; mkdir /root/before; cp -a /etc/nginx/conf.d {CONFIGURATION} /root/before")
    yield
    _sh(
        "lxc101",
        f"rm -rf /etc/nginx/conf.d /etc/nginx/ssl-rsa; cp -a /root/before/conf.d /etc/nginx/conf.d;"
        f" cp -a /root/before/agent.toml {CONFIGURATION}; nginx -t -q; systemctl reload nginx",
    )
    restart_agent("lxc101")
    assert _renew("lxc101", "gateway")[0] in _PROVEN


_RSA = """
mkdir /etc/nginx/ssl-rsa; cd /etc/nginx/ssl-rsa
openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=seed -keyout gateway.key -out gateway.crt 2>/dev/null
pair='ssl_certificate /etc/nginx/ssl-rsa/gateway.crt; ssl_certificate_key /etc/nginx/ssl-rsa/gateway.key;'
sed -i "s#\\(ssl_certificate_key .*/ssl/gateway.key;\\)#\\1 $pair#" /etc/nginx/conf.d/gateway.conf
cat >>/etc/certagent/agent.toml <<TOML

[[certificate]]
name = "gateway-rsa"
identifiers = ["nginx.internal.thinkheads.ai", "portainer.phoenix.thinkheads.ai"]
challenge = "http-01"
solver = { kind = "listener", listen = "127.0.0.1:5002" }
key = "rsa-2048"

[[certificate.deploy]]
kind = "nginx"
certificate = "/etc/nginx/ssl-rsa/gateway.crt"
key = "/etc/nginx/ssl-rsa/gateway.key"
prove = ["10.0.0.153:443"]
TOML
nginx -t -q && systemctl reload nginx
"""


def test_an_rsa_and_an_ecdsa_pair_side_by_side(gateway: None) -> None:
    """Case 02. Both are done and kept, each proven by a handshake of its own kind; there is no incident."""
    _sh("lxc101", _RSA)
    restart_agent("lxc101")
    for name in ("gateway-rsa", "gateway"):
        outcome, findings = _renew("lxc101", name)
        assert (outcome in _PROVEN, _codes(findings)) == (True, []), findings
    assert _shown_to("RSA-PSS+SHA256") == _fingerprint("lxc101", "/etc/nginx/ssl-rsa/gateway.crt")
    assert _shown_to("ECDSA+SHA256") == _fingerprint("lxc101", "/etc/nginx/ssl/gateway.crt")
    _, status = witness.certagent("lxc101", "status")
    assert _codes(status["findings"]) == []
    assert witness.open_incidents() == []


def test_a_corrected_group_is_applied_by_the_next_try(gateway: None) -> None:
    """Case 17. The first one fails as it should; the second has the group that the fix names, and the incident ends."""
    _sh("lxc101", f'sed -i \'s/^group = "root"/group = "root"\\nreader = "www-data"/\' {CONFIGURATION}')
    restart_agent("lxc101")
    outcome, findings = _renew("lxc101", "gateway")
    assert (outcome, _codes(findings)) == ("failed", ["deploy.unreadable_by_service"]), findings
    assert "Set `group`" in findings[0]["fix"]
    until("there is an incident", 20, witness.open_incidents)
    _sh("lxc101", f'sed -i \'s/^group = "root"/group = "www-data"/\' {CONFIGURATION}')
    restart_agent("lxc101")
    outcome, findings = _renew("lxc101", "gateway")
    assert (outcome in _PROVEN, _codes(findings)) == (True, []), findings
    assert _sh("lxc101", "stat -Lc '%U:%G %a' /etc/nginx/ssl/gateway.key").strip() == "root:www-data 640"
    assert _sh("lxc101", "runuser -u www-data -- head -c 10 /etc/nginx/ssl/gateway.key") == "-----BEGIN"
    assert witness.served("10.0.0.153", NGINX) == _fingerprint("lxc101", "/etc/nginx/ssl/gateway.crt")
    until("no incident is left", 20, lambda: not witness.open_incidents())


def test_a_key_that_only_nginx_s_worker_reads(gateway: None) -> None:
    """Case 10. It is not even tried; the key that the worker's user cannot read is named, with the line that makes it
    the reader. With the group that the fix asks for it goes live."""
    _sh(
        "lxc101",
        "sed -i 's#/etc/nginx/ssl/gateway\\.#/etc/nginx/ssl/$mycert.#' /etc/nginx/conf.d/gateway.conf;"
        " echo 'map $ssl_server_name $mycert { default gateway; }' > /etc/nginx/conf.d/00-map.conf;"
        " nginx -t -q && systemctl reload nginx",
    )
    outcome, findings = _renew("lxc101", "gateway")
    assert (outcome, _codes(findings)) == ("failed", ["deploy.unreadable_by_service"]), findings
    assert findings[0]["culprit"]["file"] == "/etc/nginx/ssl/gateway.key"
    assert "/etc/nginx/conf.d/gateway.conf:" in findings[0]["explanation"]
    assert "$mycert" in findings[0]["explanation"]

    def named() -> bool:
        found = [(one["culprit"]["node"], one["culprit"]["file"]) for one in witness.open_incidents()]
        return ("lxc101", "/etc/nginx/ssl/gateway.key") in found

    until("the incident names the key", 20, named)
    _sh("lxc101", f'sed -i \'s/^group = "root"/group = "www-data"/\' {CONFIGURATION}')
    restart_agent("lxc101")
    outcome, findings = _renew("lxc101", "gateway")
    assert (outcome in _PROVEN, _codes(findings)) == (True, []), findings
    assert witness.served("10.0.0.153", NGINX) == _fingerprint("lxc101", "/etc/nginx/ssl/gateway.crt")
    until("no incident is left", 60, lambda: not witness.open_incidents())


def test_a_port_behind_the_proxy_protocol(gateway: None) -> None:
    """Without `proxy_protocol` it is said that nothing is proven there, with the line; with it the pair is proven."""
    _sh("lxc101", "sed -i 's/listen 443 ssl/listen 443 ssl proxy_protocol/' /etc/nginx/conf.d/gateway.conf")
    _sh("lxc101", "nginx -t -q && systemctl reload nginx")
    outcome, findings = _renew("lxc101", "gateway")
    assert (outcome in _PROVEN, _codes(findings)) == (True, []), findings
    (unproven,) = [one for one in findings if one["code"] == "deploy.unproven"]
    assert (unproven["culprit"]["file"], unproven["culprit"]["line"]) == ("/etc/nginx/conf.d/gateway.conf", 9)
    written = '{ address = "10.0.0.153:443", proxy_protocol = true }'
    _sh("lxc101", f"sed -i 's/^prove = .*/prove = [{written}]/' {CONFIGURATION}")
    restart_agent("lxc101")
    before = _fingerprint("lxc101", "/etc/nginx/ssl/gateway.crt")
    outcome, findings = _renew("lxc101", "gateway")
    assert (outcome in _PROVEN, [one["code"] for one in findings if one["code"].startswith("deploy.")]) == (True, [])
    assert _fingerprint("lxc101", "/etc/nginx/ssl/gateway.crt") != before
    _, status = witness.certagent("lxc101", "status")
    (certificate,) = status["certificates"]
    assert certificate["served"] == {"10.0.0.153:443": certificate["on_disk"]["fingerprint"]}


# --- an intermediate that ends before the leaf ------------------------------------------------------------------------


def _signed_anew(seconds: int) -> str:
    """The CA's intermediate, PEM: the same key and name, signed by the root to end so soon."""
    old = x509.load_pem_x509_certificate(_sh("lxc103", f"cat {_INTERMEDIATE}").encode())
    key = serialization.load_pem_private_key(_sh("lxc103", "cat /etc/step-ca/secrets/root_ca_key").encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer_name=old.issuer,
        subject_name=old.subject,
        public_key=old.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(minutes=1),
        not_valid_after=now + timedelta(seconds=seconds),
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


_LIVES = 100


@pytest.fixture
def intermediate(green: None) -> Iterator[None]:
    """The CA's own, put back at the end if it is not there by then; both certificates renewed."""
    _sh("lxc103", f"cp -p {_INTERMEDIATE} /root/intermediate.before")
    yield
    _put_back()
    for node, name in (("lxc101", "gateway"), ("lxc102", "traefik")):
        assert _renew(node, name)[0] in _PROVEN


def _put_back() -> None:
    _sh("lxc103", f"cp -p /root/intermediate.before {_INTERMEDIATE}")
    restart_ca()


def _shorten(seconds: int) -> None:
    _sh("lxc103", f"cat >{_INTERMEDIATE} <<PEM\n{_signed_anew(seconds)}PEM\n")
    restart_ca()


def _accepts(address: str, name: str) -> bool:
    """Whether curl on the client does, with the root that it trusts."""
    ask = f"curl -sS --cacert /etc/certagent/root_ca.crt --connect-to ::{address}: -o /dev/null https://{name}/"
    return witness.inside("client", "sh", "-c", ask, check=False).returncode == 0


def test_a_chain_that_ends_first_is_renewed_in_time(intermediate: None) -> None:
    """Case 23. The CA has a good intermediate again before the short one ends: both are renewed by themselves, and
    clients go on."""
    _shorten(_LIVES)
    ends_at = time.monotonic() + _LIVES
    for node, name in (("lxc102", "traefik"), ("lxc101", "gateway")):
        outcome, findings = _renew(node, name)
        assert outcome in _PROVEN, findings
        (finding,) = [one for one in findings if one["code"] == "cert.chain_ends_first"]
        assert (finding["culprit"]["node"], finding["culprit"]["file"]) == ("lxc103", _INTERMEDIATE)
    (incident,) = until("there is an incident", 20, witness.open_incidents)
    assert (incident["culprit"]["node"], incident["culprit"]["file"]) == ("lxc103", _INTERMEDIATE)
    _put_back()
    while time.monotonic() < ends_at + 20:
        assert _accepts("10.0.0.12", TRAEFIK)
        assert _accepts("10.0.0.153", NGINX)
        time.sleep(2)
    until("no incident is left", 20, lambda: not witness.open_incidents())


def test_a_chain_that_stays_short_is_one_incident_and_no_loop(intermediate: None) -> None:
    """The CA keeps the intermediate: nothing is ordered for it again, and one message names the certificate."""
    _shorten(_LIVES)
    since = len(witness.messages())
    assert _renew("lxc102", "traefik")[0] in _PROVEN
    until("there is an incident", 20, witness.open_incidents)
    ordered = witness.orders()
    time.sleep(_LIVES + 10)
    assert witness.orders() == ordered
    incident, *others = witness.open_incidents()
    assert not others
    assert (incident["culprit"]["node"], incident["culprit"]["file"]) == ("lxc103", _INTERMEDIATE)
    assert TRAEFIK in [victim["identifier"] for victim in incident["victims"]]
    assert any("traefik" in json.dumps(message) for message in witness.messages()[since:])
    code, _ = witness.certagent("lxc102", "status")
    assert code == 4
    _put_back()
    until("a client accepts it", 120, lambda: _accepts("10.0.0.12", TRAEFIK))
    until("no incident is left", 30, lambda: not witness.open_incidents())
