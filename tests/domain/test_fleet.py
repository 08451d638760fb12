"""What only the whole fleet shows, and what must stay silent. The incidents it makes are in tests/collector."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from certagent.config import load_policy
from certagent.domain.findings import Culprit, Finding
from certagent.domain.fleet import FleetCertificate, FleetSnapshot, LastSeen, conclude, heard_since
from certagent.domain.incidents import KnownRehearsal, Sighting
from certagent.domain.rehearsals import AddressOwner, RehearsalOutcome
from tests.collector.cast import now
from tests.evidence import make_hop, make_rehearsal, refused

AT = now()
POLICY = load_policy(None).collector
ZONE = "internal.thinkheads.ai"
OWNERS = {f"10.0.0.{n}": AddressOwner(node=f"n{n}") for n in range(9)}


def held(number: int, *, left: float = 20.0, zone: str = ZONE) -> FleetCertificate:
    """A day's certificate that lives so many hours more."""
    ends = AT + timedelta(hours=left)
    return FleetCertificate(
        node=f"n{number}",
        name="site",
        identifiers=(f"n{number}.{zone}",),
        not_before=ends - timedelta(hours=24),
        not_after=ends,
    )


def says(code: str, number: int, culprit: Culprit, *, of: int | None = None) -> Sighting:
    """Agent n<number> says so of the name of n<of> (default: of its own)."""
    name = f"n{number if of is None else of}.{ZONE}"
    finding = msgspec.structs.replace(refused(identifier=name), code=code, culprit=culprit)
    return Sighting(agent=f"n{number}", scope=f"identifier:{name}", at=AT, finding=finding)


def rehearsed(number: int, *, error: str | None) -> KnownRehearsal:
    """The CA went to n<number>'s address for its name."""
    outcome = RehearsalOutcome.FAILED if error else RehearsalOutcome.PASSED
    hop = make_hop(f"10.0.0.{number}", None if error else 200, error=error)
    seen = make_rehearsal(None, hop, identifier=f"n{number}.{ZONE}", outcome=outcome, at=AT, node="ca", owners={})
    return KnownRehearsal(at=AT, brokered=True, rehearsal=seen)


def found(**facts: Any) -> list[Finding]:
    """What is concluded."""
    return conclude(FleetSnapshot(**facts), POLICY, AT)


def codes(findings: list[Finding]) -> list[tuple[str, str | None]]:
    """(code, identifier)."""
    return [(finding.code, finding.identifier) for finding in findings]


def heard(*minutes: float) -> tuple[LastSeen, ...]:
    """Agents that were heard so many minutes ago."""
    return tuple(LastSeen(f"n{number}", AT - timedelta(minutes=ago)) for number, ago in enumerate(minutes))


def test_a_healthy_fleet_says_nothing() -> None:
    """Heard, fresh, reached."""
    facts = {"last_seen": heard(0, 1, 4.9), "certificates": tuple(map(held, range(3))), "owners": OWNERS}
    assert found(**facts, rehearsals=tuple(rehearsed(n, error=None) for n in range(3))) == []


@pytest.mark.parametrize(("minutes", "said"), [((6, 0, 0), 1), ((6, 6, 0, 0, 0), 2), ((6, 4, 4, 0), 1), ((6, 6, 2), 2)])
def test_silence_is_told_of_each_node_or_once_of_most(minutes: tuple[float, ...], said: int) -> None:
    """Those who fall silent together are not told one by one because the first was noticed first."""
    findings = found(last_seen=heard(*minutes))
    assert [finding.code for finding in findings] == ["agent.silent"] * said
    assert (findings[0].culprit == Culprit()) is (minutes == (6, 4, 4, 0))


def test_nobody_was_silent_before_anybody_listened() -> None:
    """The collector started two minutes ago."""
    assert found(last_seen=heard_since(heard(60, 90), AT - timedelta(minutes=2))) == []


@pytest.mark.parametrize(("left", "code"), [(20, None), (3.7, None), (3.5, "cert.expiring"), (-1, "cert.expired")])
def test_a_certificate_is_told_by_what_is_left_of_its_life(left: float, code: str | None) -> None:
    """By the fraction of the policy, 0.15 of a day."""
    assert codes(found(certificates=(held(1, left=left),))) == ([(code, f"n1.{ZONE}")] if code else [])


def test_an_agent_that_says_so_itself_is_left_to_say_it() -> None:
    """It knows whose certificate it is, and what is served; of another node's certificate the collector still tells."""
    said = says("cert.expiring", 1, Culprit(node="n1"))
    findings = found(certificates=(held(1, left=3), held(2, left=3)), sightings=(said,))
    assert codes(findings) == [("cert.expiring", f"n2.{ZONE}")]


def test_a_zone_is_gone_when_its_names_are_and_not_when_one_is() -> None:
    """All of three; one of three is somebody's record; another zone's names do not count."""
    server = Culprit(node="dns", address="10.0.0.153")
    fleet = (held(1), held(2), held(3), held(4, zone="phoenix.thinkheads.ai"))
    gone = tuple(says("dns.nxdomain", number, server) for number in (1, 2, 3))
    findings = found(certificates=fleet, sightings=gone)
    assert codes(findings) == [("dns.zone_gone", f"n{number}.{ZONE}") for number in (1, 2, 3)]
    assert {finding.culprit for finding in findings} == {server}
    assert found(certificates=fleet, sightings=gone[:2]) == []
    assert found(certificates=(held(1),), sightings=gone[:1]) == []


def test_what_half_of_the_agents_say_of_the_ca_is_said_by_the_collector() -> None:
    """One of two is not enough, nor are many words of one, nor what does not concern the CA's use."""
    culprit = Culprit(node="ca", address="10.0.0.10", role="authority")
    fleet = tuple(map(held, range(4)))
    two = (says("ca.root_changed", 0, culprit), says("ca.root_changed", 1, culprit))
    assert codes(found(certificates=fleet, sightings=two)) == [("ca.root_changed", None)]
    assert found(certificates=fleet, sightings=two[:1]) == []
    assert found(certificates=fleet, sightings=(two[0], says("ca.root_changed", 0, culprit, of=1))) == []
    assert found(certificates=(*fleet, held(5)), sightings=two) == []
    assert found(certificates=fleet, sightings=tuple(says("ca.uses_proxy", n, culprit) for n in range(4))) == []


def test_one_way_only_needs_both_ways_looked_at() -> None:
    """The CA reaches others but not n2, which reaches the CA; refused, cut off, or nobody reached: something else."""
    facts = {"certificates": tuple(map(held, range(3))), "owners": OWNERS}
    reached = rehearsed(1, error=None)
    assert codes(found(**facts, rehearsals=(reached, rehearsed(2, error="timeout")))) == [
        ("net.asymmetric", f"n2.{ZONE}")
    ]
    assert found(**facts, rehearsals=(reached, rehearsed(2, error="refused"))) == []
    assert found(**facts, rehearsals=(rehearsed(2, error="timeout"),)) == []
    cut_off = (says("ca.unreachable", 2, Culprit(node="ca")),)
    assert found(**facts, rehearsals=(reached, rehearsed(2, error="timeout")), sightings=cut_off) == []
