"""What is served is not what was proven; what others renew is watched only. On the real nginx and the real Traefik."""

from collections.abc import Iterator
from typing import Any

import pytest

from deploy.story import witness
from tests.e2e.fleet import check_one, codes, until

pytestmark = pytest.mark.lab

NGINX = "nginx.internal.thinkheads.ai"
_SSL = "/etc/nginx/ssl"
_AGENT = "/etc/certagent/agent.toml"
_MAKE = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 10 -subj /CN=x -addext"
    f" subjectAltName=DNS:{NGINX},DNS:portainer.phoenix.thinkheads.ai"
)
"""A pair of somebody else's for the gateway's names."""


def _sh(node: str, script: str) -> str:
    return witness.inside(node, "sh", "-euc", script).stdout


def _incident(code: str, seconds: float = 20) -> dict[str, Any]:
    """The open incident with that code, once it is there."""

    def look() -> dict[str, Any] | None:
        return next((one for one in witness.open_incidents() if one["code"] == code), None)

    return until(f"there is an incident {code}", seconds, look)


def _no_incident() -> None:
    until("every incident is resolved", 60, lambda: not witness.open_incidents())


def test_a_pair_that_somebody_overwrote_is_drift_at_once(green: None) -> None:
    """The file event tells; who and when is said; a forced renewal puts it right."""
    _sh("lxc101", f"{_MAKE} -keyout /root/x.key -out /root/x.crt 2>/dev/null; cp /root/x.crt {_SSL}/gateway.crt")
    incident = _incident("deploy.drift")
    assert (incident["culprit"]["node"], incident["culprit"]["file"]) == ("lxc101", f"{_SSL}/gateway.crt")
    assert "belongs to root" in incident["explanation"]
    assert {victim["certificate"] for victim in incident["victims"]} == {"gateway"}
    assert witness.certagent("lxc101", "renew", "--force")[1]["certificates"][0]["outcome"] in ("done", "found")
    _no_incident()


@pytest.fixture
def observed(green: None) -> Iterator[None]:
    """The gateway's certificate as one that somebody else renews: plain files that nginx serves."""
    _sh(
        "lxc101",
        f"cp -a {_AGENT} /root/agent.toml; sed -i 's|^challenge.*|manage = false|; /^solver/d' {_AGENT};"
        f" cp -a {_SSL} /root/ssl; rm -r {_SSL}; mkdir {_SSL}; cp -L /root/ssl/gateway.* {_SSL}/;"
        " systemctl restart certagent-agent",
    )
    yield
    _sh(
        "lxc101",
        f"cp -a /root/agent.toml {_AGENT}; rm -r {_SSL}; mv /root/ssl {_SSL}; systemctl restart nginx;"
        " systemctl restart certagent-agent",
    )
    _no_incident()


def test_what_others_renew_is_watched_only(observed: None) -> None:
    """On disk, served, rehearsed as far as one can; a renewal that did not reach the service, one that comes too late
    and one that is over are told; nothing is ever ordered or written."""
    ordered = witness.orders()
    (status,) = witness.certagent("lxc101", "status")[1]["certificates"]
    assert (status["manage"], status["due_at"]) == (False, None)
    assert set(status["served"].values()) == {status["on_disk"]["fingerprint"]}
    assert witness.certagent("lxc101", "renew", "--force")[1]["certificates"] == []
    judgement = check_one("lxc101", NGINX)
    assert (judgement["verdict"], codes(judgement)) == ("proceed", [])
    assert judgement["rehearsal"]["resolution"]["addresses"][0]["address"] == "10.0.0.153"

    made = f"{_MAKE} -keyout {_SSL}/gateway.key -out {_SSL}/gateway.crt 2>/dev/null"
    _sh("lxc101", f"faketime -f -9d {made}")
    assert _incident("deploy.drift")["culprit"]["address"] == "10.0.0.153"  # on disk, but not reloaded
    _sh("lxc101", "systemctl reload nginx")
    until(  # the collector, which knows less, may be the first to say so
        "the agent says who renews it",
        90,
        lambda: "the program that renews it" in _incident("cert.expiring", 90)["explanation"],
    )
    _sh("lxc101", f"faketime -f -20d {made}; systemctl reload nginx")
    assert "expired" in _incident("cert.expired", 90)["explanation"]
    assert witness.orders() == ordered


_SEEN = "/var/lib/certagent/records/seen-gateway.json"


def test_what_is_issued_again_and_again_is_told(observed: None) -> None:
    """Whoever else renews it, and however well each one is served."""
    try:
        for _ in range(5):
            _sh("lxc101", f"{_MAKE} -keyout {_SSL}/gateway.key -out {_SSL}/gateway.crt 2>&1; systemctl reload nginx")
            until("it is seen", 90, _is_seen)
        incident = _incident("cert.reissue_loop")
        assert "reissued 4 times within" in incident["explanation"]
        assert {victim["certificate"] for victim in incident["victims"]} == {"gateway"}
    finally:
        _sh("lxc101", f"systemctl stop certagent-agent; rm {_SEEN}")


def _is_seen() -> bool:
    """Whether the agent remembers what is on disk."""
    words = f"openssl x509 -in {_SSL}/gateway.crt -noout -fingerprint -sha256; cat {_SEEN} || true"
    shown, _, seen = _sh("lxc101", words).partition("\n")
    return shown.partition("=")[2].replace(":", "").lower() in seen


def test_the_way_of_what_others_renew_is_looked_at(observed: None) -> None:
    """Nobody plants, and yet it shows where nobody answers, and where the name leads nowhere."""
    _sh("lxc101", "systemctl stop nginx")
    try:
        judgement = check_one("lxc101", NGINX)
        assert (judgement["verdict"], codes(judgement)[0]) == ("block", "net.refused")
    finally:
        _sh("lxc101", "systemctl start nginx")


_RESOLVER = "https://ca.internal.thinkheads.ai:9000/acme/acme/directory"


def test_what_nobody_owns_is_told(green: None) -> None:
    """A server of nginx's with a pair of its own; a resolver of Traefik's that does not know how long the CA's live."""
    _sh(
        "lxc101",
        "echo 'server { listen 443 ssl; server_name wiki.internal; ssl_certificate /etc/nginx/wiki.crt;"
        " ssl_certificate_key x.key; }' > /etc/nginx/conf.d/wiki.conf; systemctl restart certagent-agent",
    )
    _sh(
        "lxc102",
        f"printf 'certificatesResolvers:\\n  step:\\n    acme:\\n      caServer: {_RESOLVER}\\n'"
        " >> /etc/traefik/traefik.yml; systemctl restart certagent-agent",
    )
    try:
        found = _incident("traefik.renews_too_late")
        assert found["culprit"]["file"] == "/etc/traefik/traefik.yml"
        assert found["lines"][0]["text"] == f"caServer: {_RESOLVER}"
        journal = "journalctl -u certagent-agent -o cat --no-pager"
        until("it is told", 20, lambda: "cert.unmanaged: nginx serves" in _sh("lxc101", journal))
    finally:
        _sh("lxc101", "rm /etc/nginx/conf.d/wiki.conf; systemctl restart certagent-agent")
        _sh("lxc102", "sed -i '/^certificatesRes/,$d' /etc/traefik/traefik.yml; systemctl restart certagent-agent")
    _no_incident()
