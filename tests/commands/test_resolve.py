"""`resolve`, `whatif`, `trace`, `fix` as processes, on a stage of real files, a real nameserver, real web servers."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.vantage.stage import HOSTS, NAME

pytestmark = pytest.mark.slow

GATEWAY, TRAEFIK = "10.0.0.153", "10.0.0.12"


@pytest.fixture(scope="module")
def seen() -> Any:
    """What the commands said on the stage."""
    done = subprocess.run(
        ["unshare", "-m", "-n", sys.executable, "-m", "tests.commands.stage"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_whatif_shows_what_libc_go_and_the_fetch_would_get(seen: Any) -> None:
    """The founding line, proposed: both sides before and after, the line named, another box answering."""
    assert seen["hosts"]["trouble"] == ""
    document = seen["hosts"]["document"]
    before, after = document["before"], document["after"]
    assert before["libc"]["addresses"] == [TRAEFIK]
    assert after["libc"]["addresses"] == [GATEWAY]
    assert [one["address"] for one in before["go"]["addresses"]] == [TRAEFIK]
    (used,) = after["go"]["addresses"]
    assert (used["address"], used["file"], used["line"]) == (GATEWAY, "/etc/hosts", 3)
    assert [(hop["address"], hop["server"], hop["status"]) for hop in before["fetch"]] == [(TRAEFIK, "certagent", 404)]
    assert [(hop["address"], hop["server"], hop["status"]) for hop in after["fetch"]] == [(GATEWAY, "nginx", 404)]
    assert document["changes"] is True
    assert document["note"] is None
    assert seen["hosts"]["status"] == 0


def test_whatif_leaves_no_trace(seen: Any) -> None:
    """Live files with their very ctimes, mounts, temporary folders: all as before."""
    before, after = seen["traces"]
    assert before == after
    assert before["left"] == []


def test_whatif_proves_a_resolv_conf(seen: Any) -> None:
    """A nameserver where nobody listens: neither libc nor Go get anything, and the status says so."""
    document = seen["resolv_conf"]["document"]
    assert document["after"]["libc"]["addresses"] == []
    assert document["after"]["go"] == {"addresses": [], "error": "unreachable"}
    assert document["after"]["fetch"] == []
    assert seen["resolv_conf"]["status"] == 4


def test_whatif_takes_a_pipe(seen: Any) -> None:
    """`--hosts <(sed ... /etc/hosts)` is how one proposes an edit at a shell."""
    assert seen["piped"]["document"]["after"]["libc"]["addresses"] == [GATEWAY]


def test_whatif_without_namespaces_falls_back_to_the_model_and_says_so(seen: Any) -> None:
    """libc is null, not guessed; Go's model and the fetch are as good as before."""
    document = seen["forbidden"]["document"]
    assert document["after"]["libc"] is None
    assert document["note"].startswith("libc could not be asked, the rest is the model's: unshare")
    assert [one["address"] for one in document["after"]["go"]["addresses"]] == [GATEWAY]
    assert document["before"]["libc"]["addresses"] == [TRAEFIK]
    assert seen["forbidden"]["status"] == 3


def test_resolve_is_silent_where_all_agree(seen: Any) -> None:
    """Four sources, one answer; an AAAA that does not exist is none of its business."""
    document = seen["healthy"]["document"]
    assert document["disagreements"] == []
    assert document["hosts"] == []
    (server,) = document["nameservers"]
    assert server["answers"]["A"] == {"status": "ok", "addresses": [TRAEFIK]}
    assert server["answers"]["AAAA"]["status"] == "nxdomain"
    assert document["libc"]["addresses"] == [one["address"] for one in document["go"]["addresses"]] == [TRAEFIK]
    assert document["libc"]["libc"] == os.confstr("CS_GNU_LIBC_VERSION")
    assert seen["healthy"]["status"] == 0


def test_resolve_marks_the_line_that_decides_otherwise(seen: Any) -> None:
    """Exit status 3: all of them answer, but not the same."""
    document = seen["poisoned"]["document"]
    (line,) = document["hosts"]
    assert (line["file"], line["line"], line["text"]) == ("/etc/hosts", 3, f"{GATEWAY}\t{NAME}")
    assert [one["between"] for one in document["disagreements"]] == [["hosts", "dns"]]
    assert seen["poisoned"]["status"] == 3


def test_resolve_of_a_name_that_nobody_knows(seen: Any) -> None:
    """4: nothing resolves."""
    assert seen["nowhere"]["status"] == 4
    assert seen["nowhere"]["document"]["go"]["error"] == "nxdomain"


def test_trace_without_a_collector_is_this_nodes_own_view(seen: Any) -> None:
    """It says so, and why; the CA's part is not known, so the exit status is 3."""
    document = seen["traced"]["document"]
    assert (seen["traced"]["status"], document["broken"], document["culprit"]) == (3, False, None)
    assert (document["source"]["kind"], document["source"]["vantage"]) == ("node", "client")
    assert document["source"]["reason"].startswith("no collector is configured")
    hops = [(hop["kind"], hop["address"], hop["state"]) for hop in document["actual"]]
    assert hops == [
        ("client", None, "unknown"),
        ("dns", "127.0.0.1", "ok"),
        ("server", TRAEFIK, "ok"),
        ("responder", None, "ok"),
    ]
    assert [hop["kind"] for hop in document["intended"]] == ["authority", "dns", "server", "responder"]


def test_trace_shows_where_this_node_itself_is_led_astray(seen: Any) -> None:
    """The line, and the box that it leads to: exit status 4."""
    traced = seen["traced_poisoned"]
    assert (traced["status"], traced["document"]["broken"]) == (4, True), traced
    culprit = traced["document"]["culprit"]
    assert (culprit["file"], culprit["line"], culprit["address"]) == ("/etc/hosts", 3, GATEWAY)
    line, gateway = traced["document"]["actual"][1:3]
    assert (line["label"], line["state"], line["culprit"]) == ("/etc/hosts:3", "broken", True)
    assert (gateway["address"], gateway["state"]) == (GATEWAY, "broken")


def test_trace_beside_the_ca_is_the_cas_own_view(seen: Any) -> None:
    """Its own nsswitch.conf decides; where no CA runs, or the collector does not answer, that is said."""
    blind, poisoned, dns_first = (seen["traced_beside"][name] for name in ("blind", "poisoned", "dns_first"))
    assert blind["document"]["source"]["vantage"] == "client"
    assert "the CA's own view is unavailable: no process named 'stage-ca'" in blind["document"]["source"]["reason"]
    assert (poisoned["status"], poisoned["document"]["source"]["vantage"]) == (4, "authority"), poisoned
    assert "the collector at https://127.0.0.1:1 cannot be reached" in poisoned["document"]["source"]["reason"]
    assert poisoned["document"]["culprit"]["line"] == 3
    assert (dns_first["status"], dns_first["document"]["broken"]) == (0, False), dns_first


def test_fix_shows_the_edit_and_changes_nothing(seen: Any) -> None:
    """Exit status 3, a unified diff, the finding's code; what the CA's own name has on loopback is not touched."""
    shown = seen["fix"]["shown"]
    assert shown["status"] == 3, shown
    (edit,) = shown["document"]["edits"]
    assert (edit["code"], edit["line"], edit["replacement"]) == ("dns.hosts_shadow.client", 3, None)
    assert f"-{GATEWAY}\t{NAME}" in shown["document"]["diff"].replace("\\x09", "\t").splitlines()
    assert seen["fix"]["shown_files"] == seen["fix"]["before"]


def test_fix_makes_the_edit_and_takes_it_back(seen: Any) -> None:
    """0; then there is nothing left to do; then every byte is as before."""
    fix = seen["fix"]
    assert fix["applied"]["status"] == 0, fix["applied"]
    assert fix["applied_files"]["hosts"] == HOSTS
    assert (fix["again"]["status"], fix["again"]["document"]["edits"]) == (0, [])
    assert fix["undone"]["status"] == 0
    assert fix["undone_files"] == fix["before"]


def test_fix_refuses_what_proxmox_rewrites(seen: Any) -> None:
    """4, the line, and where to change it; nothing is written."""
    managed = seen["fix"]["managed"]
    assert managed["status"] == 4, managed
    (refusal,) = managed["document"]["refusals"]
    assert (refusal["line"], managed["document"]["applied"]) == (2, None)
    assert refusal["reason"].startswith("proxmox rewrites it: change it on the Proxmox VE host")


def test_fix_names_the_configured_nameserver_where_resolv_conf_names_none(seen: Any) -> None:
    """What was there stays."""
    assert seen["fix"]["deaf"]["status"] == 0, seen["fix"]["deaf"]
    assert seen["fix"]["deaf_files"]["resolv.conf"] == "search internal.thinkheads.ai\nnameserver 127.0.0.1\n"
