"""dns-01 on a real BIND: by dynamic update and by a program, a name and its wildcard; and addresses by http-01."""

import secrets
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deploy.story import witness
from tests.e2e.fleet import TRAEFIK, until

pytestmark = pytest.mark.lab

ZONE = "dyn.internal.thinkheads.ai"
SERVER = "10.0.0.50"

_RECORDS = f"$TTL 60\n@ IN SOA ns.{ZONE}. root.{ZONE}. 1 3600 600 86400 5\n@ IN NS ns.{ZONE}.\nns IN A {SERVER}\n"
_WRITE_ZONE = (
    "rm -f /var/lib/bind/dyn.zone*; install -o bind -g bind /dev/null /var/lib/bind/dyn.zone; "
    "printf '%s' '{}' >/var/lib/bind/dyn.zone\n"
)
_SERVE_ZONE = (
    _WRITE_ZONE.format(_RECORDS)
    + """
cp -p /etc/bind/named.conf /root/named.conf.before
cat >/etc/bind/named.conf <<END
options { directory "/var/cache/bind"; listen-on { $2; }; listen-on-v6 { none; }; recursion no; dnssec-validation no; };
key certagent { algorithm hmac-sha256; secret "$3"; };
zone "$1" { type primary; file "/var/lib/bind/dyn.zone"; update-policy { grant certagent zonesub TXT; }; };
END
chmod 644 /etc/bind/named.conf
systemctl start named
"""
)
_SERVE_NO_ZONE = """
systemctl stop named
mv /root/named.conf.before /etc/bind/named.conf
rm -f /var/lib/bind/dyn.zone*
"""
_RESTART = " && systemctl reset-failed dnsmasq && systemctl restart dnsmasq"  # more often than systemd lets one
_FORWARD = 'echo "server=/$1/$2" >/etc/dnsmasq.d/dyn.conf' + _RESTART
_FORWARD_NOT = "rm -f /etc/dnsmasq.d/dyn.conf" + _RESTART
_WITH_KEY = """
cp -p /etc/certagent/agent.toml /root/agent.toml.before
(umask 077; printf %s "$1" >/etc/certagent/tsig)
"""
_ALSO = """
cp -p /root/agent.toml.before /etc/certagent/agent.toml
printf '%s' "$1" >>/etc/certagent/agent.toml
systemctl restart certagent-agent
"""
_AS_BEFORE = """
mv /root/agent.toml.before /etc/certagent/agent.toml
rm -rf /etc/certagent/tsig /etc/certagent/hook-tsig /etc/certagent/dns-hook /var/lib/certagent/certificates/dyn
systemctl restart certagent-agent
"""
_HOOK = """cat >/etc/certagent/dns-hook <<'END'
#!/usr/bin/python3
# present|cleanup NAME TEXT, as somebody would write it for a nameserver of theirs
import os, pwd, sys
sys.path.append("/opt/certagent/lib/dependencies")
import dns.query, dns.tsig, dns.update
what, name, text = sys.argv[1:]
assert os.getuid() == pwd.getpwnam("daemon").pw_uid
key = dns.tsig.Key("certagent", open("/etc/certagent/hook-tsig").read())
update = dns.update.UpdateMessage("ZONE", keyring=key)
change = [60, "TXT", text] if what == "present" else ["TXT", text]
(update.add if what == "present" else update.delete)(name + ".", *change)
assert dns.query.tcp(update, "SERVER", timeout=5).rcode() == 0
END
sed -i "s/ZONE/$1/; s/SERVER/$2/" /etc/certagent/dns-hook
chmod 755 /etc/certagent/dns-hook
install -o daemon -m 400 /etc/certagent/tsig /etc/certagent/hook-tsig
"""
_TEXTS = """
import sys
sys.path.append("/opt/certagent/lib/dependencies")
import dns.message, dns.query
question = dns.message.make_query(sys.argv[1], "TXT")
print(len(dns.query.tcp(question, sys.argv[2], timeout=5).answer))
"""


@pytest.fixture
def zone(green: None) -> Iterator[None]:
    """A zone of its own on the client's node, for updates that are signed; the fleet's nameserver asks there."""
    key = b64encode(secrets.token_bytes(32)).decode()
    witness.inside("client", "sh", "-c", _SERVE_ZONE, "sh", ZONE, SERVER, key)
    witness.inside("lxc101", "sh", "-c", _FORWARD, "sh", ZONE, SERVER)
    witness.inside("lxc102", "sh", "-c", _WITH_KEY, "sh", key)
    yield
    witness.inside("lxc102", "sh", "-c", _AS_BEFORE)
    witness.inside("lxc101", "sh", "-c", _FORWARD_NOT)
    witness.inside("client", "sh", "-c", _SERVE_NO_ZONE)


@pytest.fixture
def also(zone: None) -> Callable[[str], None]:
    """Gives Traefik's agent one more certificate, for the zone's own name and all below it."""

    def add(solver: str) -> None:
        section = f'\n[[certificate]]\nname = "dyn"\nidentifiers = ["{ZONE}", "*.{ZONE}"]\nchallenge = "dns-01"\n'
        witness.inside("lxc102", "sh", "-c", _ALSO, "sh", f"{section}solver = {solver}\n")

    return add


def test_a_wildcard_by_dynamic_update(also: Callable[[str], None]) -> None:
    """Signed with TSIG; the rehearsal finds the record through the CA's own nameserver."""
    also(f'{{ kind = "rfc2136", server = "{SERVER}", key_name = "certagent", key_file = "/etc/certagent/tsig" }}')
    _is_issued()


def test_a_wildcard_by_a_program(also: Callable[[str], None]) -> None:
    """Called as the configuration says, by the user that it names: out of the hardened unit, too."""
    witness.inside("lxc102", "sh", "-c", _HOOK, "sh", ZONE, SERVER)
    also('{ kind = "exec", command = ["/etc/certagent/dns-hook"], user = "daemon" }')
    _is_issued()


def test_a_program_that_fails_is_named(also: Callable[[str], None]) -> None:
    """By its path, before any order."""
    witness.inside("lxc102", "sh", "-c", "printf '#!/bin/sh\\nexit 7\\n' >/etc/certagent/dns-hook")
    witness.inside("lxc102", "chmod", "700", "/etc/certagent/dns-hook")
    also('{ kind = "exec", command = ["/etc/certagent/dns-hook"] }')
    status, document = until("the agent answers", 30, lambda: _asked("check", ZONE))
    assert (status, document["verdict"]) == (4, "block")
    first = document["identifiers"][0]["findings"][0]
    assert first["code"] == "dns01.hook_failed"
    assert first["culprit"]["file"] == "/etc/certagent/dns-hook"
    assert "status 7" in first["explanation"]


_AGAIN = "systemctl restart named"
_PRESENT = "runuser -u daemon -- /etc/certagent/dns-hook present _acme-challenge.$1 'of somebody else'"
_ASK = """
import sys, time
sys.path.append("/opt/certagent/lib/dependencies")
import dns.message, dns.query
for _ in range(50):
    if dns.query.udp(dns.message.make_query(sys.argv[1], "TXT"), "10.0.0.153", timeout=5).rcode() == 3:
        sys.exit()
    time.sleep(0.1)
sys.exit("it does not say that there is no such name")
"""
"""Until it says so: while BIND starts, it answers otherwise, and keeps nothing."""


def _another_zone(records: str) -> str:
    return f"systemctl stop named\n{_WRITE_ZONE.format(records)}systemctl start named\n"


BROKEN = {
    "dns01.server_unreachable": [("client", "systemctl stop named")],
    "dns01.tsig": [("lxc102", "printf %s b3RoZXI= >/etc/certagent/tsig")],
    "dns01.update_refused": [("client", f"sed -i 's/zonesub TXT/zonesub A/' /etc/bind/named.conf; {_AGAIN}")],
    "dns01.zone_not_found": [("client", f"sed -i '/^zone/d' /etc/bind/named.conf; {_AGAIN}")],
    "dns01.wrong_zone": [
        ("lxc102", 'sed -i \'s/kind = "rfc2136",/& zone = "internal.thinkheads.ai",/\' /etc/certagent/agent.toml'),
        ("lxc102", "systemctl restart certagent-agent"),
    ],
    "dns01.not_on_all_servers": [
        ("client", _another_zone(_RECORDS + "@ IN NS second\nsecond IN A 10.0.0.104\n"))  # nobody answers there
    ],
    "dns01.leftover": [("lxc102", _PRESENT)],
    "dns01.authority_cannot_see": [("lxc101", f"rm /etc/dnsmasq.d/dyn.conf{_RESTART}")],
    "dns01.negative_cached": [
        ("client", _another_zone(_RECORDS.replace(" 5\n", " 60\n"))),
        ("lxc103", f"python3 -c '{_ASK}' _acme-challenge.$1"),
    ],
}
HARMLESS = {"dns01.leftover": "proceed", "dns01.not_on_all_servers": "warn"}  # the CA finds what it looks for


@pytest.mark.parametrize("code", BROKEN)
def test_what_is_wrong_with_the_record_has_its_code(also: Callable[[str], None], code: str) -> None:
    """Of the real BIND, and of the real dnsmasq that the CA asks."""
    witness.inside("lxc102", "sh", "-c", _HOOK, "sh", ZONE, SERVER)
    also(f'{{ kind = "rfc2136", server = "{SERVER}", key_name = "certagent", key_file = "/etc/certagent/tsig" }}')
    _is_issued()
    for node, script in BROKEN[code]:
        witness.inside(node, "sh", "-euc", script, "sh", ZONE)
    _, document = until("the agent answers", 30, lambda: _asked("check", ZONE))
    (judgement,) = document["identifiers"]
    assert code in [finding["code"] for finding in judgement["findings"]], judgement
    assert judgement["verdict"] == HARMLESS.get(code, "block")


def test_a_name_and_an_address_in_one_certificate(zone: None) -> None:
    """http-01 for both; the agent beside the CA has to allow the address."""
    witness.inside("lxc103", "sh", "-c", _ALLOW_ADDRESS)
    try:
        section = f'\n[[certificate]]\nname = "dyn"\nidentifiers = ["{TRAEFIK}", "10.0.0.12"]\n'
        solver = 'solver = { kind = "listener", listen = "127.0.0.1:5002" }\n'
        witness.inside("lxc102", "sh", "-c", _ALSO, "sh", section + solver)
        _is_issued("10.0.0.12")
    finally:
        witness.inside("lxc103", "sh", "-c", _ALLOW_AS_BEFORE)


_ALLOW_ADDRESS = """
cp -p /etc/certagent/agent.toml /root/agent.toml.before
sed -i 's/^allow = \\[/&"10.0.0.12", /' /etc/certagent/agent.toml
systemctl restart certagent-agent
"""
_ALLOW_AS_BEFORE = """
mv /root/agent.toml.before /etc/certagent/agent.toml
systemctl restart certagent-agent
"""


def _is_issued(identifier: str = ZONE) -> None:
    """A rehearsal passes, the first order is issued by itself, and nothing is left in the zone."""
    until("a rehearsal passes", 60, lambda: _passes(identifier))
    issued = until("it is issued", 60, _issued)
    assert set(issued["on_disk"]["identifiers"]) == set(issued["identifiers"])
    renewed = _asked("renew", "dyn", "--force")
    assert renewed is not None
    assert renewed[0] in (0, 3), renewed
    left = witness.inside("lxc102", "python3", "-c", _TEXTS, f"_acme-challenge.{ZONE}", SERVER).stdout
    assert left.strip() == "0"


def _passes(identifier: str) -> bool:
    status, document = _asked("check", identifier) or (1, {})
    rehearsal = (document["identifiers"][0]["rehearsal"] if status == 0 else None) or {}
    return rehearsal.get("outcome") == "passed"


def _issued() -> dict[str, Any] | None:
    _, document = _asked("status") or (1, {"certificates": []})
    return next((one for one in document["certificates"] if one["name"] == "dyn" and one["on_disk"]), None)


def _asked(*words: str) -> tuple[int, dict[str, Any]] | None:
    """(exit status, document), or None while the agent does not answer."""
    try:
        return witness.certagent("lxc102", *words)
    except witness.Unseen:
        return None
