"""`trace` and `lint` on the real fleet: silent while all is well, and the line when it is not."""

from functools import partial
from typing import Any

import pytest

from deploy.story import witness
from tests.e2e.fleet import TRAEFIK, check_one, until

pytestmark = pytest.mark.lab

NODES = ("lxc101", "lxc102", "lxc103", "lxc104")
VIEWS = (("lxc102", "collector"), ("lxc103", "node"))
LINE = "10.0.0.153 traefik.internal.thinkheads.ai"


def test_a_healthy_path_is_traced_as_intended(green: None) -> None:
    """On Traefik's node the collector knows it, once a rehearsal went through; on the CA's it is the CA's own view."""
    check_one("lxc102", TRAEFIK)
    for node, kind in VIEWS:
        document = until("the path is seen to be good", 30, partial(_traced, node, kind, 0))
        assert (document["broken"], document["culprit"]) == (False, None)
        assert [hop["kind"] for hop in document["actual"]] == ["authority", "dns", "server", "responder"]
        assert document["actual"][2]["address"] == "10.0.0.12"


@pytest.mark.parametrize("fault", ["hosts-shadow-authority"], indirect=True)
def test_the_founding_line_is_the_culprit_of_the_path(fault: str) -> None:
    """Whoever asks: the broken hop, and node, file, line and text of what to change."""
    for node, kind in VIEWS:
        document = until("the path is seen to be broken", 30, partial(_traced, node, kind, 4))
        assert document["broken"] is True
        culprit = {key: document["culprit"][key] for key in ("node", "file", "text", "address")}
        assert culprit == {"node": "lxc103", "file": "/etc/hosts", "text": LINE, "address": "10.0.0.153"}
        (hop,) = (one for one in document["actual"] if one["culprit"])
        assert (hop["state"], hop["label"]) == ("broken", f"/etc/hosts:{document['culprit']['line']}")
        assert (hop["node"], hop["detail"]) == ("lxc103", LINE)
        assert document["intended"][2]["address"] == "10.0.0.12"


def test_what_trace_says_is_what_the_collector_says(green: None) -> None:
    """The same values that the page draws."""
    check_one("lxc102", TRAEFIK)
    document = until("the path is seen to be good", 30, lambda: _traced("lxc102", "collector", 0))
    del document["source"]
    assert document == witness.collector(f"/v1/paths/{TRAEFIK}")


def test_nothing_is_wrong_with_the_files_of_a_healthy_fleet(green: None) -> None:
    """Proxmox's sections, the CA's own name on loopback, nginx, Traefik: 0 on every node, and no agent says a word."""
    for node in NODES:
        status, document = witness.certagent(node, "lint")
        assert (status, document["findings"]) == (0, []), document


@pytest.mark.parametrize("fault", ["hosts-conflict"], indirect=True)
def test_lint_names_the_lines_that_contradict_each_other(fault: str) -> None:
    """Both of them, without asking anybody."""
    status, document = witness.certagent("lxc103", "lint")
    assert status == 4
    (finding,) = document["findings"]
    assert (finding["code"], finding["severity"], finding["identifier"]) == ("dns.hosts_conflict", "error", TRAEFIK)
    lines = witness.inside("lxc103", "cat", "/etc/hosts").stdout.splitlines()
    named = finding["detail"]["lines"]
    assert [one["text"] for one in named] == [f"{LINE} # old", f"10.0.0.12 {TRAEFIK} # new"]
    assert [lines[one["line"] - 1] for one in named] == [one["text"] for one in named]


@pytest.mark.parametrize("fault", ["traefik-dangling-service"], indirect=True)
def test_lint_names_what_a_web_servers_file_names_in_vain(fault: str) -> None:
    """Traefik leaves the router out with one line in its log; this is the line in its file."""
    status, document = witness.certagent("lxc102", "lint")
    assert (status, [one["code"] for one in document["findings"]]) == (4, ["deploy.dangling_reference"])
    culprit = document["findings"][0]["culprit"]
    assert (culprit["file"], culprit["text"]) == ("/etc/traefik/dynamic/challenge.yml", "service: certagent")


@pytest.mark.parametrize("fault", ["hosts-shadow-managed"], indirect=True)
def test_the_agent_reports_a_hand_edit_that_will_be_rewritten(fault: str) -> None:
    """A warning beside the finding that makes the incident; `lint` says the same."""
    status, document = witness.certagent("lxc103", "lint")
    assert (status, [one["code"] for one in document["findings"]]) == (3, ["dns.managed_file"])
    until("the agent has reported it", 10, lambda: _reported("lxc103", "dns.managed_file"))
    assert {one["code"] for one in witness.open_incidents()} == {"dns.hosts_shadow.authority"}


def _traced(node: str, kind: str, wanted: int) -> dict[str, Any] | None:
    """What `trace` says there, once it is that kind of view with that exit status."""
    status, document = witness.certagent(node, "trace", TRAEFIK)
    return document if (document["source"]["kind"], status) == (kind, wanted) else None


def _reported(node: str, code: str) -> bool:
    reports = [one for one in witness.items("/v1/reports") if one["agent"] == node]
    return any(finding["code"] == code for one in reports for finding in one["findings"])
