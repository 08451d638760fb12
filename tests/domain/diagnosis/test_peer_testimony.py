"""Testimony: an agent's word about a file of its own node sharpens what only a look from outside could say."""

import msgspec

from certagent.domain.diagnosis import conclude
from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.findings import Culprit, Finding, Severity, Vantage
from certagent.domain.rehearsals import AddressOwner, RehearsalOutcome
from tests.evidence import (
    LINE,
    NAME,
    OTHER,
    OWN,
    bare_evidence,
    by_dns,
    dns_says,
    make_finding,
    make_hop,
    make_rehearsal,
    make_resolution,
)

RECORD = Culprit(node="lxc101", file="/etc/hosts", line=9, text=LINE, address=OTHER)


def _told(culprit: Culprit = RECORD) -> Finding:
    return make_finding(
        "dns.hosts_shadow.nameserver",
        "Line 9 of /etc/hosts on lxc101 overrides the zone for everybody.",
        severity=Severity.ERROR,
        vantage=Vantage.STATIC,
        reporter="lxc101",
        identifier=NAME,
        culprit=culprit,
        fix="Remove line 9 of /etc/hosts on lxc101, then reload dnsmasq.",
    )


def _evidence(outcome: RehearsalOutcome, *testimony: Finding) -> Evidence:
    """DNS leads the CA to the gateway; only somebody beside the nameserver can know why."""
    wrong = make_resolution(
        addresses=(by_dns(OTHER, server=OTHER),), dns=(dns_says(OWN, server=OTHER),), nameservers=()
    )
    passed = outcome is RehearsalOutcome.PASSED
    hop = make_hop(OTHER, 200 if passed else 404)
    owners = {OTHER: AddressOwner(node="lxc101", role="gateway")}
    return bare_evidence(make_rehearsal(wrong, hop, passed=passed, owners=owners, testimony=testimony))


def test_a_wrong_record_gets_the_line_that_makes_it() -> None:
    """The same code as without testimony, and the culprit as precise as the nameserver's own agent knows it."""
    concluded = {one.code: one for one in conclude(_evidence(RehearsalOutcome.FAILED, _told()))}
    assert concluded["dns.address_not_ours"].culprit == RECORD
    assert concluded["dns.address_not_ours"].fix == "Remove line 9 of /etc/hosts on lxc101, then reload dnsmasq."
    assert "overrides the zone" in concluded["dns.address_not_ours"].explanation
    assert concluded["dns.hosts_shadow.nameserver"].reporter == "lxc101"


def test_a_line_about_another_address_explains_nothing() -> None:
    """What the box says of another address is another trouble."""
    other = msgspec.structs.replace(RECORD, address="10.0.0.99")
    concluded = {one.code: one for one in conclude(_evidence(RehearsalOutcome.FAILED, _told(other)))}
    assert concluded["dns.address_not_ours"].culprit == Culprit(node="lxc101", address="10.0.0.153", role="gateway")


def test_a_path_that_is_good_is_not_talked_down() -> None:
    """The rehearsal decides: where it passed, nobody's word makes a finding."""
    assert "dns.hosts_shadow.nameserver" not in {
        one.code for one in conclude(_evidence(RehearsalOutcome.PASSED, _told()))
    }
