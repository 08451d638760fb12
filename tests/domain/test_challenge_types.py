"""Which challenge the certificate is proven by is part of every question: what holds for http-01 alone is said of it
alone."""

from datetime import timedelta

import msgspec
import pytest

from certagent.config.policy_files import load_policy
from certagent.domain.diagnosis import conclude
from certagent.domain.dns01_record import TxtAnswer, TxtLookup
from certagent.domain.findings import Vantage, Verdict
from certagent.domain.fleet import conclude as conclude_fleet
from certagent.domain.fleet_snapshot import FleetSnapshot
from certagent.domain.local_path import LocalObservation, is_broken, trace_locally
from certagent.domain.path_trace import HopState, PathFacts, trace
from certagent.domain.policy import judged
from certagent.domain.rehearsals import (
    ACME_TLS,
    AlpnAnswer,
    Rehearsal,
    RehearsalOutcome,
)
from certagent.domain.sightings import KnownRehearsal
from tests.evidence import (
    CA,
    CONFIGURED,
    DNS,
    GOOD,
    GOOD_HANDSHAKE,
    NAME,
    NODE,
    NOW,
    OTHER,
    OWN,
    OWNERS,
    V6,
    attempts_of,
    by_dns,
    make_evidence,
    make_handshake,
    make_hop,
    make_rehearsal,
    make_resolution,
    unavailable,
)

TYPES = ("http-01", "tls-alpn-01", "dns-01")
POLICY = load_policy(None)
SOMEBODYS = AlpnAnswer(protocol=ACME_TLS, is_alone=True, extension="other")
RECORD = f"_acme-challenge.{NAME}."
FOUND = TxtLookup(name=RECORD, answers=(TxtAnswer(nameserver=DNS, name=RECORD, status="ok", records=1, matched=True),))


def passed(challenge: str, **changes: object) -> Rehearsal:
    """What the agent beside the CA sees of a good path."""
    hop = {
        "http-01": make_hop(OWN, 200),
        "tls-alpn-01": make_handshake(alpn=GOOD_HANDSHAKE, certificate_names=(NAME,)),
    }.get(challenge)
    if hop is None:
        seen = make_rehearsal(None, passed=True, challenge=challenge, txt=FOUND)
    else:
        seen = make_rehearsal(GOOD, hop, passed=True, challenge=challenge)
    return msgspec.structs.replace(seen, **changes)


def facts(rehearsal: Rehearsal) -> PathFacts:
    """A path of which the last rehearsal is known."""
    return PathFacts(identifier=NAME, authority="lxc103", responder=NODE, owners=OWNERS, rehearsal=rehearsal)


def codes(rehearsal: Rehearsal) -> list[str]:
    """What is concluded."""
    return [finding.code for finding in conclude(msgspec.structs.replace(make_evidence(), rehearsal=rehearsal))]


@pytest.mark.parametrize("challenge", TYPES)
def test_a_ca_that_offers_only_this_challenge_refuses_nothing(challenge: str) -> None:
    """A passed rehearsal proceeds, whatever else the CA does not offer."""
    rehearsal = passed(challenge, provisioner=msgspec.structs.replace(CONFIGURED, challenges=(challenge,)))
    evidence = msgspec.structs.replace(make_evidence(), rehearsal=rehearsal)
    judgement = judged(POLICY, NAME, conclude(evidence), rehearsal)
    assert (judgement.verdict, judgement.findings) == (Verdict.PROCEED, ())


@pytest.mark.parametrize("offered", TYPES)
@pytest.mark.parametrize("challenge", TYPES)
def test_a_ca_that_does_not_offer_this_challenge_will_refuse_the_order(challenge: str, offered: str) -> None:
    """Although the rehearsal passed: the challenge that is named is the certificate's."""
    rehearsal = passed(challenge, provisioner=msgspec.structs.replace(CONFIGURED, challenges=(offered,)))
    evidence = msgspec.structs.replace(make_evidence(), rehearsal=rehearsal)
    judgement = judged(POLICY, NAME, conclude(evidence), rehearsal)
    if challenge == offered:
        assert judgement.verdict is Verdict.PROCEED
        return
    assert judgement.verdict is Verdict.BLOCK
    (finding,) = judgement.findings
    assert finding.code == "ca.challenge_not_offered"
    assert f"offers {offered}" in finding.explanation
    assert challenge in finding.explanation


@pytest.mark.parametrize(
    ("challenge", "expected"),
    [
        ("http-01", ["ca.strict_fqdn", "ca.port_override:http"]),
        ("tls-alpn-01", ["ca.strict_fqdn", "ca.port_override:tls"]),
        ("dns-01", ["ca.strict_fqdn"]),
    ],
)
def test_a_flag_of_the_ca_is_told_for_the_challenge_that_it_moves(challenge: str, expected: list[str]) -> None:
    """The port of http-01 is nothing to a tls-alpn-01 challenge."""
    flags = ("--acme-strict-fqdn", "--acme-http-port=8080", "--acme-tls-port=8443")
    evidence = msgspec.structs.replace(make_evidence(), rehearsal=passed(challenge, authority_flags=flags))
    said = [
        finding.code + (":" + str(finding.detail["flag"])[7:].partition("-")[0] if "port" in finding.code else "")
        for finding in conclude(evidence)
    ]
    assert said == expected


def test_where_a_handshake_came_to_this_node_no_file_is_blamed_for_it() -> None:
    """tls-alpn-01: the CA was at the right box, so what it may not read does not explain the failure."""
    failed = {"outcome": RehearsalOutcome.FAILED, "unreadable": ("/etc/hosts",)}
    here = passed("tls-alpn-01", attempts=attempts_of(make_handshake(alpn=SOMEBODYS)), **failed)
    elsewhere = msgspec.structs.replace(here, attempts=attempts_of(make_handshake(CA, alpn=SOMEBODYS)))
    assert "dns.file_unreadable" not in codes(here)
    assert "dns.file_unreadable" in codes(elsewhere)


@pytest.mark.parametrize(("file", "is_told"), [("/etc/hosts", False), ("/etc/resolv.conf", True)])
def test_of_a_record_no_hosts_file_says_anything(file: str, is_told: bool) -> None:
    """dns-01: only who is asked matters."""
    failed = passed("dns-01", outcome=RehearsalOutcome.FAILED, unreadable=(file,))
    assert ("dns.file_unreadable" in codes(failed)) is is_told


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        ({"alpn": SOMEBODYS}, "dns.aaaa_wrong_host"),
        ({"error": "no_protocol"}, "dns.aaaa_wrong_host"),
        ({"error": "timeout"}, "dns.aaaa_dead"),
    ],
)
def test_a_box_that_shakes_hands_is_not_a_dead_address(seen: dict[str, object], code: str) -> None:
    """Somebody answered there, by TLS."""
    both = make_resolution(addresses=(by_dns(V6), by_dns(OWN)))
    attempts = (
        *attempts_of(msgspec.structs.replace(make_handshake(V6), **seen)),
        *attempts_of(make_handshake(alpn=GOOD_HANDSHAKE), matched=True),
    )
    found = codes(msgspec.structs.replace(passed("tls-alpn-01"), resolution=both, attempts=attempts))
    assert [one for one in found if one.startswith("dns.aaaa_")] == [code]


def test_a_node_that_shakes_hands_is_reached() -> None:
    """net.asymmetric of the fleet: nobody says so of a node whose tls-alpn-01 the CA has just seen."""
    third = "third.internal.thinkheads.ai"
    closed = make_rehearsal(None, make_hop(error="timeout"), identifier=f"other.{NAME}", owners={})
    reached_over_http = make_rehearsal(None, make_hop(OTHER, 200), passed=True, identifier=third, owners={})
    known = [KnownRehearsal(at=NOW, brokered=True, rehearsal=one) for one in (closed, reached_over_http)]
    snapshot = FleetSnapshot(owners=dict(OWNERS), rehearsals=tuple(known))
    assert [one.code for one in conclude_fleet(snapshot, POLICY.collector, NOW)] == ["net.asymmetric"]
    tls = KnownRehearsal(at=NOW, brokered=True, rehearsal=passed("tls-alpn-01"))
    reached = msgspec.structs.replace(snapshot, rehearsals=(*known, tls))
    assert conclude_fleet(reached, POLICY.collector, NOW + timedelta(seconds=1)) == []


@pytest.mark.parametrize("challenge", TYPES)
def test_the_path_of_a_passed_rehearsal_is_intact(challenge: str) -> None:
    """`trace`: each hop does its part, and says what the CA does for that challenge."""
    path = trace(facts(passed(challenge)))
    assert not path.broken
    assert {hop.state for hop in path.actual} == {HopState.OK}
    assert [hop.kind for hop in path.actual] == [hop.kind for hop in path.intended]
    said = " ".join(hop.detail for hop in (*path.intended, *path.actual))
    assert ("port 80" in said, "port 443" in said, "_acme-challenge." in said) == tuple(
        challenge == one for one in TYPES
    )
    assert "None" not in said


def test_a_record_that_the_ca_does_not_find_breaks_the_path_at_its_nameserver() -> None:
    """dns-01: no box is shown that the CA would ask."""
    missing = TxtLookup(
        name=RECORD, answers=(TxtAnswer(nameserver=DNS, name=RECORD, status="nxdomain"),), error="nxdomain"
    )
    path = trace(facts(msgspec.structs.replace(passed("dns-01"), outcome=RehearsalOutcome.FAILED, txt=missing)))
    assert path.broken
    _, nameserver, responder = path.actual
    assert (nameserver.address, nameserver.state) == (DNS, HopState.BROKEN)
    assert "nxdomain" in nameserver.detail
    assert responder.state is HopState.UNKNOWN


def unplanted(challenge: str, **seen: object) -> LocalObservation:
    """What this node sees by itself, with nothing planted."""
    rehearsal = msgspec.structs.replace(unavailable(node=None, challenge=challenge, resolution=GOOD, owners={}), **seen)
    return LocalObservation(node="lxc103", vantage=Vantage.AUTHORITY, addresses=(CA,), seen=rehearsal)


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        (unplanted("dns-01"), False),
        (unplanted("dns-01", txt=TxtLookup(name=RECORD, error="nxdomain")), False),
        (unplanted("dns-01", txt=TxtLookup(name=RECORD, error="timeout")), True),
        (unplanted("tls-alpn-01", attempts=attempts_of(make_handshake(error="no_protocol"))), False),
        (unplanted("tls-alpn-01", attempts=attempts_of(make_handshake(alpn=SOMEBODYS))), False),
        (unplanted("tls-alpn-01", attempts=attempts_of(make_handshake(error="refused"))), True),
    ],
)
def test_a_nodes_own_view_is_broken_only_where_that_challenge_could_not_get_through(
    observation: LocalObservation, expected: bool
) -> None:
    """A record that nobody has written yet, a server that speaks the protocol during a challenge: no fault."""
    assert is_broken(observation) is expected
    path = trace_locally(observation, POLICY)
    assert path.broken is expected
    assert path.actual[-1].state is HopState.UNKNOWN


@pytest.mark.parametrize("challenge", TYPES)
def test_a_watched_certificate_that_was_looked_at_misses_no_vantage(challenge: str) -> None:
    """Nothing is planted, so nothing can pass; somebody beside the CA looked all the same."""
    looked = passed(challenge, outcome=RehearsalOutcome.UNAVAILABLE, planted=False, txt=None)
    if challenge == "dns-01":
        assert looked.resolution is None
    assert "ca.vantage_missing" not in codes(looked)
