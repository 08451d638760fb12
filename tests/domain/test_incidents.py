"""Incidents are computed from facts: one culprit, all its victims, nobody paged on mere accusation."""

from datetime import datetime, timedelta

import msgspec
import pytest

from certagent.domain import catalogue
from certagent.domain.findings import Culprit, Finding, Severity, Vantage
from certagent.domain.incidents import (
    REOPEN_WITHIN,
    Candidate,
    Fleet,
    Incident,
    IncidentState,
    KnownRehearsal,
    Sighting,
    TransitionKind,
    Victim,
    acknowledge,
    effective_severity,
    group_findings,
    is_borne_out,
    key_of,
    transition_incident,
)
from certagent.domain.rehearsals import AddressOwner, Provisioner, RehearsalOutcome
from tests.collector.cast import HOSTS, now
from tests.evidence import NGINX, TRAEFIK, refused, rehearse_traefik, shadow

AT = now()
OWNERS = {
    "10.0.0.153": AddressOwner(node="lxc101", role="gateway"),
    "10.0.0.12": AddressOwner(node="lxc102", role="traefik"),
}
FLEET = Fleet(
    authorities=frozenset({"lxc103"}),
    owners=OWNERS,
    victims={TRAEFIK: (Victim(identifier=TRAEFIK, node="lxc102", certificate="traefik", expires_at=AT),)},
)


def seen(finding: Finding | None = None, *, agent: str = "lxc103", scope: str = HOSTS, at: datetime = AT) -> Sighting:
    """A finding as it is held."""
    return Sighting(agent=agent, scope=scope, at=at, finding=finding or shadow())


def with_rehearsal(outcome: RehearsalOutcome, *, after: float, brokered: bool = True, poisoned: bool = False) -> Fleet:
    """The fleet, with Traefik's rehearsal so many seconds after the finding."""
    at = AT + timedelta(seconds=after)
    known = KnownRehearsal(at=at, brokered=brokered, rehearsal=rehearse_traefik(outcome, at=at, poisoned=poisoned))
    return msgspec.structs.replace(FLEET, rehearsals={TRAEFIK: known})


def only(cases: dict[str, Candidate]) -> Candidate:
    """The single case."""
    assert len(cases) == 1, cases.keys()
    return next(iter(cases.values()))


def test_it_names_the_owner_of_the_address_and_its_role() -> None:
    """The founding sentence: 10.0.0.153 is lxc101, the gateway."""
    case = only(group_findings([seen()], FLEET))
    assert "10.0.0.153 (lxc101, gateway)" in case.explanation
    assert case.culprit.role == "gateway"
    assert (case.culprit.node, case.culprit.file, case.culprit.line) == ("lxc103", "/etc/hosts", 7)
    assert [victim.certificate for victim in case.victims] == ["traefik"]
    assert case.confirmed


def test_it_says_whose_address_it_is_even_if_the_explanation_does_not_mention_it() -> None:
    """A finding may carry the address in its culprit only."""
    silent = msgspec.structs.replace(shadow(), explanation="A line is wrong.")
    assert only(group_findings([seen(silent)], FLEET)).explanation.endswith(
        "The address is 10.0.0.153 (lxc101, gateway)."
    )


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("10.0.0.12", "connects to 10.0.0.12 (lxc102, traefik) for"),
        ("10.0.0.12 (lxc102, traefik)", "connects to 10.0.0.12 (lxc102, traefik) for"),
        ("10.0.0.123", "connects to 10.0.0.123 for"),
    ],
)
def test_owners_are_named_behind_their_own_address(place: str, expected: str) -> None:
    """In sentences that are made anew from the facts; no address is taken for the beginning of a longer one."""
    finding = catalogue.finding(
        "dns.hosts_shadow.authority",
        vantage=Vantage.AUTHORITY,
        reporter="lxc103",
        culprit=Culprit(node="lxc103", file=HOSTS, line=7, text=f"10.0.0.12 {TRAEFIK}"),
        place=place,
        name=TRAEFIK,
        answers=["10.0.0.153"],
    )
    graded = msgspec.structs.replace(finding, severity=Severity.FATAL)
    explanation = only(group_findings([seen(graded)], FLEET)).explanation
    assert expected in explanation
    assert explanation.endswith("DNS says 10.0.0.153 (lxc101, gateway).")
    assert explanation.count("(lxc102, traefik)") == (0 if place == "10.0.0.123" else 1)


def test_a_file_makes_one_incident_whatever_its_lines() -> None:
    """Keyed on (node, file), never on a line number."""
    case = only(group_findings([seen(), seen(shadow(NGINX, line=9))], FLEET))
    assert [line.line for line in case.lines] == [7, 9]


def test_a_victims_own_finding_joins_the_incident_of_the_file() -> None:
    """The rehearsal of the victim blames the same line."""
    own = seen(agent="lxc102", scope=f"identifier:{TRAEFIK}")
    assert only(group_findings([seen(), own], FLEET)).reporters == ("lxc102", "lxc103")


def test_a_line_that_moved_is_shown_once_where_it_was_seen_last() -> None:
    """The same text is the same line."""
    moved = seen(shadow(line=9), scope=f"identifier:{TRAEFIK}", at=AT + timedelta(seconds=1))
    assert [line.line for line in only(group_findings([seen(), moved], FLEET)).lines] == [9]


def test_a_symptom_makes_no_incident_of_its_own_beside_its_cause() -> None:
    """Somebody refused because the name led there: one culprit."""
    case = only(group_findings([seen(), seen(refused(), agent="lxc102")], FLEET))
    assert case.culprit.file == "/etc/hosts"


def test_without_a_file_node_code_and_identifier_make_the_incident() -> None:
    """Nothing more precise is known."""
    assert key_of("lxc102", refused()) == f"code:lxc102:net.refused:{TRAEFIK}"
    assert key_of("lxc102", msgspec.structs.replace(refused(), culprit=None)).startswith("code:lxc102:")


def test_warnings_make_no_incident() -> None:
    """Uninvolved nodes stay green."""
    assert group_findings([seen(msgspec.structs.replace(shadow(), severity=Severity.WARN))], FLEET) == {}


def test_a_later_rehearsal_that_passed_caps_what_concerns_the_path() -> None:
    """DESIGN, rule 1: the rehearsal decides, findings explain."""
    assert group_findings([seen()], with_rehearsal(RehearsalOutcome.PASSED, after=1)) == {}
    assert group_findings([seen()], with_rehearsal(RehearsalOutcome.PASSED, after=-1)) != {}
    assert group_findings([seen()], with_rehearsal(RehearsalOutcome.FAILED, after=1)) != {}


def test_a_passed_rehearsal_says_nothing_about_a_deployment() -> None:
    """Only the path is capped."""
    finding = msgspec.structs.replace(shadow(), code="deploy.rolled_back")
    passed = with_rehearsal(RehearsalOutcome.PASSED, after=1)
    assert effective_severity(seen(finding), passed) is Severity.FATAL


def test_a_stranger_may_accuse_but_is_not_believed() -> None:
    """Rule 11: the reporter is kept apart from the culprit."""
    assert not only(group_findings([seen(agent="lxc101")], FLEET)).confirmed


def test_a_strangers_word_changes_nothing_of_what_is_borne_out() -> None:
    """Neither its lines nor its advice; it is believed to be a victim, no more."""
    said = msgspec.structs.replace(shadow(line=9), fix="Run this.", severity=Severity.FATAL)
    said = msgspec.structs.replace(said, culprit=Culprit(node="lxc103", file="/etc/hosts", line=9, text="mine"))
    case = only(group_findings([seen(), seen(said, agent="lxc101", at=AT + timedelta(seconds=1))], FLEET))
    assert ([line.line for line in case.lines], case.fix, case.confirmed) == ([7], shadow().fix, True)


def test_a_strangers_word_alone_does_not_hold_open_what_was_borne_out() -> None:
    """It is over when the culprit's own node takes it back; the accusation opens for itself, unconfirmed."""
    both, left = group_findings([seen(), seen(agent="lxc101")], FLEET), group_findings([seen(agent="lxc101")], FLEET)
    incident, _ = transition_incident("key", None, only(both), AT)
    incident, transition = transition_incident("key", incident, only(left), AT)
    assert incident is not None
    assert (incident.state, incident.confirmed, transition) == (
        IncidentState.RESOLVED,
        True,
        TransitionKind.RESOLVED,
    )
    incident, transition = transition_incident("key", incident, only(left), AT)
    assert incident is not None
    assert (incident.confirmed, transition) == (False, TransitionKind.REOPENED)


@pytest.mark.parametrize(
    ("node", "file", "minutes", "brokered", "expected"),
    [
        ("lxc103", "/ca/intermediate.crt", 0, True, True),
        ("lxc103", "/ca/intermediate.crt", 1, True, False),
        ("lxc103", "/etc/passwd", 0, True, False),
        ("lxc104", "/ca/intermediate.crt", 0, True, False),
        ("lxc103", "/ca/intermediate.crt", 0, False, False),
    ],
)
def test_the_agent_beside_the_ca_bears_a_short_chain_out(
    node: str, file: str, minutes: int, brokered: bool, expected: bool
) -> None:
    """By the end of the very file: nobody can accuse the CA of a chain that it does not have."""
    fleet = with_rehearsal(RehearsalOutcome.PASSED, after=-1, brokered=brokered)
    (name, known), *_ = fleet.rehearsals.items()
    ends_at = known.at + timedelta(minutes=10)
    ca = Provisioner(file="/ca.json", chain_file="/ca/intermediate.crt", chain_ends_at=ends_at)
    rehearsal = msgspec.structs.replace(known.rehearsal, node="lxc103", provisioner=ca)
    fleet = msgspec.structs.replace(fleet, rehearsals={name: msgspec.structs.replace(known, rehearsal=rehearsal)})
    finding = catalogue.finding(
        "cert.chain_ends_first",
        vantage=Vantage.CLIENT,
        reporter="lxc102",
        identifier=name,
        culprit=Culprit(node=node, file=file),
        detail={"chain_ends_at": (ends_at + timedelta(minutes=minutes)).isoformat()},
    )
    sighting = Sighting(agent="lxc102", scope="certificate:traefik", at=known.at, finding=finding)
    assert is_borne_out(sighting, fleet) is expected


def test_the_end_of_a_short_chain_is_no_incident_of_its_own() -> None:
    """What the collector sees of the certificate's end is the chain's; what keeps it from being renewed is not."""
    culprit = Culprit(node="lxc103", file="/ca/intermediate.crt")
    chain, end, path = (
        catalogue.finding(
            code, vantage=Vantage.CLIENT, reporter="lxc102", identifier=TRAEFIK, variant=variant, culprit=at
        )
        for code, variant, at in (
            ("cert.chain_ends_first", "", culprit),
            ("cert.expiring", "fleet", Culprit(node="lxc102")),
            ("net.refused", "", Culprit(node="lxc102")),
        )
    )
    sightings = [
        seen(msgspec.structs.replace(finding, severity=Severity.ERROR), agent="lxc102", scope=scope)
        for finding, scope in ((chain, "certificate:traefik"), (end, "fleet:"), (path, f"identifier:{TRAEFIK}"))
    ]
    assert sorted(case.code for case in group_findings(sightings, FLEET).values()) == [
        "cert.chain_ends_first",
        "net.refused",
    ]
    assert [case.code for case in group_findings(sightings[1:2], FLEET).values()] == ["cert.expiring"]


def test_a_brokered_rehearsal_bears_an_accusation_out_if_it_met_the_culprit() -> None:
    """The collector saw the failure pass through itself, and the file in it."""
    stranger = seen(agent="lxc102")
    met = with_rehearsal(RehearsalOutcome.FAILED, after=-1, poisoned=True)
    elsewhere = with_rehearsal(RehearsalOutcome.FAILED, after=-1)
    told = with_rehearsal(RehearsalOutcome.FAILED, after=-1, poisoned=True, brokered=False)
    assert only(group_findings([stranger], met)).confirmed
    assert not only(group_findings([stranger], elsewhere)).confirmed
    assert not only(group_findings([stranger], told)).confirmed


def test_a_box_that_the_rehearsal_met_may_be_accused() -> None:
    """No file is known, but the address is the culprit's."""
    finding = msgspec.structs.replace(refused(), culprit=Culprit(node="lxc101", address="10.0.0.153"))
    met = with_rehearsal(RehearsalOutcome.FAILED, after=-1, poisoned=True)
    assert only(group_findings([seen(finding, agent="lxc102")], met)).confirmed


def test_an_address_of_nobodys_is_not_the_node_that_speaks_of_it() -> None:
    """The incident has the address, and no node."""
    finding = msgspec.structs.replace(refused(), culprit=Culprit(address="10.0.0.99"))
    case = only(group_findings([seen(finding, agent="lxc102")], FLEET))
    assert (case.culprit.node, case.culprit.address) == (None, "10.0.0.99")


def life_of(
    *cases: Candidate | None, step: timedelta = timedelta(minutes=1)
) -> list[tuple[Incident, TransitionKind | None]]:
    """What becomes of one incident when the facts say one after the other."""
    incident, lived = None, []
    for number, case in enumerate(cases):
        incident, transition = transition_incident("key", incident, case, AT + number * step)
        assert incident is not None
        lived.append((incident, transition))
    return lived


def test_an_incident_opens_resolves_by_itself_and_reopens_with_the_same_id() -> None:
    """State is computed from facts."""
    case = only(group_findings([seen()], FLEET))
    lived = life_of(case, case, None, case)
    assert [kind for _, kind in lived] == [
        TransitionKind.OPENED,
        None,
        TransitionKind.RESOLVED,
        TransitionKind.REOPENED,
    ]
    assert len({incident.id for incident, _ in lived}) == 1
    assert lived[3][0].resolved_at is None
    assert lived[3][0].opened_at > lived[0][0].opened_at


def test_a_culprit_that_comes_back_late_is_a_new_incident() -> None:
    """What happened last week is another story."""
    case = only(group_findings([seen()], FLEET))
    lived = life_of(case, None, case, step=2 * REOPEN_WITHIN)
    assert lived[2][1] is TransitionKind.OPENED
    assert lived[2][0].id != lived[0][0].id


def test_a_resolved_incident_keeps_what_it_said() -> None:
    """History is not rewritten."""
    case = only(group_findings([seen()], FLEET))
    resolved = life_of(case, None)[1][0]
    assert (resolved.state, resolved.explanation) == (IncidentState.RESOLVED, case.explanation)


def test_an_acknowledged_incident_stays_so_until_it_resolves() -> None:
    """New victims do not take the name off."""
    case = only(group_findings([seen()], FLEET))
    incident, _ = transition_incident("key", None, case, AT)
    assert incident is not None
    named = acknowledge(incident, "ops", AT)
    later, transition = transition_incident("key", named, msgspec.structs.replace(case, victims=()), AT)
    assert later is not None
    assert (later.state, later.acknowledged_by, transition) == (IncidentState.ACKNOWLEDGED, "ops", None)
    assert acknowledge(named, "another", AT) is named
