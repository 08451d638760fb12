"""Testimony: an agent's word about a file of its own node sharpens what only a look from outside could say."""

import msgspec

from certagent.domain.diagnosis import conclude
from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.findings import Culprit, Finding, Severity, Vantage
from certagent.domain.rehearsals import AddressOwner, RehearsalOutcome
from tests.evidence import TRAEFIK, rehearse_traefik

RECORD = Culprit(node="lxc101", file="/etc/hosts", line=9, text=f"10.0.0.153 {TRAEFIK}", address="10.0.0.153")


def _told(culprit: Culprit = RECORD) -> Finding:
    return Finding(
        code="dns.hosts_shadow.nameserver",
        severity=Severity.ERROR,
        identifier=TRAEFIK,
        vantage=Vantage.STATIC,
        reporter="lxc101",
        explanation="Line 9 of /etc/hosts on lxc101 overrides the zone for everybody.",
        culprit=culprit,
        fix="Remove line 9 of /etc/hosts on lxc101, then reload dnsmasq.",
    )


def _evidence(outcome: RehearsalOutcome, *testimony: Finding) -> Evidence:
    """DNS leads the CA to the gateway; only somebody beside the nameserver can know why."""
    seen = rehearse_traefik(outcome)
    assert seen.resolution is not None
    wrong = msgspec.structs.replace(seen.resolution.addresses[0], address="10.0.0.153")
    hop = msgspec.structs.replace(seen.attempts[0].hops[0], address="10.0.0.153")
    return Evidence(
        identifier=TRAEFIK,
        node="lxc102",
        addresses=("10.0.0.12",),
        rehearsal=msgspec.structs.replace(
            seen,
            resolution=msgspec.structs.replace(seen.resolution, addresses=(wrong,)),
            attempts=(msgspec.structs.replace(seen.attempts[0], hops=(hop,)),),
            owners={"10.0.0.153": AddressOwner(node="lxc101", role="gateway")},
            testimony=testimony,
        ),
    )


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
