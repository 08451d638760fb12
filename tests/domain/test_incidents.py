"""Incidents are computed from facts: one culprit, all its victims, nobody paged on mere accusation."""

from datetime import datetime, timedelta

import msgspec
import pytest

from certagent.domain import catalogue
from certagent.domain.findings import Culprit, Finding, Severity, Vantage
from certagent.domain.incidents import (
    REOPEN_WITHIN,
    Candidate,
    Incident,
    IncidentState,
    TransitionKind,
    acknowledge,
    group_findings,
    transition_incident,
)
from certagent.domain.rehearsals import AddressOwner, Provisioner, RehearsalOutcome
from certagent.domain.sightings import (
    Fleet,
    KnownRehearsal,
    Sighting,
    Victim,
    effective_severity,
    is_borne_out,
    key_of,
)
from tests.collector.cast import HOSTS, now
from tests.evidence import NGINX, TRAEFIK, make_finding, make_hop, make_rehearsal, refused, rehearse_traefik, shadow

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


def with_rehearsal(
    outcome: RehearsalOutcome, *, after: float, brokered: bool = True, poisoned: bool = False, asker: str = "lxc102"
) -> Fleet:
    """The fleet, with Traefik's rehearsal so many seconds after the finding."""
    at = AT + timedelta(seconds=after)
    seen = rehearse_traefik(outcome, at=at, poisoned=poisoned)
    known = KnownRehearsal(at=at, brokered=brokered, rehearsal=seen, asker=asker)
    return msgspec.structs.replace(FLEET, rehearsals={TRAEFIK: (known,)})


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
    missing = msgspec.structs.replace(refused(), code="http01.not_found")
    assert key_of("lxc102", missing) == f"code:lxc102:http01.not_found:{TRAEFIK}"
    assert key_of("lxc102", msgspec.structs.replace(refused(), culprit=None)) == f"code:lxc102:net.refused:{TRAEFIK}"


def test_warnings_make_no_incident() -> None:
    """Uninvolved nodes stay green."""
    assert group_findings([seen(msgspec.structs.replace(shadow(), severity=Severity.WARN))], FLEET) == {}


def test_a_later_rehearsal_that_passed_caps_what_concerns_the_path() -> None:
    """Decision 1: the rehearsal decides, findings explain."""
    assert group_findings([seen()], with_rehearsal(RehearsalOutcome.PASSED, after=1)) == {}
    assert group_findings([seen()], with_rehearsal(RehearsalOutcome.PASSED, after=-1)) != {}
    assert group_findings([seen()], with_rehearsal(RehearsalOutcome.FAILED, after=1)) != {}


def test_a_failure_where_somebody_answers_brings_back_nothing_that_says_nobody_does() -> None:
    """What was mended stays mended, although its end is noted later, and something else breaks before that."""
    closed = make_rehearsal(None, make_hop("10.0.0.12", error="timeout"))
    wrong = make_rehearsal(None, make_hop("10.0.0.12", 404))
    at = {seconds: AT + timedelta(seconds=seconds) for seconds in (1, 2)}
    passed = with_rehearsal(RehearsalOutcome.PASSED, after=1).rehearsals[TRAEFIK][0]
    said = msgspec.structs.replace(refused(), culprit=Culprit(node="lxc102", address="10.0.0.12"))
    for later, expected in ((wrong, Severity.WARN), (closed, said.severity)):
        failed = msgspec.structs.replace(passed, at=at[2], rehearsal=later)
        fleet = msgspec.structs.replace(FLEET, rehearsals={TRAEFIK: (passed, failed)})
        assert effective_severity(seen(said, agent="lxc102"), fleet) is expected


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
    fix = f"Remove line 7 of /etc/hosts on lxc103: '10.0.0.153 {TRAEFIK}'"
    assert ([line.line for line in case.lines], case.fix, case.confirmed) == ([7], fix, True)


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
    (name, (known,)), *_ = fleet.rehearsals.items()
    ends_at = known.at + timedelta(minutes=10)
    ca = Provisioner(file="/ca.json", chain_file="/ca/intermediate.crt", chain_ends_at=ends_at)
    rehearsal = msgspec.structs.replace(known.rehearsal, node="lxc103", provisioner=ca)
    fleet = msgspec.structs.replace(fleet, rehearsals={name: (msgspec.structs.replace(known, rehearsal=rehearsal),)})
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


def test_a_rehearsal_that_the_accuser_asked_for_shows_only_that_its_own_identifier_fails() -> None:
    """It pages as that node's incident; the accused is suspected, and nobody's lines are shown."""
    stranger = seen(agent="lxc102")
    for met in (True, False):
        failed = with_rehearsal(RehearsalOutcome.FAILED, after=-1, poisoned=met)
        ((key, case),) = group_findings([stranger], failed).items()
        assert (key, case.confirmed) == (f"code:lxc102:dns.hosts_shadow.authority:{TRAEFIK}", True)
        assert (case.culprit, case.lines) == (Culprit(node="lxc102"), ())
        assert case.suspected is not None
        assert (case.suspected.node, case.suspected.file, case.suspected.line) == ("lxc103", "/etc/hosts", 7)
        assert [victim.node for victim in case.victims] == ["lxc102"]


def test_what_nobody_bears_out_stays_unconfirmed() -> None:
    """The accuser has it only by its own word, by another one's rehearsal, or the identifier is not its own."""
    stranger = seen(agent="lxc102")
    told = with_rehearsal(RehearsalOutcome.FAILED, after=-1, poisoned=True, brokered=False)
    others = with_rehearsal(RehearsalOutcome.FAILED, after=-1, poisoned=True, asker="lxc199")
    own = with_rehearsal(RehearsalOutcome.FAILED, after=-1, poisoned=True)
    for case in (
        only(group_findings([stranger], told)),
        only(group_findings([stranger], others)),
        only(group_findings([seen(agent="lxc101")], own)),
    ):
        assert (case.confirmed, case.suspected, case.culprit.file) == (False, None, "/etc/hosts")


def test_a_suspicion_that_the_authority_bears_out_is_one_incident() -> None:
    """The accused's, with its line; the node that suspected it is a victim."""
    failed = with_rehearsal(RehearsalOutcome.FAILED, after=-1, poisoned=True)
    case = only(group_findings([seen(), seen(agent="lxc102")], failed))
    assert (case.confirmed, case.suspected, case.culprit.node) == (True, None, "lxc103")


@pytest.mark.parametrize(
    ("line", "reporter", "met", "asker", "is_good"),
    [
        (2, "lxc101", True, "lxc102", True),
        (3, "lxc101", True, "lxc102", False),
        (2, "lxc199", True, "lxc102", False),
        (2, "lxc101", False, "lxc102", False),
        (2, "lxc101", True, "lxc199", False),
    ],
    ids=["owned up to", "another line", "a third node's word", "the CA met something else", "somebody else asked"],
)
def test_the_accused_node_s_own_word_bears_out_which_line_it_answers_from(
    line: int, reporter: str, met: bool, asker: str, is_good: bool
) -> None:
    """A nameserver's agent names the line; the CA met what it says; and the name of the node that speaks fails."""
    culprit = Culprit(node="lxc101", file="/etc/dnsmasq.d/zone.conf", line=2, address="10.0.0.153")
    own_word = make_finding(
        "dns.local_answer",
        identifier=TRAEFIK,
        reporter=reporter,
        culprit=msgspec.structs.replace(culprit, line=line),
    )
    failed = with_rehearsal(RehearsalOutcome.FAILED, after=-1, poisoned=met, asker=asker)
    (known,) = failed.rehearsals[TRAEFIK]
    told = msgspec.structs.replace(known, rehearsal=msgspec.structs.replace(known.rehearsal, testimony=(own_word,)))
    fleet = msgspec.structs.replace(failed, rehearsals={TRAEFIK: (told,)})
    finding = msgspec.structs.replace(refused(), code="dns.address_not_ours", culprit=culprit)
    case = only(group_findings([seen(finding, agent="lxc102")], fleet))
    assert (case.confirmed and case.suspected is None) is is_good


def test_a_box_that_the_rehearsal_met_is_suspected() -> None:
    """No file is known, but the address."""
    finding = msgspec.structs.replace(refused(), culprit=Culprit(node="lxc101", address="10.0.0.153"))
    met = with_rehearsal(RehearsalOutcome.FAILED, after=-1, poisoned=True)
    case = only(group_findings([seen(finding, agent="lxc102")], met))
    assert case.suspected == Culprit(node="lxc101", address="10.0.0.153", role="gateway")


LIFETIME = make_finding(
    "cert.expired", identifier=TRAEFIK, reporter="lxc102", culprit=Culprit(node="lxc102", file="/etc/traefik.pem")
)


@pytest.mark.parametrize(
    ("victim", "symptom"), [("lxc102", LIFETIME), ("lxc103", refused())], ids=["expired", "refused"]
)
def test_an_accusation_that_nobody_bears_out_explains_nothing(victim: str, symptom: Finding) -> None:
    """Neither of a node that does not exist, nor of one that does, nor of the accuser itself."""
    said = msgspec.structs.replace(shadow(reporter="lxc199"), culprit=Culprit(node="ghost", file="/etc/hosts", line=1))
    alone = group_findings([seen(symptom, agent=victim)], FLEET)
    for culprit in (said.culprit, Culprit(node="lxc101", file="/etc/hosts"), Culprit(node="lxc199", file="/etc/hosts")):
        liar = seen(msgspec.structs.replace(said, culprit=culprit), agent="lxc199")
        cases = group_findings([seen(symptom, agent=victim), liar], FLEET)
        assert {key: cases.get(key) for key in alone} == alone


def test_what_a_node_blames_on_another_that_admits_it_is_a_symptom() -> None:
    """Both say the same of one identifier: one incident, that of the file."""
    blamed = msgspec.structs.replace(refused(), culprit=Culprit(node="lxc101", address="10.0.0.153"))
    admitted = msgspec.structs.replace(
        shadow(reporter="lxc101"), culprit=Culprit(node="lxc101", file="/etc/nginx.conf")
    )
    case = only(group_findings([seen(blamed, agent="lxc102"), seen(admitted, agent="lxc101")], FLEET))
    assert case.culprit.file == "/etc/nginx.conf"


def test_only_the_node_whose_identifier_it_is_clears_a_sighting_by_a_rehearsal() -> None:
    """Or the authority, by its own look; not who also asked, nor an operator, nor an unknown one."""
    for asker, is_over in (("lxc102", True), ("lxc103", True), ("lxc199", False), ("@ops", False), ("", False)):
        passed = with_rehearsal(RehearsalOutcome.PASSED, after=1, asker=asker)
        assert (group_findings([seen()], passed) == {}) is is_over, asker


def test_one_challenge_says_nothing_of_another() -> None:
    """http-01 fails, tls-alpn-01 passes: the node needs what it rehearses."""
    failed = with_rehearsal(RehearsalOutcome.FAILED, after=1, poisoned=True).rehearsals[TRAEFIK][0]
    other = with_rehearsal(RehearsalOutcome.PASSED, after=2).rehearsals[TRAEFIK][0]
    other = msgspec.structs.replace(other, rehearsal=msgspec.structs.replace(other.rehearsal, challenge="tls-alpn-01"))
    both = msgspec.structs.replace(FLEET, rehearsals={TRAEFIK: (failed, other)})
    assert group_findings([seen()], both) != {}
    of_http = msgspec.structs.replace(refused(), code="http01.not_found")
    assert group_findings([seen(of_http)], msgspec.structs.replace(FLEET, rehearsals={TRAEFIK: (other,)})) != {}


def test_in_a_dispute_nothing_passes_through_what_is_accused() -> None:
    """The line leads to the box that passes: that is what is wrong with it."""
    passed = with_rehearsal(RehearsalOutcome.PASSED, after=1, poisoned=True)
    assert group_findings([seen()], passed) == {}
    disputed = msgspec.structs.replace(passed, disputed=frozenset({TRAEFIK}))
    assert group_findings([seen()], disputed) != {}


def test_who_joins_an_accusation_is_no_victim_by_that() -> None:
    """Only where the CA's side met the culprit on the way to the identifier that is its own."""
    name, node = "x.internal.thinkheads.ai", "lxc199"
    joined = seen(shadow(name, reporter=node), agent=node)
    theirs = (Victim(identifier=name, node=node, certificate="x"),)
    fleet = msgspec.structs.replace(FLEET, victims={**FLEET.victims, name: theirs})
    assert {victim.node for victim in only(group_findings([seen(), joined], fleet)).victims} == {"lxc102"}
    for poisoned in (True, False):
        known = with_rehearsal(RehearsalOutcome.FAILED, after=1, poisoned=poisoned, asker=node).rehearsals[TRAEFIK]
        asked = msgspec.structs.replace(fleet, rehearsals={name: known})
        victims = {victim.node for victim in only(group_findings([seen(), joined], asked)).victims}
        assert victims == ({"lxc102", node} if poisoned else {"lxc102"})


@pytest.mark.parametrize("speaker", ["@collector", "lxc103"])
def test_who_says_what_the_collector_or_the_cas_own_agent_says_of_it_is_a_victim(speaker: str) -> None:
    """Of a CA that is down nothing else shows whom it concerns; each for its own certificate."""
    said = make_finding("ca.unreachable", identifier=TRAEFIK, culprit=Culprit(node="lxc103", address="10.0.0.10"))
    concluded = msgspec.structs.replace(said, identifier=None)
    found = [seen(said, agent="lxc102", scope=f"identifier:{TRAEFIK}"), seen(concluded, agent=speaker)]
    (case,) = group_findings(found, FLEET).values()
    assert [victim.identifier for victim in case.victims] == [TRAEFIK]
    assert case.confirmed


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


def test_an_absent_responder_is_no_fault_of_the_web_server() -> None:
    """The line that passes the challenge on to it is right; one beside the CA may be wrong all the same."""
    absent = make_finding(
        "http01.responder_absent", identifier=TRAEFIK, culprit=Culprit(node="lxc102", address="127.0.0.1:5002")
    )
    route = Culprit(node="lxc102", file="/etc/traefik/dynamic/challenge.yml", line=24)
    missing = make_finding("http01.not_found", identifier=TRAEFIK, culprit=route)
    own = [seen(finding, agent="lxc102", scope=f"identifier:{TRAEFIK}") for finding in (missing, absent)]
    assert [case.code for case in group_findings(own, FLEET).values()] == ["http01.responder_absent"]
    assert len(group_findings(own[:1], FLEET)) == 1
    both = group_findings([*own, seen()], FLEET).values()
    assert sorted(case.code for case in both) == ["dns.hosts_shadow.authority", "http01.responder_absent"]


def test_what_is_met_where_a_name_leads_by_mistake_is_no_fault_of_its_own() -> None:
    """The record is wrong; that another node does not know the challenge follows from it."""
    record = make_finding(
        "dns.address_not_ours", identifier=TRAEFIK, culprit=Culprit(node="lxc101", address="10.0.0.153")
    )
    answer = make_finding(
        "http01.redirect_broken", identifier=TRAEFIK, culprit=Culprit(node="lxc101", address="10.0.0.153")
    )
    nobody = refused("10.0.0.153", "lxc101")
    found = [seen(finding, agent="lxc102", scope=f"identifier:{TRAEFIK}") for finding in (answer, nobody, record)]
    assert [case.code for case in group_findings(found, FLEET).values()] == ["dns.address_not_ours"]


def test_an_answer_that_is_wrong_in_two_ways_is_one_incident() -> None:
    """For one certificate at one address; at another address it is another."""
    there, elsewhere = Culprit(node="lxc102", address="10.0.0.12"), Culprit(node="lxc102", address="10.0.0.13")
    found = [
        seen(make_finding(code, identifier=TRAEFIK, culprit=culprit), agent="lxc102", scope=f"identifier:{TRAEFIK}")
        for code, culprit in (
            ("http01.forbidden", there),
            ("http01.redirect_offsite", there),
            ("http01.not_found", elsewhere),
        )
    ]
    assert len(group_findings(found[:2], FLEET)) == 1
    assert len(group_findings(found, FLEET)) == 2


def test_a_node_suspects_one_file_once() -> None:
    """Whatever it says of it: two findings about one identifier are one incident of its own."""
    file = Culprit(node="lxc101", file="/etc/nsswitch.conf", address="10.0.0.153")
    found = [
        seen(make_finding(code, identifier=TRAEFIK, culprit=file), agent="lxc102", scope=f"identifier:{TRAEFIK}")
        for code in ("dns.nss_only", "dns.nxdomain")
    ]
    met = with_rehearsal(RehearsalOutcome.FAILED, after=-1, poisoned=True)
    case = only(group_findings(found, met))
    assert (case.culprit.node, case.suspected and case.suspected.file) == ("lxc102", "/etc/nsswitch.conf")


def test_a_provisioner_that_is_missing_explains_a_directory_that_is() -> None:
    """By the CA's own file, if the agent there says so; not at another CA, and not whatever else is wrong there."""
    file, ca = Culprit(node="lxc103", file="/ca.json", line=11), Culprit(node="lxc103", address="10.0.0.10")
    missing = seen(make_finding("ca.provisioner_missing", identifier=TRAEFIK, culprit=file))
    directory = seen(make_finding("ca.directory_missing", identifier=TRAEFIK, culprit=ca), agent="lxc102")
    down = seen(make_finding("ca.unreachable", identifier=TRAEFIK, culprit=ca))
    other = seen(make_finding("ca.directory_missing", identifier=TRAEFIK, culprit=Culprit(node="lxc109")))
    assert [case.code for case in group_findings([missing, directory], FLEET).values()] == ["ca.provisioner_missing"]
    assert len(group_findings([missing, down], FLEET)) == 2
    assert len(group_findings([missing, other], FLEET)) == 2


def test_a_mistake_in_a_file_explains_the_answer() -> None:
    """Both name a line of the same node's files; one message is about the mistake."""
    mistake, answer = (
        make_finding(code, identifier=TRAEFIK, culprit=Culprit(node="lxc102", file=file, line=6))
        for code, file in (
            ("http01.wrong_entrypoint", "/etc/traefik/dynamic/challenge.yml"),
            ("http01.redirect_broken", "/etc/traefik/dynamic/to-https.yml"),
        )
    )
    found = [seen(finding, agent="lxc102", scope=f"identifier:{TRAEFIK}") for finding in (answer, mistake)]
    assert [case.code for case in group_findings(found, FLEET).values()] == ["http01.wrong_entrypoint"]
    other = msgspec.structs.replace(answer, identifier=NGINX)
    found.append(seen(other, agent="lxc101", scope=f"identifier:{NGINX}"))
    assert len(group_findings(found, FLEET)) == 2


@pytest.mark.parametrize(
    ("code", "file", "allowed", "expected"),
    [
        ("ca.policy_denies", "/ca.json", ("*.elsewhere",), True),
        ("ca.policy_denies", "/ca.json", (TRAEFIK,), False),
        ("ca.policy_denies", "/etc/passwd", ("*.elsewhere",), False),
        ("ca.provisioner_missing", "/ca.json", ("*.elsewhere",), False),
    ],
)
def test_the_agent_beside_the_ca_bears_out_that_its_file_refuses_the_order(
    code: str, file: str, allowed: tuple[str, ...], expected: bool
) -> None:
    """By what it read there for the rehearsal, which may well have passed."""
    fleet = with_rehearsal(RehearsalOutcome.PASSED, after=-1)
    (name, (known,)), *_ = fleet.rehearsals.items()
    ca = Provisioner(file="/ca.json", allowed=allowed, lines={"allow": 8})
    rehearsal = msgspec.structs.replace(known.rehearsal, node="lxc103", provisioner=ca)
    fleet = msgspec.structs.replace(fleet, rehearsals={name: (msgspec.structs.replace(known, rehearsal=rehearsal),)})
    finding = make_finding(code, identifier=name, culprit=Culprit(node="lxc103", file=file, line=8))
    assert is_borne_out(seen(finding, agent="lxc102"), fleet) is expected


def test_who_quotes_the_journal_speaks_for_the_incident() -> None:
    """Before whose name or identifier comes first, and whichever came first."""

    def word(agent: str, *, said: str | None, reason: str | None) -> Sighting:
        finding = catalogue.finding(
            "ca.unreachable",
            vantage=Vantage.CLIENT,
            reporter=agent,
            identifier=f"{agent}.test",
            culprit=Culprit(node="lxc103"),
            url="https://ca.test/",
            place="10.0.0.10",
            error="nothing listens there",
            said=said,
            reason=reason,
        )
        return Sighting(agent=agent, scope=f"identifier:{agent}.test", at=AT, finding=finding)

    mute = word("lxc101", said=None, reason="no agent is beside it")
    quoting = word("lxc102", said="error opening Badger database", reason=None)
    for words in ([mute, quoting], [quoting, mute]):
        assert "Badger" in only(group_findings(words, FLEET)).explanation
