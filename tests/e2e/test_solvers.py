"""Other ways to answer the challenge, on the gateway's real nginx; and what a person asks of an account."""

from collections.abc import Callable, Iterator

import pytest

from deploy.story import witness
from tests.e2e import fleet
from tests.e2e.fleet import TRAEFIK, until

pytestmark = pytest.mark.lab

NAMES = fleet.IDENTIFIERS["lxc101"]
SNIPPET = "/etc/nginx/snippets/certagent-challenge.conf"

_ANSWER_WITH = """
cp -p /etc/certagent/agent.toml /root/agent.toml.before
[ -e /root/snippet.before ] || cp -p "$1" /root/snippet.before
sed -i "s|^solver = .*|solver = $2|" /etc/certagent/agent.toml
nginx -t && nginx -s reload
systemctl restart certagent-agent
"""
_AS_BEFORE = """
[ ! -e /root/agent.toml.before ] || mv /root/agent.toml.before /etc/certagent/agent.toml
[ ! -e /root/snippet.before ] || mv /root/snippet.before "$1"
rm -rf /var/www/challenge
nginx -s reload
systemctl restart certagent-agent
"""


@pytest.fixture
def answer_with(green: None) -> Iterator[Callable[[str], None]]:
    """Gives the gateway's agent another solver; as before at the end."""

    def use(solver: str) -> None:
        witness.inside("lxc101", "sh", "-c", _ANSWER_WITH, "sh", SNIPPET, solver)

    yield use
    witness.inside("lxc101", "sh", "-c", _AS_BEFORE, "sh", SNIPPET)


def test_nginx_answers_by_the_accounts_thumbprint(answer_with: Callable[[str], None]) -> None:
    """What `certagent account` prints is what nginx includes; a rehearsal passes through it, and an order."""
    witness.inside("lxc101", "cp", "-p", SNIPPET, "/root/snippet.before")
    answer_with(f'{{ kind = "stateless", snippet = "{SNIPPET}" }}')
    blocked = until("it is seen on the node itself", 30, lambda: _codes("http01.responder_absent"))
    assert blocked["culprit"]["file"] == SNIPPET
    witness.inside("lxc101", "sh", "-c", f"certagent account >{SNIPPET} && nginx -t && nginx -s reload")
    _renews()


def test_nginx_serves_the_challenge_from_a_folder(answer_with: Callable[[str], None]) -> None:
    """Readable for its workers, gone afterwards."""
    location = "location ^~ /.well-known/acme-challenge/ { root /var/www/challenge; keepalive_timeout 0; }"
    witness.inside("lxc101", "cp", "-p", SNIPPET, "/root/snippet.before")
    witness.inside("lxc101", "sh", "-c", f"mkdir -p /var/www/challenge && echo '{location}' >{SNIPPET}")
    answer_with('{ kind = "webroot", path = "/var/www/challenge" }')
    _renews()
    left = witness.inside("lxc101", "find", "/var/www/challenge", "-type", "f").stdout
    assert left == ""


COLLECTOR = fleet.IDENTIFIERS["lxc104"][0]
_BY_TLS = """
cp -p /etc/certagent/agent.toml /root/agent.toml.before
solver='{ kind = "listener", listen = "0.0.0.0:443" }'
sed -i "s|^challenge = .*|challenge = 'tls-alpn-01'|; s|^solver = .*|solver = $solver|" /etc/certagent/agent.toml
systemctl restart certagent-agent
"""
_AS_IT_WAS = """
mv /root/agent.toml.before /etc/certagent/agent.toml
systemctl restart certagent-agent
"""
_LEADS_ELSEWHERE = f"10.0.0.153 {COLLECTOR}"


@pytest.fixture
def by_tls(green: None) -> Iterator[None]:
    """The collector's node answers by TLS; as before at the end."""
    witness.inside("lxc104", "sh", "-euc", _BY_TLS)
    yield
    witness.inside("lxc104", "sh", "-euc", _AS_IT_WAS)


def test_the_agent_answers_by_tls(by_tls: None) -> None:
    """The rehearsal passes, and an order; where the CA is led to a web server instead, the line is named before."""
    until("a check proceeds", 30, lambda: witness.inside("lxc104", "certagent", "check", check=False).returncode == 0)
    judgement = fleet.check_one("lxc104", COLLECTOR)
    assert (judgement["rehearsal"]["outcome"], judgement["findings"]) == ("passed", [])
    orders = witness.orders()
    status, document = witness.certagent("lxc104", "renew", "--force")
    assert status == 0, document
    assert witness.orders() == orders + 1
    witness.inside("lxc103", "sh", "-c", f"echo {_LEADS_ELSEWHERE} >>/etc/hosts")
    try:
        until("the CA is led elsewhere", 30, lambda: fleet.check_one("lxc104", COLLECTOR)["verdict"] == "block")
        blocked = fleet.check_one("lxc104", COLLECTOR)
        assert (blocked["rehearsal"]["outcome"], blocked["findings"][0]["code"]) == (
            "failed",
            "dns.hosts_shadow.authority",
        )
        assert blocked["findings"][0]["culprit"]["text"] == _LEADS_ELSEWHERE
        assert witness.certagent("lxc104", "renew", "--force")[1]["certificates"][0]["outcome"] in ("blocked", "kept")
        assert witness.orders() == orders + 1
    finally:
        witness.inside("lxc103", "sed", "-i", f"/^{_LEADS_ELSEWHERE}$/d", "/etc/hosts")


def test_what_is_revoked_is_replaced_at_once(green: None) -> None:
    """Another one is served, and the account is the one that was."""
    before = witness.served("10.0.0.12", TRAEFIK)
    status, document = witness.certagent("lxc102", "revoke", "traefik", "--reason", "superseded")
    assert (status, document["revoked"]) == (0, before), document
    assert witness.served("10.0.0.12", TRAEFIK) == document["renewed"]["fingerprint"] != before
    status, account = witness.certagent("lxc102", "account")
    assert status == 0
    assert account["url"].startswith("https://ca.internal.thinkheads.ai:9000/acme/acme/account/")


def _renews() -> None:
    """The rehearsal passes and an order is issued, deployed, proven."""
    until("a check proceeds", 30, lambda: witness.inside("lxc101", "certagent", "check", check=False).returncode == 0)
    for one in witness.certagent("lxc101", "check")[1]["identifiers"]:
        assert one["rehearsal"]["outcome"] == "passed", one
    orders = witness.orders()
    status, document = witness.certagent("lxc101", "renew", "--force")
    assert status == 0, document
    assert witness.orders() == orders + 1
    (gateway,) = document["certificates"]
    assert witness.served("10.0.0.153", NAMES[0]) == gateway["fingerprint"]


def _codes(code: str) -> dict[str, dict[str, str]] | None:
    """That finding of the first identifier, when the agent answers and has it."""
    done = witness.inside("lxc101", "certagent", "check", NAMES[0], "--json", check=False)
    if done.returncode != 4:
        return None
    found = fleet.check_one("lxc101", NAMES[0])["findings"]
    return next((finding for finding in found if finding["code"] == code), None)
