"""The founding failure, end to end on the real parts: seen by the CA first, then by certagent."""

from collections.abc import Iterator
from typing import Any

import pytest

from deploy.lab import faults
from deploy.story import witness
from tests.e2e import fleet
from tests.e2e.fleet import SEED, TRAEFIK, until
from tests.e2e.plain import ask_plainly

pytestmark = pytest.mark.lab

LINE = "10.0.0.153 traefik.internal.thinkheads.ai"


def test_the_real_ca_refuses_before_anything_of_ours_is_asked(green: None) -> None:
    """A plain ACME client with an account of its own: issued on the healthy lab, refused on the broken one."""
    witness.inside("lxc102", "systemctl", "stop", "certagent-agent")
    try:
        healthy = ask_plainly(TRAEFIK)
        fleet.break_with(SEED)
        # the CA goes on with what it read of its hosts file for 5 s, so the first orders may still be issued
        broken = until("the CA refuses", 30, lambda: _refused(ask_plainly(TRAEFIK)))
    finally:
        witness.inside("lxc102", "systemctl", "start", "certagent-agent")
        fleet.restart_ca()  # no connection of it is left for other tests
    assert healthy["issued"] is True
    assert broken["issued"] is False
    assert "could not connect to validation target" in broken["problem"]["detail"]


def test_check_proceeds_on_the_healthy_lab_and_says_nothing(green: None) -> None:
    """Every identifier of every node, by a rehearsal from beside the CA."""
    for node, identifiers in fleet.IDENTIFIERS.items():
        status, document = witness.certagent(node, "check")
        assert (status, document["verdict"]) == (0, "proceed"), document
        assert [one["identifier"] for one in document["identifiers"]] == identifiers
        for one in document["identifiers"]:
            assert one["rehearsal"]["outcome"] == "passed"
            assert one["rehearsal"]["node"] == "lxc103"
            assert {finding["severity"] for finding in one["findings"]} <= {"info"}


def test_check_names_the_line_first_of_all(green: None) -> None:
    """Node, file, line, its text, the address and whose it is; and exit status 4. How fast is for the bench to say."""
    fleet.break_with(SEED)
    status, document = witness.certagent("lxc102", "check", TRAEFIK)
    assert (status, document["verdict"]) == (4, "block")
    (judgement,) = document["identifiers"]
    first = judgement["findings"][0]
    assert first["code"] == "dns.hosts_shadow.authority"
    number = _line_number()
    expected = {"node": "lxc103", "file": "/etc/hosts", "line": number, "text": LINE, "address": "10.0.0.153"}
    assert first["culprit"] == {**expected, "role": "gateway"}
    assert "10.0.0.153 (lxc101, gateway)" in first["explanation"]


def test_the_edit_becomes_an_incident_with_victims_and_a_message(green: None) -> None:
    """Nobody asks: the file is watched, the incident opens, the webhook tells a person; then it resolves by itself,
    the CA was not restarted, and the renewal that kept being tried succeeds."""
    pid, told = fleet.authority_pid(), len(witness.messages())
    before = witness.served(*_TRAEFIK)
    fleet.break_with(SEED)
    incident = until("an incident is open", 10, lambda: next(iter(witness.open_incidents()), None))
    assert (incident["culprit"]["node"], incident["culprit"]["file"]) == ("lxc103", "/etc/hosts")
    assert incident["culprit"]["role"] == "gateway"
    assert [line["text"] for line in incident["lines"]] == [LINE]
    victims = [(one["identifier"], one["node"], one["certificate"]) for one in incident["victims"]]
    assert victims == [(TRAEFIK, "lxc102", "traefik")]
    message = until("the webhook fired", 10, lambda: fleet.sent_messages(told))[0]
    assert {"Title", "Priority", "Tags"} <= set(message["headers"])
    assert "lxc103:/etc/hosts" in message["body"]
    assert LINE in message["body"]
    orders = witness.orders()
    for _ in range(3):
        status, document = witness.certagent("lxc102", "renew", "traefik", "--force")
        assert (status, document["certificates"][0]["outcome"]) == (4, "blocked")
    assert witness.orders() == orders
    fleet.heal(SEED)
    until("the incident is resolved", 30, lambda: not witness.open_incidents())
    status, document = witness.certagent("lxc102", "renew", "traefik", "--force")
    assert status in (0, 3), document
    assert document["certificates"][0]["outcome"] in ("done", "found")
    assert witness.served(*_TRAEFIK) == document["certificates"][0]["fingerprint"] != before
    assert fleet.authority_pid() == pid


BACKENDS = {
    "portainer.internal.thinkheads.ai": set(),
    "nginx.internal.thinkheads.ai": {("lxc101", "gateway")},
    "collector.internal.thinkheads.ai": {("lxc104", "collector")},
}
"""What Traefik's node has wrong in the founding document, and the certificates that bear those names."""


@pytest.fixture
def backends_pinned(green: None) -> Iterator[None]:
    """Entries for all backends in the hosts file of Traefik's node, all at the gateway's old address."""
    lines = "".join(f"10.0.0.153 {name} # backend\n" for name in BACKENDS)
    witness.inside("lxc102", "sh", "-c", f"printf '{lines}' >>/etc/hosts")
    yield
    witness.inside("lxc102", "sed", "-i", "/# backend$/d", "/etc/hosts")


def test_entries_on_traefiks_node_are_one_incident(backends_pinned: None) -> None:
    """One file, one incident: its lines that disagree with DNS, and the certificates that bear those names."""
    incident = until("an incident is open", 10, lambda: next(iter(witness.open_incidents()), None))
    _is_traefiks(incident)
    assert len(witness.open_incidents()) == 1


def test_both_at_once_are_one_incident_each(backends_pinned: None) -> None:
    """The entry on the CA and the entries on Traefik's node: two files, two incidents, nothing mixed."""
    fleet.break_with(SEED)
    found = until("two incidents are open", 10, lambda: found if len(found := witness.open_incidents()) > 1 else None)
    by_node = {incident["culprit"]["node"]: incident for incident in found}
    assert sorted(by_node) == ["lxc102", "lxc103"]
    assert len(found) == 2
    _is_traefiks(by_node["lxc102"])
    assert [line["text"] for line in by_node["lxc103"]["lines"]] == [LINE]
    assert {(one["identifier"], one["node"]) for one in by_node["lxc103"]["victims"]} == {(TRAEFIK, "lxc102")}


def _is_traefiks(incident: dict[str, Any]) -> None:
    wrong = [name for name in BACKENDS if name != "nginx.internal.thinkheads.ai"]  # that one is at the gateway
    assert (incident["culprit"]["node"], incident["culprit"]["file"]) == ("lxc102", "/etc/hosts")
    assert [line["text"] for line in incident["lines"]] == [f"10.0.0.153 {name} # backend" for name in wrong]
    victims = {(one["node"], one["certificate"]) for one in incident["victims"]}
    assert victims == set().union(*(BACKENDS[name] for name in wrong))


@pytest.mark.timeout(400)
def test_a_mend_takes_effect_although_the_ca_was_asked_meanwhile(green: None) -> None:
    """Orders of somebody else were refused, so the CA holds a connection to the wrong box and would use it again: the
    renewal waits until it is gone, and succeeds; nobody restarts the CA."""
    pid = fleet.authority_pid()
    fleet.break_with(SEED)
    until("the CA holds a connection to the gateway", 30, lambda: _is_held())
    fleet.heal(SEED)
    until("the incident is resolved", 30, lambda: not witness.open_incidents())
    assert "http01.stale_connection" in fleet.codes(fleet.check_one("lxc102", TRAEFIK))
    status, document = witness.certagent("lxc102", "renew", "traefik", "--force")
    assert status in (0, 3), document
    assert document["certificates"][0]["outcome"] in ("done", "found"), document
    assert fleet.authority_pid() == pid


def test_uninvolved_nodes_stay_green(green: None) -> None:
    """The line is one node's problem and one certificate's."""
    fleet.break_with(SEED)
    until("an incident is open", 10, witness.open_incidents)
    for node in faults.load(SEED).green:
        status, document = witness.certagent(node, "check")
        assert (status, document["verdict"]) == (0, "proceed"), document


def test_the_cas_own_line_raises_nothing(green: None) -> None:
    """`127.0.0.1 ca...` on the CA's node is as it should be."""
    assert "127.0.0.1 ca.internal.thinkheads.ai" in witness.inside("lxc103", "cat", "/etc/hosts").stdout
    reports = [one for one in witness.items("/v1/reports") if one["agent"] == "lxc103"]
    loud = [finding for one in reports for finding in one["findings"] if "ca.internal" in (finding["identifier"] or "")]
    assert {finding["severity"] for finding in loud} <= {"info"}


_TRAEFIK = ("10.0.0.12", TRAEFIK)


def _is_held() -> bool:
    return bool(_refused(ask_plainly(TRAEFIK, port=5099)) and fleet.held_by_authority("10.0.0.153"))


def _refused(answer: dict[str, Any]) -> dict[str, Any] | None:
    return None if answer["issued"] else answer


def _line_number() -> int:
    lines = witness.inside("lxc103", "cat", "/etc/hosts").stdout.splitlines()
    return lines.index(LINE) + 1
