"""A CA that is down, wiped, of another root, or answers nonsense, while a certificate is due: the pair stays valid and
served, the incident says what it is, and when it is over the renewal comes by itself. The real CA; in its place at most
a server that answers as a broken one does."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from certagent.agent.ca_health import LOOK_AGAIN_EVERY
from deploy.lab.containers import run_inside
from deploy.lab.fleet import find
from deploy.story import witness
from tests.e2e import broken_ca, fleet
from tests.e2e.fleet import TRAEFIK, restart_ca, until
from tests.e2e.policies import start, with_policy

pytestmark = pytest.mark.lab

ALWAYS_DUE = '[renewal]\ndue_after = 0.0001\njitter = 0.0\nshortest_interval = "3s"\n'
"""Of a day: 8.6 s, and the CA dates a minute back. So every few seconds."""
HELD_SECONDS = 10.0


def _served() -> str:
    """Fails where the handshake does not verify."""
    return witness.served("10.0.0.12", TRAEFIK)


def _is_another_than(before: str) -> Callable[[], bool]:
    return lambda: _served() != before


@pytest.fixture
def renewing(green: None) -> Iterator[None]:
    """lxc102, whose certificate is renewed again and again. The CA is started anew: an order would wait for the
    connections that it still holds because of what an earlier test broke."""
    restart_ca()
    with with_policy("lxc102", ALWAYS_DUE):
        before = _served()
        start("lxc102")
        until("it is renewed", 30, _is_another_than(before))
        yield


@contextmanager
def _fault(name: str) -> Iterator[None]:
    fleet.break_with(name)
    try:
        yield
    finally:
        fleet.heal(name)


_PUT_IN_PLACE = """
cat >/root/broken_ca.py
cd /root
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout front.key -out front.csr -subj /CN=front 2>&1
echo subjectAltName=DNS:ca.internal.thinkheads.ai >front.ext
issuer=/etc/step-ca/certs/intermediate_ca.crt
openssl x509 -req -in front.csr -CA $issuer -CAkey /etc/step-ca/secrets/intermediate_ca_key -days 1 -set_serial 1 \\
    -extfile front.ext 2>/dev/null >front.crt
cat $issuer >>front.crt
systemctl stop step-ca
systemd-run -q --unit=broken-ca python3 /root/broken_ca.py /root/front.crt /root/front.key "$1"
"""
_TAKE_AWAY = """
systemctl stop broken-ca
rm /root/broken_ca.py /root/front.*
systemctl start step-ca
"""


@contextmanager
def _answering(what: str) -> Iterator[None]:
    script = Path(broken_ca.__file__).read_text()
    run_inside(find("lxc103"), "sh", "-euc", _PUT_IN_PLACE, "sh", what, text=script)
    try:
        yield
    finally:
        witness.inside("lxc103", "sh", "-euc", _TAKE_AWAY)


BROKEN = {
    "stopped": (_fault, "ca-stopped", "ca.unreachable"),
    "another root": (_fault, "ca-another-root", "ca.root_changed"),
    "500": (_answering, "500", "ca.unhealthy"),
    "503": (_answering, "503", "ca.unhealthy"),
    "garbage": (_answering, "garbage", "ca.directory_missing"),
    "nothing": (_answering, "nothing", "ca.unreachable"),
}
"""How it is broken, and the incident's code."""


@pytest.mark.parametrize("way", BROKEN)
def test_while_the_ca_is_broken_the_pair_stays_and_it_recovers_by_itself(renewing: None, way: str) -> None:
    """The incident names it and its victim; what is served is one and the same, and verifies; then a new one is."""
    broken, how, code = BROKEN[way]
    with broken(how):
        until(f"traefik is a victim of an incident {code}", 60, lambda: "traefik" in _victims(code))
        held = _served()
        deadline = time.monotonic() + HELD_SECONDS
        while time.monotonic() < deadline:
            assert _served() == held
            time.sleep(0.5)
        assert _incident(code)
    mended = time.monotonic()
    until("it is renewed by itself", 60, _is_another_than(held))
    print(f"{way}: renewed {time.monotonic() - mended:.1f} s after")
    until("the incident is resolved", 60, lambda: not _incident(code))


def test_a_ca_whose_database_is_lost_gets_a_new_account(renewing: None) -> None:
    """Nobody has to do anything; and again when the old database is put back."""
    with _fault("ca-database-lost"):
        until("it is renewed by itself", 60, _is_another_than(_served()))
    until("it is renewed by itself", 60, _is_another_than(_served()))
    until("no incident is open", LOOK_AGAIN_EVERY.total_seconds() + 3, lambda: not witness.open_incidents())


def _incident(code: str) -> dict[str, list[dict[str, str]]] | None:
    return next((one for one in witness.open_incidents() if one["code"] == code), None)


def _victims(code: str) -> set[str]:
    """The incident's certificates: whoever asks the CA first is there first."""
    return {victim["certificate"] for victim in (_incident(code) or {"victims": []})["victims"]}


_SHORT_LIVED = """
cp -p /etc/step-ca/ca.json /root/ca.json.before
sed -i 's/"claims": .*/"backdate": "0s", "claims": {"minTLSCertDuration": "1m", "maxTLSCertDuration": "24h",'\
' "defaultTLSCertDuration": "2m"},/' /etc/step-ca/ca.json
"""
_AS_BEFORE = "mv /root/ca.json.before /etc/step-ca/ca.json"
LIFETIME = 120.0


@pytest.fixture
def short_lived(green: None) -> Iterator[None]:
    """lxc102's certificate lives two minutes, by the default policy; and is as before at the end."""
    before = _served()
    witness.inside("lxc103", "sh", "-euc", _SHORT_LIVED)
    try:
        restart_ca()
        (renewed,) = witness.certagent("lxc102", "renew", "--force")[1]["certificates"]
        assert renewed["outcome"] in ("done", "found"), renewed
        until("the new one is served", 10, _is_another_than(before))
        yield
    finally:
        witness.inside("lxc103", "sh", "-euc", _AS_BEFORE)
        restart_ca()
        until("it is renewed", 60, lambda: witness.certagent("lxc102", "renew", "--force")[0] in (0, 3))


def test_a_ca_that_is_down_for_two_thirds_of_a_lifetime(short_lived: None) -> None:
    """From its first fifth on, past the time at which it is due: it is served and valid all the while, and renewed in
    time."""
    began = time.monotonic()
    held = _served()
    time.sleep(LIFETIME / 5)
    with _fault("ca-stopped"):
        while time.monotonic() - began < LIFETIME * (1 / 5 + 2 / 3):
            assert _served() == held
            time.sleep(1)
        assert _incident("ca.unreachable")
    until("it is renewed", began + LIFETIME - time.monotonic(), _is_another_than(held))
    print(f"renewed {began + LIFETIME - time.monotonic():.1f} s before its end")
