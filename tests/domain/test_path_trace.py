"""The picture's content: intended and actual path, from a rehearsal or from findings alone."""

import msgspec

from certagent.domain.mermaid import to_mermaid
from certagent.domain.path_trace import HopState, PathFacts, addresses_met, trace
from certagent.domain.rehearsals import AddressOwner, RehearsalOutcome, Resolution
from tests.evidence import LINE, OTHER, OWN, TRAEFIK, attempts_of, make_hop, refused, rehearse_traefik, shadow

FACTS = PathFacts(
    identifier=TRAEFIK,
    authority="lxc103",
    responder="lxc102",
    owners={
        "10.0.0.153": AddressOwner(node="lxc101", role="gateway"),
        "10.0.0.12": AddressOwner(node="lxc102", role="traefik"),
    },
    roles={"lxc102": "traefik", "lxc103": "authority"},
)


def knowing(**facts: object) -> PathFacts:
    """The facts with these added."""
    return msgspec.structs.replace(FACTS, **facts)


def test_a_healthy_path_is_as_intended() -> None:
    """Four hops, all well."""
    path = trace(knowing(rehearsal=rehearse_traefik(RehearsalOutcome.PASSED)))
    assert not path.broken
    assert [hop.state for hop in path.actual] == [HopState.OK] * 4
    assert [(hop.kind, hop.node) for hop in path.actual] == [(hop.kind, hop.node) for hop in path.intended]
    assert path.intended[1].node == "lxc101"  # the nameserver
    assert path.culprit is None


def test_a_node_that_nobody_knows_is_null_and_named_in_words_alone() -> None:
    """A script reads `node`, a person the label."""
    path = trace(PathFacts(identifier="stranger.internal"))
    assert [(hop.label, hop.node) for hop in path.intended if hop.kind == "server"] == [("its node", None)]


def test_the_founding_failure_leads_through_the_hosts_line_to_the_gateway() -> None:
    """From the rehearsal: the line is the culprit, the gateway is where it ends, the responder is not reached."""
    failed = rehearse_traefik(RehearsalOutcome.FAILED, poisoned=True)
    path = trace(knowing(rehearsal=failed, findings=(shadow(),)))
    assert path.broken
    line, gateway, responder = path.actual[1:]
    assert (line.label, line.node, line.detail, line.culprit) == ("/etc/hosts:7", "lxc103", LINE, True)
    assert (gateway.node, gateway.role, gateway.address, gateway.state) == (
        "lxc101",
        "gateway",
        "10.0.0.153",
        HopState.BROKEN,
    )
    assert responder.state is HopState.UNKNOWN
    assert path.intended[2].address == "10.0.0.12"
    assert path.culprit is not None
    assert path.culprit.file == "/etc/hosts"


def test_findings_alone_give_the_same_picture_before_any_rehearsal() -> None:
    """The incident does not wait for the confirmation, nor does the picture."""
    path = trace(knowing(findings=(shadow(),)))
    assert [(hop.kind, hop.node, hop.culprit) for hop in path.actual] == [
        ("authority", "lxc103", False),
        ("hosts", "lxc103", True),
        ("server", "lxc101", False),
        ("responder", "lxc102", False),
    ]
    assert path.intended[2].address == "10.0.0.12"


def test_a_box_that_refuses_is_the_culprit_itself() -> None:
    """No file is at fault."""
    failed = rehearse_traefik(RehearsalOutcome.FAILED)
    hop = make_hop(OWN, error="refused", errno="ECONNREFUSED")
    path = trace(knowing(rehearsal=msgspec.structs.replace(failed, attempts=attempts_of(hop)), findings=(refused(),)))
    server = path.actual[2]
    assert (server.state, server.culprit, server.detail) == (HopState.BROKEN, True, "port 80: connection refused")
    assert path.actual[1].state is HopState.OK


def test_an_answer_of_200_with_something_else_is_told_as_such() -> None:
    """The catch-all page."""
    failed = rehearse_traefik(RehearsalOutcome.FAILED)
    hop = make_hop(OWN, status=200)
    path = trace(knowing(rehearsal=msgspec.structs.replace(failed, attempts=attempts_of(hop))))
    assert path.actual[2].detail == "port 80: answers 200 with something else"


def test_redirects_are_hops_of_their_own() -> None:
    """The end serves the token."""
    passed = rehearse_traefik(RehearsalOutcome.PASSED)
    hops = (
        make_hop(OWN, status=301, location="https://x/"),
        make_hop(OWN, port=443, status=200),
    )
    path = trace(knowing(rehearsal=msgspec.structs.replace(passed, attempts=attempts_of(*hops, matched=True))))
    assert [hop.kind for hop in path.actual] == ["authority", "dns", "server", "server", "responder"]
    assert not path.broken


def test_every_box_that_a_wrong_line_leads_to_is_broken() -> None:
    """A redirect by the wrong box is no step of the right way; only the line is the culprit."""
    failed = rehearse_traefik(RehearsalOutcome.FAILED, poisoned=True)
    hops = (
        make_hop(OTHER, status=301, location="https://x/"),
        make_hop(OTHER, port=443, status=404),
    )
    path = trace(knowing(rehearsal=msgspec.structs.replace(failed, attempts=attempts_of(*hops)), findings=(shadow(),)))
    assert [hop.state for hop in path.actual[1:4]] == [HopState.BROKEN] * 3
    assert [hop.culprit for hop in path.actual] == [False, True, False, False, False]


def test_a_name_without_an_address_breaks_at_dns() -> None:
    """Nothing behind it is known."""
    failed = msgspec.structs.replace(
        rehearse_traefik(RehearsalOutcome.FAILED), attempts=(), resolution=Resolution(name=TRAEFIK, error="nxdomain")
    )
    path = trace(knowing(rehearsal=failed))
    assert (path.actual[1].state, path.actual[1].detail) == (HopState.BROKEN, "nxdomain")
    assert path.actual[-1].state is HopState.UNKNOWN


def test_nobody_has_looked_is_not_broken() -> None:
    """Unknown is its own state."""
    path = trace(FACTS)
    assert not path.broken
    assert {hop.state for hop in path.actual} == {HopState.UNKNOWN}
    assert path.intended[2].address == "10.0.0.12"  # the responder's own


def test_mermaid_marks_the_culprit_in_words_and_escapes_what_agents_say() -> None:
    """Text from a file never becomes markup."""
    culprit = shadow().culprit
    assert culprit is not None
    nasty = msgspec.structs.replace(shadow(), culprit=msgspec.structs.replace(culprit, text='"]<script>'))
    text = to_mermaid(trace(knowing(findings=(nasty,))))
    assert text.startswith("flowchart LR\n")
    assert "CULPRIT" in text
    assert "<script>" not in text


def test_every_address_of_a_rehearsal_is_looked_up() -> None:
    """The nameserver's, the line's, the record's."""
    assert addresses_met(rehearse_traefik(RehearsalOutcome.FAILED, poisoned=True)) == {"10.0.0.153", "10.0.0.12"}
