"""Hosts files that dnsmasq serves besides its host's own: named by their line, and forgotten with it. On the lab."""

from collections.abc import Iterator
from typing import Any

import pytest

from deploy.story import witness
from tests.e2e import fleet

pytestmark = pytest.mark.lab

ZONE = "/etc/dnsmasq.d/internal.conf"
FOLDER, EXTRA = "/etc/dnsmasq.hosts", "/etc/extra.hosts"
_RESTART = "systemctl reset-failed dnsmasq; systemctl restart dnsmasq"


def _on_nameserver(script: str) -> None:
    witness.inside("lxc101", "timeout", "10", "sh", "-euc", script)


@pytest.fixture
def nameserver(green: None) -> Iterator[None]:
    """Its files as they were, afterwards."""
    _on_nameserver(f"cp -p {ZONE} /root/zone.kept")
    yield
    ours = f"/etc/dnsmasq.d/hostsdir.conf /etc/dnsmasq.d/extra.conf {FOLDER} {EXTRA}"
    _on_nameserver(f"mv /root/zone.kept {ZONE}; rm -rf {ours}; {_RESTART}")
    fleet.until("the name is right again", 20, lambda: _judged()["verdict"] == "proceed")


def _judged() -> dict[str, Any]:
    return fleet.check_one("lxc102", fleet.TRAEFIK)


def _open_at(file: str) -> list[tuple[int, list[str]]]:
    """The incidents of that file on the nameserver: line and victims."""
    return [
        (one["culprit"]["line"], [victim["identifier"] for victim in one["victims"]])
        for one in witness.items("/v1/incidents")
        if one["state"] == "open" and one["culprit"]["file"] == file
    ]


def test_a_wrong_line_in_a_hostsdir_is_the_culprit(nameserver: None) -> None:
    """One incident, there, for all that follows from it; it ends with the line."""
    settings = f"sed -i /host-record={fleet.TRAEFIK}/d {ZONE}; echo hostsdir={FOLDER} >/etc/dnsmasq.d/hostsdir.conf"
    _on_nameserver(f"mkdir {FOLDER}; echo '10.0.0.12 {fleet.TRAEFIK}' >{FOLDER}/fleet; {settings}; {_RESTART}")
    fleet.until("the name is served from there", 20, lambda: _judged()["verdict"] == "proceed")
    _on_nameserver(f"printf '# fleet\\n10.0.0.153 {fleet.TRAEFIK}\\n' >{FOLDER}/fleet; systemctl kill -s HUP dnsmasq")

    def culprits() -> set[tuple[str, str, int]]:
        found = _judged()["findings"]
        return {(one["culprit"]["node"], one["culprit"]["file"], one["culprit"]["line"]) for one in found}

    line = ("lxc101", f"{FOLDER}/fleet", 2)
    fleet.until("every finding blames the line", 20, lambda: culprits() == {line})
    assert _judged()["verdict"] == "block"
    fleet.until("it is an incident", 20, lambda: _open_at(f"{FOLDER}/fleet") == [(2, [fleet.TRAEFIK])])
    _on_nameserver(f"printf '# fleet\\n10.0.0.12 {fleet.TRAEFIK}\\n' >{FOLDER}/fleet; systemctl kill -s HUP dnsmasq")
    fleet.until("it is mended", 20, lambda: _judged()["verdict"] == "proceed")
    fleet.until("the incident has ended", 20, lambda: _open_at(f"{FOLDER}/fleet") == [])


def test_a_hosts_file_that_came_and_went_with_its_setting_is_forgotten(nameserver: None) -> None:
    """Named by itself, without a restart of the agent; afterwards it explains nothing any more."""
    setting = f"echo addn-hosts={EXTRA} >/etc/dnsmasq.d/extra.conf"
    _on_nameserver(f"echo '10.0.0.153 {fleet.TRAEFIK}' >{EXTRA}; {setting}; {_RESTART}")
    fleet.until("the agent has named it", 50, lambda: _sightings() == [(EXTRA, 1)])
    _on_nameserver(f"rm {EXTRA} /etc/dnsmasq.d/extra.conf; {_RESTART}")
    fleet.until("nothing is said of it any more", 45, lambda: _sightings() == [])
    assert _open_at(EXTRA) == []


def _sightings() -> list[tuple[str, int]]:
    """What the agent beside the nameserver said last of hosts lines there."""
    reports = [one for one in witness.items("/v1/reports") if one["agent"] == "lxc101" and one["kind"] == "watch"]
    found = max(reports, key=lambda one: int(one["sequence"]))["findings"]
    lines = [one["culprit"] for one in found if one["code"] == "dns.hosts_shadow.nameserver"]
    return [(line["file"], line["line"]) for line in lines]
