"""A hundred certificates due at once on one real nginx: all issued, deployed and proven, and nginx is reloaded once a
second at most for all of them."""

from collections.abc import Iterator

import pytest

from deploy.story import witness
from tests.e2e.fleet import until

pytestmark = pytest.mark.lab

COUNT = 100
_PREPARE = f"""
mkdir /etc/nginx/many
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x \\
    -keyout /root/x.key -out /root/x.crt 2>&1
cp -a /etc/certagent/agent.toml /root/agent.toml
cat > /etc/nginx/conf.d/many.conf <<END
server {{ listen 80; server_name *.many.internal.thinkheads.ai; include snippets/certagent-challenge.conf; }}
END
for n in $(seq {COUNT}); do
    cp /root/x.crt /etc/nginx/many/$n.crt
    cp /root/x.key /etc/nginx/many/$n.key
    cat >> /etc/nginx/conf.d/many.conf <<END
server {{
    listen 443 ssl; server_name n$n.many.internal.thinkheads.ai;
    ssl_certificate /etc/nginx/many/$n.crt; ssl_certificate_key /etc/nginx/many/$n.key;
}}
END
    cat >> /etc/certagent/agent.toml <<END
[[certificate]]
name = "n$n"
identifiers = ["n$n.many.internal.thinkheads.ai"]
solver = {{ kind = "listener", listen = "127.0.0.1:5002" }}
[[certificate.deploy]]
kind = "nginx"
certificate = "/etc/nginx/many/$n.crt"
key = "/etc/nginx/many/$n.key"
prove = ["10.0.0.153:443"]
END
done
echo address=/many.internal.thinkheads.ai/10.0.0.153 > /etc/dnsmasq.d/many.conf
systemctl restart dnsmasq nginx
"""
_CLEAN = """
cp -a /root/agent.toml /etc/certagent/agent.toml
rm -rf /etc/nginx/many /etc/nginx/conf.d/many.conf /etc/dnsmasq.d/many.conf /var/lib/certagent/certificates/n*
systemctl restart dnsmasq nginx certagent-agent
"""


def _sh(script: str) -> str:
    return witness.inside("lxc101", "sh", "-euc", script).stdout


@pytest.fixture
def many(green: None) -> Iterator[None]:
    """The gateway with a hundred more names, each with a pair of its own that nobody trusts."""
    _sh(_PREPARE)
    yield
    _sh(_CLEAN)
    until("the gateway is as before", 60, _is_well)


def _is_well() -> bool:
    try:
        return witness.certagent("lxc101", "status")[0] == 0
    except witness.Unseen:  # the agent is on its way
        return False


def _reloads() -> list[float]:
    """When nginx was told to reload, by the journal of its unit."""
    journal = _sh("journalctl -u nginx -o short-unix --no-pager")
    return [float(line.split()[0]) for line in journal.splitlines() if "Reloading nginx" in line]


def _are_all_proven() -> bool:
    """By the agent's own word on disk: asking for more, again and again, would be most of the work."""
    return int(_sh("sleep 0.2; ls -d /var/lib/certagent/certificates/*/proven | wc -l")) == COUNT + 1


def _are_all_served() -> bool:
    certificates = witness.certagent("lxc101", "status")[1]["certificates"]
    return len(certificates) == COUNT + 1 and all(
        one["on_disk"] and set(one["served"].values()) == {one["on_disk"]["fingerprint"]} for one in certificates
    )


def test_a_hundred_at_once_are_proven_with_a_reload_a_second(many: None) -> None:
    """Nothing fails on the way; the reloads are told by systemd itself."""
    before = len(_reloads())
    _sh("systemctl restart certagent-agent")
    until("all are proven", 180, _are_all_proven)
    assert _are_all_served()
    reloads = _reloads()[before:]
    print(f"{len(reloads)} reloads within {reloads[-1] - reloads[0]:.1f} s for {COUNT} certificates")
    assert len(reloads) <= reloads[-1] - reloads[0] + 2
    journal = _sh("journalctl -u certagent-agent -o cat --no-pager --since -5min")
    assert " renewal of n1 (timer): done" in journal or " renewal of n1 (timer): found" in journal
    assert "(timer): failed" not in journal
