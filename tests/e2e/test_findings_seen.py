"""Findings that no single fault shows: what comes and goes, who is missing, IPv6. All on the real parts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
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
    """What Traefik's agent remembers of the test ends with it. The CA's side rehearses when it begins: its channel may
    have to open again after what was before."""
    fleet.until("it is rehearsed", 60, lambda: fleet.check_one("lxc102", fleet.TRAEFIK)["verdict"] == "proceed")
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
    looks = []
    for _ in range(2):
        looks.append(fleet.check_one("lxc102", fleet.TRAEFIK))
        with _record("10.0.0.153"):
            looks.append(fleet.check_one("lxc102", fleet.TRAEFIK))
    seen = ["dns.flapping" in fleet.codes(look) for look in looks]
    assert seen == [False, False, False, True], json.dumps(looks)
    after = fleet.check_one("lxc102", fleet.TRAEFIK)
    assert after["verdict"] == "warn"
    assert after["rehearsal"]["settles_at"] > after["rehearsal"]["at"]


def test_a_path_that_comes_and_goes_is_flaky(forgetful: None) -> None:
    """http01.flaky at the third failure between successes, not before; with how many of how many. The agent rehearses
    in between, too: the collector asks it to when what it blamed has ended."""
    seen = []
    for _ in range(3):
        seen.append(_found())
        witness.inside("lxc102", "nft", FILTER)
        seen.append(_found())
        witness.inside("lxc102", "nft", "delete", "table", "inet", "unsteady")
    assert ["http01.flaky" in found for found in seen] == [False] * 5 + [True]
    flaky = seen[-1]["http01.flaky"]
    rehearsals = [rehearsal["trouble"] for rehearsal in flaky["detail"]["seen"]]
    assert [trouble for trouble, _ in groupby(rehearsals)] == [None, "refused"] * 3, rehearsals
    failed = rehearsals.count("refused")
    assert f"{failed} of the last {len(rehearsals)} rehearsals" in flaky["explanation"]
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


@pytest.mark.parametrize("fault", ["ca-clock-skew"], indirect=True)
def test_an_agent_whose_clock_is_wrong_says_so(fault: str) -> None:
    """agent.clock: by the collector's answers, in `certagent status`; gone with the cause."""
    fleet.until("the agent has heard the collector", 30, lambda: _of_the_agent("lxc102") == ["agent.clock"])
    assert witness.certagent("lxc102", "status")[0] == 3
    fleet.heal(fault)
    fleet.until("the clocks agree", 30, lambda: _of_the_agent("lxc102") == [])


def _of_the_agent(node: str) -> list[str]:
    try:
        return [finding["code"] for finding in witness.certagent(node, "status")[1]["findings"]]
    except witness.Unseen:  # it is being started again
        return ["nobody"]


@contextmanager
def _policy(text: str) -> Iterator[None]:
    """The collector's policy with this below it; as it was afterwards."""
    file, restart = "/etc/certagent/policy.toml", "systemctl restart certagent-collector"
    witness.inside(
        "lxc104", "sh", "-euc", f"cp -p {file} /root/policy.kept; printf '%s\\n' '{text}' >>{file}; {restart}"
    )
    try:
        yield
    finally:
        witness.inside("lxc104", "sh", "-euc", f"mv /root/policy.kept {file}; {restart}")


def _open() -> dict[str, dict[str, Any]]:
    try:
        return {one["code"]: one for one in witness.open_incidents()}
    except witness.Unseen:  # the collector is being started again
        return {}


def test_an_agent_that_was_stopped_is_silent(green: None) -> None:
    """agent.silent: its node, its certificates, its unit; and cert.expiring although nobody there says so, by a policy
    for which every certificate is old. Resolved by itself when it is back."""
    with _policy('silent_after = "3s"\nlook_every = "500ms"\nexpiring_below = 0.9999'):
        fleet.until("all are there again", 30, lambda: _connected() == 4)
        witness.inside("lxc102", "systemctl", "stop", "certagent-agent")
        try:
            incident = fleet.until("its silence is noticed", 30, lambda: _open().get("agent.silent"))
            fleet.until("its certificate's end is told for it", 30, lambda: _is_told_of_the_dead("lxc102"))
        finally:
            witness.inside("lxc102", "systemctl", "start", "certagent-agent")
        assert incident["culprit"]["node"] == "lxc102"
        assert [victim["certificate"] for victim in incident["victims"]] == ["traefik"]
        assert "systemctl status certagent-agent" in incident["fix"]
        fleet.until("it is heard again", 60, lambda: "agent.silent" not in _open())


def _is_told_of_the_dead(node: str) -> bool:
    """Whether an incident about a certificate's end there knows that its agent is silent."""
    told = [one for one in witness.open_incidents() if one["code"] == "cert.expiring"]
    return any(one["culprit"]["node"] == node and "has not been heard" in one["explanation"] for one in told)


def _connected() -> int:
    try:
        return sum(one["connected"] for one in witness.items("/v1/agents"))
    except witness.Unseen:
        return 0


def test_a_zone_that_is_gone_is_one_incident(green: None) -> None:
    """dns.zone_gone: taken out of the nameserver, every name of it vanishes at once: they are victims of one cause, not
    incidents of their own."""
    with _policy('look_every = "500ms"'):
        fleet.until("all are there again", 30, lambda: _connected() == 4)
        _on_nameserver(f"cp -p {ZONE} /root/zone.kept; sed -i '/[.]internal[.]/d' {ZONE}")
        try:
            for node in fleet.IDENTIFIERS:
                fleet.check(node)
            incident = fleet.until("the zone is missed", 60, lambda: _open().get("dns.zone_gone"))
            names = {one["identifier"] for one in incident["victims"]}
            assert incident["culprit"]["address"] == "10.0.0.153"
            assert {fleet.TRAEFIK, "nginx.internal.thinkheads.ai", "collector.internal.thinkheads.ai"} <= names
            assert "10.0.0.153" in incident["fix"]
            fleet.until(
                "no name is an incident of its own", 30, lambda: not {"dns.nxdomain", "dns.nodata"} & set(_open())
            )
        finally:
            _on_nameserver(f"mv /root/zone.kept {ZONE}")
        fleet.until("it is there again", 90, lambda: "dns.zone_gone" not in _open())


def test_a_filter_that_lets_one_direction_pass_is_one_incident(green: None) -> None:
    """Of the node that the CA does not reach, in words without holes."""
    name = fleet.IDENTIFIERS["lxc101"][0]
    fleet.break_with("reach-gateway-dropped")
    try:
        fleet.until("both directions are seen", 20, lambda: _codes_of(name)[:2] == ["net.timeout", "net.asymmetric"])
        (incident,) = fleet.until("it is the only incident", 30, lambda: _only_of("net.asymmetric"))
        assert incident["culprit"]["node"] == "lxc101"
        assert incident["explanation"].endswith("something between them allows one direction only.")
    finally:
        fleet.heal("reach-gateway-dropped")
    fleet.until("nothing is found any more", 20, lambda: not _codes_of(name))
    fleet.until("it is over", 30, lambda: not witness.open_incidents())


def _codes_of(name: str) -> list[str]:
    return fleet.codes(fleet.check_one("lxc101", name))


def _only_of(code: str) -> list[dict[str, Any]]:
    """The open incidents, once there is no other than one of that code."""
    incidents = witness.open_incidents()
    return incidents if [incident["code"] for incident in incidents] == [code] else []
