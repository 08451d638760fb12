"""What this node's own questions to its nameservers show: vantage `wire`, where the CA's view does not say it."""

import msgspec

from certagent.config.policy_files import load_policy
from certagent.domain.diagnosis import conclude
from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.findings import Culprit, Finding, Severity, Vantage, Verdict
from certagent.domain.incidents import group_findings
from certagent.domain.observations import NodeObservation
from certagent.domain.policy import judged
from certagent.domain.rehearsals import RehearsalOutcome, Resolution
from certagent.domain.sightings import Fleet, KnownRehearsal, Sighting, Victim, key_of
from tests.domain.diagnosis.test_every_code import filtering
from tests.evidence import (
    DNS,
    GOOD,
    NAME,
    NODE,
    NOW,
    OTHER,
    OWN,
    SECOND,
    dns_says,
    make_evidence,
    make_hop,
    make_resolution,
    nameserver,
    of_publication,
    unpublished,
    unresolved,
)

POLICY = load_policy(None)
TWO = (nameserver(), nameserver(SECOND, 3))
ONE_DEAD = make_resolution(nameservers=TWO, dns=(dns_says(OWN), dns_says(server=SECOND, status="timeout")))


def _unseen(here: Resolution) -> Evidence:
    """Nobody could look from beside the CA."""
    evidence = make_evidence(here=NodeObservation(resolution=here))
    assert evidence.rehearsal is not None
    blind = msgspec.structs.replace(
        evidence.rehearsal, outcome=RehearsalOutcome.UNAVAILABLE, resolution=None, attempts=(), reason="nobody is there"
    )
    return msgspec.structs.replace(evidence, rehearsal=blind)


def _wire(evidence: Evidence) -> dict[str, Finding]:
    found = judged(POLICY, NAME, conclude(evidence), evidence.rehearsal).findings
    return {one.code: one for one in found if one.vantage is Vantage.WIRE}


def test_a_name_that_nobody_has_is_an_error_on_the_wire_and_blocks_nothing() -> None:
    """The rehearsal decides; without one the order is placed with a warning."""
    for status in ("nxdomain", "nodata", "servfail", "refused", "timeout", "tcp_blocked"):
        evidence = _unseen(unresolved(status))
        (found,) = _wire(evidence).values()
        assert (found.code, found.severity, found.reporter) == (f"dns.{status}", Severity.ERROR, NODE)
        assert found.explanation.startswith(f"{NODE} cannot resolve {NAME}: ")
        assert found.culprit == Culprit(node="lxc101", address=DNS, role="gateway")
        assert judged(POLICY, NAME, conclude(evidence), evidence.rehearsal).verdict is Verdict.WARN


def test_the_ca_s_own_view_comes_first_and_stays_fatal() -> None:
    """What the CA cannot resolve is said once, by the authority, and blocks."""
    evidence = make_evidence(unresolved("nxdomain"), here=NodeObservation(resolution=unresolved("nxdomain")))
    judgement = judged(POLICY, NAME, conclude(evidence), evidence.rehearsal)
    (found,) = (one for one in judgement.findings if one.code == "dns.nxdomain")
    assert (found.vantage, found.severity, judgement.verdict) == (Vantage.AUTHORITY, Severity.FATAL, Verdict.BLOCK)


def test_a_dead_nameserver_of_this_node_is_a_warning() -> None:
    """By its line; nothing where the path holds, or where the CA's view says the same."""
    here = NodeObservation(resolution=ONE_DEAD)
    found = _wire(make_evidence(GOOD, make_hop(OWN, 404), here=here))["dns.resolver_dead"]
    assert found.severity is Severity.WARN
    assert found.culprit == Culprit(
        node=NODE, file="/etc/resolv.conf", line=3, text=f"nameserver {SECOND}", address=SECOND
    )
    assert _wire(make_evidence(here=here)) == {}
    assert _wire(make_evidence(ONE_DEAD, make_hop(OWN, 404), here=here)) == {}


def test_views_that_differ_are_the_authority_s_only_where_the_ca_s_view_takes_part() -> None:
    """What only this node's questions show is a warning; a CA that is led elsewhere is an error."""
    split = make_resolution(nameservers=TWO, dns=(dns_says(OWN), dns_says(OTHER, server=SECOND)))
    at_ca = make_resolution(addresses=split.addresses, dns=(dns_says(OTHER),))
    for resolution, here, vantage, severity in (
        (GOOD, split, Vantage.WIRE, Severity.WARN),
        (split, GOOD, Vantage.AUTHORITY, Severity.ERROR),
        (at_ca, GOOD, Vantage.AUTHORITY, Severity.ERROR),
    ):
        evidence = make_evidence(resolution, make_hop(OWN, 404), here=NodeObservation(resolution=here))
        found = {one.code: one for one in judged(POLICY, NAME, conclude(evidence), evidence.rehearsal).findings}
        assert (found["dns.split_horizon"].vantage, found["dns.split_horizon"].severity) == (vantage, severity)


def test_a_filter_is_seen_on_the_wire_where_the_ca_s_view_does_not_show_it() -> None:
    """By the word of the agent beside the nameserver."""
    here = NodeObservation(resolution=unresolved("nodata"))
    found = _wire(make_evidence(GOOD, make_hop(OWN, 404), here=here, testimony=filtering()))
    assert found["dns.rebind_filtered"].severity is Severity.ERROR
    assert _wire(make_evidence(unresolved("nodata"), here=here, testimony=filtering())) == {}


def test_the_servers_of_the_record_s_zone_are_asked_on_the_wire() -> None:
    """dns-01: what they say is seen there; what the program or the state say is this node's own."""
    lagging = of_publication(servers=(unpublished(nameserver=SECOND),))
    assert {one.code: one.vantage for one in conclude(lagging)}["dns01.not_on_all_servers"] is Vantage.WIRE
    for trouble, vantage in (("refused", Vantage.WIRE), ("hook", Vantage.CLIENT), ("journal", Vantage.CLIENT)):
        (first, *_) = conclude(of_publication(trouble=trouble, rcode="REFUSED"))
        assert first.vantage is vantage


def test_one_incident_whoever_asked() -> None:
    """The wire's finding and the authority's have one key; the authority speaks first; a passed rehearsal ends it."""
    on_the_wire = _wire(_unseen(unresolved("nxdomain")))["dns.nxdomain"]
    evidence = make_evidence(unresolved("nxdomain"))
    at_ca = judged(POLICY, NAME, conclude(evidence), evidence.rehearsal).findings[0]
    assert key_of(NODE, on_the_wire) == key_of("lxc103", at_ca)
    sightings = [
        Sighting(agent=agent, scope=f"identifier:{NAME}", at=NOW, finding=one)
        for agent, one in ((NODE, on_the_wire), ("lxc103", at_ca))
    ]
    fleet = Fleet(authorities=frozenset({"lxc103"}))
    (case,) = group_findings(sightings, fleet).values()
    assert (case.severity, case.confirmed, case.explanation) == (Severity.FATAL, True, at_ca.explanation)
    (alone,) = group_findings(sightings[:1], fleet).values()
    assert not alone.confirmed, "one node's word about another accuses nobody"
    passed = make_evidence().rehearsal
    assert passed is not None
    later = KnownRehearsal(at=NOW.replace(hour=4), brokered=True, rehearsal=passed, asker=NODE)
    holders = {NAME: (Victim(identifier=NAME, node=NODE, certificate="traefik"),)}
    assert group_findings(sightings, Fleet(rehearsals={NAME: (later,)}, victims=holders)) == {}
    assert group_findings(sightings[1:], Fleet(rehearsals={NAME: (later,)})).keys() == {key_of("lxc103", at_ca)}
