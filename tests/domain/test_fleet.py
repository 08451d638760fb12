"""What only the whole fleet shows, and what must stay silent. The incidents it makes are in tests/collector."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from certagent.config.policy_files import load_policy
from certagent.domain import catalogue
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.fleet import conclude, seen_twice
from certagent.domain.fleet_snapshot import FailingChannel, FleetCertificate, FleetSnapshot, LastSeen, heard_since
from certagent.domain.rehearsals import AddressOwner, RehearsalOutcome
from certagent.domain.sightings import COLLECTOR, KnownRehearsal, Sighting, key_of
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


def rehearsed(number: int, *, error: str | None, is_local: bool = False) -> KnownRehearsal:
    """The CA went to n<number>'s address for its name."""
    outcome = RehearsalOutcome.FAILED if error else RehearsalOutcome.PASSED
    hop = make_hop(f"10.0.0.{number}", None if error else 200, error=error, is_local=is_local)
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
    kept_in = rehearsed(2, error="timeout", is_local=True)  # by the CA's own node: nothing lies between the two
    assert found(**facts, rehearsals=(reached, kept_in)) == []
    cut_off = (says("ca.unreachable", 2, Culprit(node="ca")),)
    assert found(**facts, rehearsals=(reached, rehearsed(2, error="timeout")), sightings=cut_off) == []


def test_one_way_only_is_said_once_two_looks_have_found_it() -> None:
    """A rehearsal may pass while the first is still at work; what rests on none is said at once."""
    two = (says("ca.root_changed", 0, Culprit(node="ca")), says("ca.root_changed", 1, Culprit(node="ca")))
    seen = found(
        certificates=tuple(map(held, range(3))),
        owners=OWNERS,
        rehearsals=(rehearsed(1, error=None), rehearsed(2, error="timeout")),
        sightings=two,
    )
    assert {code for code, _ in codes(seen)} == {"net.asymmetric", "ca.root_changed"}
    said, names = seen_twice(seen, frozenset())
    assert codes(said) == [("ca.root_changed", None)]
    said, names = seen_twice(seen, names)
    assert codes(said) == codes(seen)
    said, names = seen_twice([], names)
    assert (said, names) == ([], frozenset())


def failing(name: str, minutes: float, *, gave_up: bool = False) -> FailingChannel:
    """A channel that has accepted nothing for so many minutes."""
    return FailingChannel(name=name, since=AT - timedelta(minutes=minutes), failure="HTTP 404", gave_up=gave_up)


def test_channels_that_accept_nothing_are_one_finding_of_the_collectors_node() -> None:
    """Of all that fail, since the first did."""
    (finding,) = found(channels=(failing("mail", 6), failing("hook", 60), failing("new", 1)), collector="lxc104")
    assert (finding.code, finding.culprit) == (
        "collector.channel_failing",
        Culprit(node="lxc104", role="collector"),
    )
    since = (AT - timedelta(minutes=60)).strftime("%Y-%m-%d %H:%M UTC")
    assert f"nothing has been accepted by hook and mail since {since} (HTTP 404)" in finding.explanation


def test_a_message_that_is_given_up_is_said_at_once_and_a_short_failure_is_not() -> None:
    """A receiver that restarts is nothing to tell."""
    assert found(channels=(failing("hook", 4.9),)) == []
    assert codes(found(channels=(failing("hook", 0, gave_up=True),))) == [("collector.channel_failing", None)]


def test_what_half_of_the_agents_blame_on_another_node_is_said_by_the_collector() -> None:
    """A line of the CA's own file, or the CA's packets that do not leave: of every name, and together with theirs."""
    certificates = tuple(held(number) for number in (1, 2, 3))
    line = Culprit(node="ca", file="/etc/nsswitch.conf", line=3)
    said = tuple(says("dns.nxdomain", number, line) for number in (1, 2))
    (one, other) = found(certificates=certificates, sightings=said)
    assert codes([one, other]) == [("dns.nxdomain", f"n{number}.{ZONE}") for number in (1, 2)]
    assert (one.culprit, one.variant, one.facts["count"], one.facts["total"]) == (line, "fleet", 2, 3)
    assert found(certificates=certificates, sightings=said[:1]) == []
    leaving = [_keeps_its_packets_back(number) for number in (1, 2)]
    keys = {key_of(sighting.agent, sighting.finding) for sighting in leaving}
    concluded = found(certificates=certificates, sightings=tuple(leaving))
    assert {key_of(COLLECTOR, finding) for finding in concluded} == keys == {"port:ca:-"}


def _keeps_its_packets_back(number: int) -> Sighting:
    address = f"10.0.0.{number}"
    said = says("net.timeout", number, Culprit(node="ca", address=address))
    finding = catalogue.finding(
        "net.timeout",
        vantage=Vantage.AUTHORITY,
        reporter="ca",
        identifier=said.finding.identifier,
        culprit=said.finding.culprit,
        variant="local",
        place=address,
        port=80,
        looker="ca",
    )
    return msgspec.structs.replace(said, finding=finding)


def test_what_they_find_on_their_own_nodes_is_theirs() -> None:
    """However many it is."""
    own = tuple(says("net.refused", number, Culprit(node=f"n{number}", address="10.0.0.1")) for number in (1, 2))
    assert found(certificates=(held(1), held(2)), sightings=own) == []
