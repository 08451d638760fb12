"""Findings that no single fault shows: what comes and goes, who is missing, IPv6. All on the real parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from deploy.story import witness
from tests.e2e import fleet

pytestmark = pytest.mark.lab

ZONE = "/etc/dnsmasq.d/internal.conf"
FILTER = (
    "table inet unsteady { chain input { type filter hook input priority 0; tcp dport 80 reject with tcp reset; }; }"
)


@pytest.fixture
def forgetful(green: None) -> Iterator[None]:
    """What Traefik's agent remembers of the test ends with it."""
    yield
    witness.inside("lxc102", "systemctl", "restart", "certagent-agent")


@contextmanager
def _record(*addresses: str) -> Iterator[None]:
    """Traefik's record with these addresses; as it was afterwards."""
    line = f"host-record={fleet.TRAEFIK},{','.join(addresses)}"
    _on_nameserver(f"cp -p {ZONE} /root/zone.kept; sed -i 's/^host-record={fleet.TRAEFIK},.*/{line}/' {ZONE}")
    try:
        yield
    finally:
        _on_nameserver(f"mv /root/zone.kept {ZONE}")


def _on_nameserver(script: str) -> None:
    """Run it, and return when the nameserver answers by what it changed."""
    restart = "systemctl reset-failed dnsmasq; systemctl restart dnsmasq"
    answers = 'until [ -n "$(ss -Hlun "sport = :53")" ]; do sleep 0.02; done'
    witness.inside("lxc101", "timeout", "10", "sh", "-euc", f"{script}\n{restart}\n{answers}")


def _found() -> dict[str, dict[str, Any]]:
    judgement = fleet.check_one("lxc102", fleet.TRAEFIK)
    return {finding["code"]: finding for finding in judgement["findings"]}


def test_a_name_that_leads_here_and_there_is_flapping(forgetful: None) -> None:
    """dns.flapping at the fourth change within a minute, not before; and an order would wait for it."""
    seen = []
    for _ in range(2):
        seen.append(_found())
        with _record("10.0.0.153"):
            seen.append(_found())
    assert ["dns.flapping" in found for found in seen] == [False, False, False, True]
    after = fleet.check_one("lxc102", fleet.TRAEFIK)
    assert after["verdict"] == "warn"
    assert after["rehearsal"]["settles_at"] > after["rehearsal"]["at"]


def test_a_path_that_comes_and_goes_is_flaky(forgetful: None) -> None:
    """http01.flaky at the third failure between successes, not before; with how many of how many."""
    seen = []
    for _ in range(3):
        seen.append(_found())
        witness.inside("lxc102", "nft", FILTER)
        seen.append(_found())
        witness.inside("lxc102", "nft", "delete", "table", "inet", "unsteady")
    assert ["http01.flaky" in found for found in seen] == [False] * 5 + [True]
    assert "3 of the last" in seen[-1]["http01.flaky"]["explanation"]
    assert _found().keys() == {"http01.flaky"}


def test_without_anybody_beside_the_ca_preflight_is_blind(green: None) -> None:
    """ca.vantage_missing: a warning, and no block."""
    witness.inside("lxc103", "systemctl", "stop", "certagent-agent")
    try:
        judgement = fleet.check_one("lxc102", fleet.TRAEFIK)
    finally:
        witness.inside("lxc103", "systemctl", "start", "certagent-agent")
    assert (judgement["verdict"], fleet.codes(judgement)) == ("warn", ["ca.vantage_missing"])
    fleet.until("the CA's agent is back", 20, lambda: fleet.check_one("lxc102", fleet.TRAEFIK)["verdict"] == "proceed")


@pytest.fixture
def ipv6(green: None) -> Iterator[None]:
    """The CA's node and the gateway's have addresses of IPv6 as well."""
    nodes = {"lxc103": "fd00::10/64", "lxc101": "fd00::153/64"}
    for node, address in nodes.items():
        witness.inside(node, "ip", "-6", "address", "add", address, "dev", "eth0", "nodad")
    yield
    for node, address in nodes.items():
        witness.inside(node, "ip", "-6", "address", "del", address, "dev", "eth0")


def test_an_aaaa_of_another_box_is_named(ipv6: None) -> None:
    """dns.aaaa_dead where nobody listens, dns.aaaa_wrong_host where somebody answers."""
    stranger = ["--quiet", "--unit=stranger", "/usr/bin/python3", "-m", "http.server", "80", "--bind", "fd00::153"]
    with _record("fd00::153"):
        assert "dns.aaaa_dead" in _found()
        witness.inside("lxc101", "systemd-run", *stranger)
        try:
            fleet.until("somebody answers", 10, lambda: "dns.aaaa_wrong_host" in _found())
        finally:
            witness.inside("lxc101", "systemctl", "stop", "stranger")
