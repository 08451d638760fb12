"""Zero-risk adoption: certbot and Traefik's own ACME renew for themselves, live, at the real CA; certagent watches.

On a guest of Debian 13. What is served is compared with what lies on disk, the challenge's way is looked at from beside
the CA, expiry and faults are told; and what goes well makes no noise.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.lab.places import CONTAINERS, TREE
from deploy.lab.processes import run
from deploy.story import witness
from tests.e2e import guest
from tests.e2e.fleet import check_one, codes, restart_ca, until

pytestmark = pytest.mark.lab

NODE, NAME, ADDRESS = guest.NODE.name, guest.NAME, guest.NODE.address
DIRECTORY = "https://ca.internal.thinkheads.ai:9000/acme/acme/directory"
LIVE = f"/etc/letsencrypt/live/{NAME}"

_CERTBOT = "REQUESTS_CA_BUNDLE=/etc/certagent/root_ca.crt certbot --non-interactive"
_FIRST = (
    f"{_CERTBOT} certonly --agree-tos --register-unsafely-without-email --server {DIRECTORY} --webroot -w /var/www/html"
    f" -d {NAME}"
)
_RENEW = f"{_CERTBOT} renew --force-renewal --no-random-sleep-on-renew"
_AS_BY_ITS_TIMER = f"{_CERTBOT} -q renew --no-random-sleep-on-renew"
_FORGET = "systemctl stop certagent-agent; rm /var/lib/certagent/records/seen-*; systemctl start certagent-agent"
"""Nobody renews as often as these tests do: together they would be `cert.reissue_loop`, and rightly so."""
_HOOK = "/etc/letsencrypt/renewal-hooks/deploy/nginx"

_HTTP = f"server {{ listen 80; server_name {NAME}; root /var/www/html; }}\n"
_HTTPS = f"""
server {{
    listen 443 ssl; server_name {NAME};
    ssl_certificate {LIVE}/fullchain.pem; ssl_certificate_key {LIVE}/privkey.pem;
}}
"""

_COLLECTOR = """
[collector]
url = "https://collector.internal.thinkheads.ai:8843"
addresses = ["10.0.0.104"]
"""
_POLICY = '[proof]\nlook_every = "2s"\n'

_STATIC = f"""
entryPoints: {{web: {{address: ":80"}}, websecure: {{address: ":443"}}}}
providers: {{file: {{directory: /etc/traefik/dynamic}}}}
certificatesResolvers:
  step:
    acme:
      caServer: {DIRECTORY}
      caCertificates: [/etc/certagent/root_ca.crt]
      certificatesDuration: 1
      storage: /etc/traefik/acme.json
      httpChallenge: {{entryPoint: web}}
"""
_DYNAMIC = f"""
http:
  routers:
    shop: {{entryPoints: [websecure], rule: "Host(`{NAME}`)", service: noop@internal, tls: {{certResolver: step}}}}
"""


def _install(*words: str) -> str:
    installer = str(TREE / "deploy" / "lxc" / "install")
    return run([installer, NODE, *words, "--transport", "lxc-attach", "--lxcpath", str(CONTAINERS)])


def _adopt(*imports: str) -> str:
    """`certagent init` writes the configuration; of a person come where the collector is, and how often to look."""
    fingerprint = guest.sh("openssl x509 -in /etc/certagent/root_ca.crt -noout -fingerprint -sha256").partition("=")[2]
    words = f"--directory {DIRECTORY} --fingerprint {fingerprint.strip()} --write {' '.join(imports)}"
    told = guest.sh(f"rm -f /etc/certagent/agent.toml; certagent init {words}")
    guest.write("/etc/certagent/policy.toml", _POLICY)
    add = 'sed -i \'/^name = "lxc105"/a policy = "/etc/certagent/policy.toml"\' /etc/certagent/agent.toml'
    guest.sh(f"{add}; cat >>/etc/certagent/agent.toml <<'END'\n{_COLLECTOR}END")
    return told


@pytest.fixture(scope="module")
def program(guest: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """certagent's program in the guest, and a token for its agent."""
    assert "no service is configured here" in _install()
    told = witness.inside("lxc104", "certagent", "token", "add", NODE, "--json").stdout
    token = tmp_path_factory.mktemp("token") / NODE
    token.touch(mode=0o600)
    token.write_text(json.loads(told)["token"] + "\n")
    return token


def _ca_issues_for(default: str, shortest: str = "5m") -> None:
    """How long the CA's certificates live when nobody asks for another time."""
    edits = (f's/("minTLSCertDuration": ")[^"]*/\\1{shortest}/', f's/("defaultTLSCertDuration": ")[^"]*/\\1{default}/')
    witness.inside("lxc103", "sed", "-Ei", "-e", edits[0], "-e", edits[1], "/etc/step-ca/ca.json")
    restart_ca()


@pytest.fixture
def certbots(green: None, program: Path) -> None:
    """nginx serves what certbot renews, and certagent has been told to watch."""
    if "certbot" in guest.sh("cat /etc/certagent/agent.toml 2>/dev/null || true"):
        guest.sh(_FORGET)
        return
    guest.write("/etc/nginx/conf.d/shop.conf", _HTTP)
    guest.sh("systemctl start nginx")
    guest.sh(_FIRST)
    guest.write("/etc/nginx/conf.d/shop.conf", _HTTP + _HTTPS)
    guest.write(_HOOK, "#!/bin/sh\nsystemctl reload nginx\n")
    guest.sh(f"chmod 755 {_HOOK}; systemctl reload nginx")
    told = _adopt("--import", "/etc/letsencrypt")
    assert f"certbot renews {LIVE}/fullchain.pem" in told
    _install("--role", "agent", "--token", str(program))


def test_certbots_renewals_are_seen_and_make_no_noise(certbots: None) -> None:
    """Renewed, reloaded, served: certagent sees the new one, has nothing to say, and has done nothing."""
    before = until("it is watched", 60, _watched)
    assert (before["manage"], before["due_at"]) == (False, None)
    judgement = check_one(NODE, NAME)
    assert (judgement["verdict"], codes(judgement)) == ("proceed", [])
    assert judgement["rehearsal"]["resolution"]["addresses"][0]["address"] == ADDRESS
    since = _newest()
    guest.sh(_RENEW)
    after = until("the new one is seen", 20, lambda: _another(before))
    assert after["on_disk"]["fingerprint"] == witness.served(ADDRESS, NAME) == _on_disk()
    assert witness.certagent(NODE, "renew", "--force")[1]["certificates"] == []
    guest.sh("systemctl restart certagent-agent")  # its start looks at everything, and tells it
    until("it is looked at again", 30, lambda: _looked(since))
    assert _said(since) == []


def test_a_renewal_that_is_not_served_is_drift_until_it_is(certbots: None) -> None:
    """certbot's hook did not run: the address still serves the old one."""
    before = until("it is watched", 60, _watched)
    guest.sh(f"{_RENEW} --no-directory-hooks")
    drift = until("it is told", 20, lambda: _incident("deploy.drift"))
    assert (drift["culprit"]["node"], drift["culprit"]["address"]) == (NODE, ADDRESS)
    guest.sh("systemctl reload nginx")
    until("it is over", 20, lambda: not _incident("deploy.drift"))
    assert until("the new one is seen", 20, lambda: _another(before))["on_disk"]["fingerprint"] == _on_disk()


def test_what_is_in_the_way_of_certbot_is_told_before_it_is_due(certbots: None) -> None:
    """The founding failure, and certbot is the victim: file, line, certificate."""
    line = f"10.0.0.153 {NAME}"
    witness.inside("lxc103", "sh", "-c", f"echo '{line}' >>/etc/hosts")
    try:
        incident = until("it is told", 20, lambda: _incident("dns.hosts_shadow.authority"))
        assert [one["text"] for one in incident["lines"]] == [line]
        until("the victim is known", 20, lambda: NODE in _victims())
    finally:
        witness.inside("lxc103", "sed", "-i", f"/^{line}$/d", "/etc/hosts")
    until("it is over", 60, lambda: not witness.open_incidents())


def test_certbots_certificate_that_runs_out_is_told(certbots: None) -> None:
    """First that nobody renews it, then that it is over; and certbot, as Debian's timer runs it, ends it."""
    _ca_issues_for("50s", "10s")
    try:
        guest.sh(_RENEW)
        expiring = until("it is told", 60, lambda: _incident("cert.expiring"))
        assert expiring["victims"][0]["node"] == NODE
        until("it has expired", 60, lambda: _incident("cert.expired"))
    finally:
        _ca_issues_for("24h")
    guest.sh(_AS_BY_ITS_TIMER)
    until("it is over", 30, lambda: not witness.open_incidents())
    assert witness.served(ADDRESS, NAME) == _on_disk()


@pytest.fixture
def traefiks(green: None, program: Path) -> None:
    """Traefik serves what its own ACME gets, and certagent has been told to watch."""
    _ca_issues_for("15m")  # less than is left when it renews by itself, which it looks at whenever it starts
    guest.sh("systemctl stop nginx; mkdir -p /etc/traefik/dynamic")
    guest.write("/etc/traefik/traefik.yml", _STATIC)
    guest.write("/etc/traefik/dynamic/shop.yml", _DYNAMIC)
    guest.sh("rm -f /etc/nginx/conf.d/shop.conf; systemctl start traefik")
    until("Traefik has one", 60, lambda: _serves_another(""))
    assert "Traefik's file provider reads /etc/traefik/dynamic" in _adopt()
    _install("--role", "agent", "--token", str(program))
    guest.sh("systemctl restart certagent-agent")


def test_traefiks_own_renewals_are_seen_and_make_no_noise(traefiks: None) -> None:
    """Nothing lies on disk that one could compare; what is served, until when, and its way are watched all the same."""
    before = until("it is watched", 60, _watched_as_traefiks)
    assert (before["manage"], before["due_at"], before["name"]) == (False, None, "traefik")
    judgement = check_one(NODE, NAME)
    assert (judgement["verdict"], codes(judgement)) == ("proceed", [])
    guest.sh("systemctl stop certagent-agent; systemctl restart traefik")
    until("Traefik has renewed", 60, lambda: _serves_another(before["on_disk"]["fingerprint"]))
    since = _newest()
    guest.sh("systemctl start certagent-agent")
    until("it is looked at", 30, lambda: _looked(since))
    assert until("the new one is seen", 20, lambda: _another(before))["on_disk"]["fingerprint"] == witness.served(
        ADDRESS, NAME
    )
    assert _said(since) == []
    assert guest.sh("ls /etc/traefik/dynamic").split() == ["shop.yml"]


def test_a_traefik_that_is_gone_or_falls_back_is_told(traefiks: None) -> None:
    """Stopped it serves nothing; without what its ACME got, its default certificate. What goes wrong at one address is
    one incident, whatever it is next."""
    until("it is watched", 60, _watched)
    guest.sh("systemctl stop traefik")
    until("it is told", 20, lambda: _is_evidence("deploy.not_served"))
    guest.sh("cd /etc/traefik; mv acme.json kept; sed -i 's/certResolver: step//' dynamic/shop.yml")
    guest.sh("systemctl start traefik")
    until("it is told", 20, lambda: _is_evidence("deploy.default_certificate"))
    guest.sh("systemctl stop traefik; mv /etc/traefik/kept /etc/traefik/acme.json")
    guest.write("/etc/traefik/dynamic/shop.yml", _DYNAMIC)
    guest.sh("systemctl start traefik")
    until("it is over", 60, lambda: not witness.open_incidents())


def _serves_another(than: str) -> str | None:
    try:
        seen = witness.served(ADDRESS, NAME)
    except witness.Unseen:
        return None
    return seen if seen != than else None


def _watched() -> dict[str, Any] | None:
    """The collector's word on the guest's certificate, once it is served as it lies on disk."""
    found = next((one for one in witness.items("/v1/certificates") if one["node"] == NODE), None)
    if found is None or found["on_disk"] is None:
        return None
    return found if set(found["served"].values()) == {found["on_disk"]["fingerprint"]} else None


def _watched_as_traefiks() -> dict[str, Any] | None:
    """Not as what the test before had adopted."""
    found = _watched()
    return found if found and found["name"] == "traefik" else None


def _another(before: dict[str, Any]) -> dict[str, Any] | None:
    now = _watched()
    return now if now and now["on_disk"]["fingerprint"] != before["on_disk"]["fingerprint"] else None


def _on_disk() -> str:
    told = guest.sh(f"openssl x509 -in {LIVE}/fullchain.pem -noout -fingerprint -sha256")
    return told.partition("=")[2].strip().replace(":", "").lower()


def _incident(code: str) -> dict[str, Any] | None:
    return next((one for one in witness.open_incidents() if one["code"] == code), None)


def _is_evidence(code: str) -> bool:
    """Whether the code is what an open incident is about, or evidence in it."""
    incidents = (witness.collector(f"/v1/incidents/{one['id']}") for one in witness.open_incidents())
    return any(code in {view["finding"]["code"] for view in incident["findings"]} for incident in incidents)


def _victims() -> set[str]:
    return {one["node"] for incident in witness.open_incidents() for one in incident["victims"]}


def _reports(since: int) -> list[dict[str, Any]]:
    reports = witness.items("/v1/reports")
    return [one for one in reports if one["agent"] == NODE and one["sequence"] > since]


def _newest() -> int:
    return max((one["sequence"] for one in _reports(0)), default=0)


def _looked(since: int) -> bool:
    """After a start: at each certificate, and around for what nobody looks after."""
    about = {scope for one in _reports(since) if one["trigger"] == "start" for scope in one["scopes"]}
    return {f"served:{_watched_name()}", "served:"} <= about


def _watched_name() -> str:
    watched = _watched()
    return str(watched["name"]) if watched else ""


def _said(since: int) -> list[str]:
    """Findings that somebody should do something about."""
    findings = [finding for one in _reports(since) for finding in one["findings"]]
    return [finding["code"] for finding in findings if finding["severity"] != "info"]
