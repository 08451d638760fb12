"""The soak's own judgement: whatever would be a loss is a complaint, and a good soak has none."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.soak import mishaps, plan, ways
from tests.soak.injector import Entry
from tests.soak.judge import judge
from tests.soak.meter import Sample
from tests.soak.prober import ENDPOINTS, Probe
from tests.soak.record import Record

BEGAN = 1_800_000_000.0
SHADOW = "fault:hosts-shadow-authority"
CULPRIT = {"node": "lxc103", "file": "/etc/hosts", "line": 9, "address": "10.0.0.153"}


def at(seconds: float) -> str:
    """An instant of the soak as the collector writes it."""
    return (datetime.fromtimestamp(BEGAN, UTC) + timedelta(seconds=seconds)).isoformat()


def report(sequence: int, seconds: float, *findings: dict[str, Any]) -> dict[str, Any]:
    """One of lxc102's."""
    told = {"id": f"{sequence:032x}", "outcome": "done", "finished_at": at(seconds), "findings": list(findings)}
    return {"agent": "lxc102", "sequence": sequence, **told}


def in_from(way: str, begin: float, end: float) -> list[Entry]:
    """The journal of one trouble."""
    times = {"begun": begin, "in": begin + 1, "ended": end}
    return [Entry(at=BEGAN + seconds, event=event, way=way) for event, seconds in times.items()]


def probes(seconds: float, verdict: str | None = "0 (ok)", ends: float = 600.0) -> list[Probe]:
    """One look at every endpoint."""
    until = datetime.fromtimestamp(BEGAN + ends, UTC).strftime("%b %d %H:%M:%S %Y GMT")
    return [
        Probe(at=BEGAN + seconds, node=node, name=name, verdict=verdict, fingerprint="AB", ends=until)
        for node, _, name in ENDPOINTS
    ]


def good() -> Record:
    """A hundred seconds with one fault, reported."""
    return Record(
        began_at=BEGAN,
        ended_at=BEGAN + 100,
        journal=in_from(SHADOW, 20, 50),
        probes=[probe for seconds in range(0, 101, 10) for probe in probes(seconds)],
        samples=[Sample(at=BEGAN, node="lxc102", unit="certagent-agent", pid=7, kibibytes=45_000, descriptors=20)],
        mishaps=[],
        reports=[report(1, 1), report(2, 30, {"code": "dns.hosts_shadow.authority", "culprit": CULPRIT})],
        incidents=[],
        numbered={"lxc102": (0, 2)},
        dead={"lxc102": 0},
        interrupted={"lxc102": []},
    )


def changed(**parts: Any) -> list[str]:
    """What is said of the good soak with other parts."""
    return judge(msgspec.structs.replace(good(), **parts))


def test_a_good_soak_has_nothing_to_complain_of() -> None:
    """Else no soak would ever pass."""
    assert judge(good()) == []


@pytest.mark.parametrize(
    "found",
    [
        [],
        [{"code": "dns.hosts_shadow.authority", "culprit": {**CULPRIT, "node": "lxc101"}}],
        [{"code": "net.timeout", "culprit": CULPRIT}],
    ],
    ids=["nothing", "another culprit", "another code"],
)
def test_a_fault_that_nobody_reported_rightly(found: list[dict[str, Any]]) -> None:
    """The code and the culprit count, while it is in."""
    (complaint,) = changed(reports=[report(1, 1), report(2, 30, *found)])
    assert complaint.startswith(SHADOW)


def test_a_report_after_the_fault_does_not_count() -> None:
    """It has to be seen while it is in."""
    right = {"code": "dns.hosts_shadow.authority", "culprit": CULPRIT}
    (complaint,) = changed(reports=[report(1, 1), report(2, 60, right)])
    assert complaint.startswith(SHADOW)


def test_a_silent_agent_is_the_collectors_to_tell() -> None:
    """By an incident that opened, or opened again, meanwhile."""
    frozen = in_from("frozen:lxc102:certagent-agent", 0, 90)
    journal = [*good().journal, *frozen]
    (complaint,) = changed(journal=journal)
    assert "agent.silent" in complaint
    transitions = [{"kind": "opened", "at": at(-500)}, {"kind": "resolved", "at": at(-400)}]
    incident = {"code": "agent.silent", "culprit": {"node": "lxc102"}, "transitions": transitions}
    assert len(changed(journal=journal, incidents=[incident])) == 1
    incident["transitions"] = [*transitions, {"kind": "reopened", "at": at(80)}]
    assert changed(journal=journal, incidents=[incident]) == []


@pytest.mark.parametrize("verdict", ["10 (certificate has expired)", "62 (hostname mismatch)", "the probe failed: ?"])
def test_one_bad_certificate_is_enough(verdict: str) -> None:
    """Whatever openssl says of it."""
    bad = [msgspec.structs.replace(probes(55)[2], verdict=verdict)]
    (complaint,) = changed(probes=sorted([*good().probes, *bad], key=lambda one: one.at))
    assert verdict in complaint


@pytest.mark.parametrize(
    ("way", "subject", "seconds", "is_good"),
    [
        ("restarted:lxc102:traefik", "CN = TRAEFIK DEFAULT CERT", 71, True),
        ("restarted:lxc102:traefik", "CN = TRAEFIK DEFAULT CERT", 11, False),
        ("restarted:lxc102:traefik", "CN = other", 71, False),
        ("restarted:lxc102:certagent-agent", "CN = TRAEFIK DEFAULT CERT", 71, False),
    ],
)
def test_what_traefik_serves_before_it_has_read_its_files_is_its_own(
    way: str, subject: str, seconds: int, is_good: bool
) -> None:
    """Only where it was started again just then; whatever else is done to the node is no excuse."""
    bad = msgspec.structs.replace(probes(seconds)[2], verdict="62 (hostname mismatch)", subject=subject)
    journal = [*good().journal, *in_from(way, 70, 72)]
    said = changed(probes=sorted([*good().probes, bad], key=lambda one: one.at), journal=journal)
    assert (said == []) is is_good


def test_a_certificate_that_ended_between_two_looks() -> None:
    """Nobody saw it expired, and it was."""
    late = [probe for seconds in range(0, 101, 10) for probe in probes(seconds, ends=75.0 if seconds <= 70 else 600.0)]
    assert {"ended before" in complaint for complaint in changed(probes=late)} == {True}


def test_an_endpoint_that_is_away_needs_a_cause() -> None:
    """A fault on its node, then or just before; any other one does not explain it."""
    away = [msgspec.structs.replace(one, verdict=None) if one.node == "lxc102" else one for one in probes(70)]
    seen = [one for one in good().probes if one.at != BEGAN + 70] + away
    (complaint,) = changed(probes=sorted(seen, key=lambda one: one.at))
    assert "did not answer" in complaint
    stopped = [*good().journal, *in_from("stopped:lxc102", 60, 65)]
    assert changed(probes=sorted(seen, key=lambda one: one.at), journal=stopped) == []


KILLED = "killed:lxc102:certagent-agent"


def journal_line(seconds: float, message: str, **fields: str) -> str:
    """What journalctl prints of one entry."""
    entry = {"__REALTIME_TIMESTAMP": f"{(BEGAN + seconds) * 1e6:.0f}", "UNIT": "certagent-agent.service"}
    return json.dumps({**entry, "MESSAGE": message, **fields})


def ended(seconds: float, code: str, status: int) -> str:
    """What systemd says of a process that is no more."""
    return journal_line(seconds, f"Main process exited, code={code}", EXIT_CODE=code, EXIT_STATUS=str(status))


def found(*lines: str) -> list[mishaps.Mishap]:
    """What is read from such a journal of lxc102."""
    return list(mishaps.parse("lxc102", "\n".join(lines)))


@pytest.mark.parametrize(
    "line",
    [ended(70, "exited", 1), ended(70, "dumped", 6), journal_line(70, "Traceback (most recent call last):")],
    ids=["exit status", "aborted", "traceback"],
)
def test_a_process_that_fails_by_itself(line: str) -> None:
    """Even where it was killed at that time: nothing but a signal to it should end it."""
    (complaint,) = changed(
        mishaps=found(line, ended(70, "killed", 9)), journal=[*good().journal, *in_from(KILLED, 70, 75)]
    )
    assert json.loads(line)["MESSAGE"] in complaint


def test_ends_that_are_well() -> None:
    """It was told to end; and most of a journal is not about ends."""
    lines = (ended(70, "exited", 0), ended(70, "killed", 15), journal_line(70, "INFO renewal of web: done"))
    assert changed(mishaps=found(*lines)) == []


@pytest.mark.parametrize(
    ("way", "is_its"),
    [
        (KILLED, True),
        ("starved:lxc102:certagent-agent", True),
        ("restarted:lxc102:certagent-agent", False),
        ("starved:lxc101:certagent-agent", False),
        ("starved:lxc104:certagent-collector", False),
    ],
)
def test_a_kill_needs_somebody_who_sent_it(way: str, is_its: bool) -> None:
    """To that process, then; else it was the kernel's own, say."""
    said = changed(mishaps=found(ended(70, "killed", 9)), journal=[*good().journal, *in_from(way, 69, 75)])
    assert (said == []) is is_its


def test_a_journal_without_the_kills_was_not_read() -> None:
    """It would not show a failure, either."""
    (complaint,) = changed(journal=[*good().journal, *in_from(KILLED, 70, 75)])
    assert "is not in the journal" in complaint


def test_what_nobody_did_may_not_be_told() -> None:
    """An incident of what is deployed, when nothing was done to it; one from before does not count."""
    transitions = [{"kind": "opened", "at": at(-5)}, {"kind": "reopened", "at": at(60)}]
    incident = {"code": "deploy.drift", "culprit": {"node": "lxc103"}, "transitions": transitions}
    (complaint,) = changed(incidents=[incident])
    assert "nobody did that" in complaint
    assert changed(incidents=[{**incident, "transitions": transitions[:1]}]) == []


def incident(code: str, opened: float, resolved: float | None = None, **culprit: Any) -> dict[str, Any]:
    """A confirmed one, as the collector shows it."""
    transitions = [{"kind": "opened", "at": at(opened)}]
    transitions += [{"kind": "resolved", "at": at(resolved)}] if resolved is not None else []
    said = {"code": code, "confirmed": True, "culprit": {"node": "lxc103", "file": None, **culprit}}
    return {**said, "reporters": ["lxc102"], "victims": [], "transitions": transitions}


def test_what_is_accused_is_what_was_troubled() -> None:
    """Neither a file of certagent's own, nor a node at which nothing was done."""
    shadow = incident("dns.hosts_shadow.authority", 25, 51, file="/etc/hosts")
    assert changed(incidents=[shadow]) == []
    file = "/etc/traefik/dynamic/certagent-traefik.yml"
    (complaint,) = changed(incidents=[incident("http01.wrong_content", 25, file=file)])
    assert f"accused {file}" in complaint
    elsewhere = {**incident("net.timeout", 25, node="lxc101"), "reporters": ["lxc101"]}
    (complaint,) = changed(incidents=[elsewhere])
    assert "net.timeout of lxc101" in complaint
    assert "nothing was done there" in complaint
    assert changed(incidents=[{**elsewhere, "suspected": {"node": "lxc103", "file": "/etc/hosts"}}]) == []


def test_an_incident_lasts_as_long_as_its_line() -> None:
    """The fault is in from 20 to 50; taking it out may take a moment."""
    assert changed(incidents=[incident("dns.hosts_shadow.authority", 25, 45, file="/etc/hosts")]) == []
    (complaint,) = changed(incidents=[incident("dns.hosts_shadow.authority", 25, 35, file="/etc/hosts")])
    assert f"{SHADOW} was in" in complaint


def test_a_cause_is_told_once() -> None:
    """One fault, one incident; a short soak may have two more."""
    told = [incident("net.refused", seconds) for seconds in (25, 30, 35, 40)]
    assert changed(incidents=told[:3]) == []
    (complaint,) = changed(incidents=told)
    assert complaint.startswith("1 causes were told 4 times")


def test_what_is_said_to_be_served_is_what_openssl_took() -> None:
    """From an inventory to the next one that says something else."""

    def says(sequence: int, seconds: float, fingerprint: str) -> dict[str, Any]:
        served = {"10.0.0.12:443": fingerprint}
        certificates = [{"identifiers": ["traefik.internal.thinkheads.ai"], "served": served}]
        return {**report(sequence, seconds), "inventory": {"certificates": certificates}}

    numbered = {"lxc102": (0, 4)}
    reports = [*good().reports, says(3, 5, "ab"), says(4, 60, "cd")]
    (complaint,) = changed(reports=reports, numbered=numbered)
    assert "serves cd for traefik.internal.thinkheads.ai; openssl took {'ab'}" in complaint
    new = [msgspec.structs.replace(one, fingerprint="CD") if one.at > BEGAN + 60 else one for one in good().probes]
    assert changed(reports=reports, numbered=numbered, probes=new) == []


def test_a_run_that_is_told_of_twice_takes_two_numbers() -> None:
    """How it ended was stored; then its agent said of it that it was interrupted. Of no other run that is an excuse."""
    lines = f"INFO renewal of web (timer): interrupted, run {2:032x}\nINFO renewal of web (timer): done\n"
    (run,) = mishaps.parse_interrupted(lines)
    numbered = {"lxc102": (0, 3)}
    assert changed(numbered=numbered, interrupted={"lxc102": [run, run]}) == []
    assert len(changed(numbered={"lxc102": (0, 4)}, interrupted={"lxc102": [run, run]})) == 1
    assert len(changed(numbered=numbered, interrupted={"lxc102": [f"{3:032x}"]})) == 1
    assert len(changed(numbered=numbered, interrupted={"lxc101": [run]})) == 1


def test_a_stepped_clock_dates_reports() -> None:
    """What an agent says an hour ahead was said now."""
    stepped = in_from("clock:lxc101:+3600", 60, 90)
    skew = {"code": "ca.clock_skew", "culprit": {"node": "lxc101"}}
    late = {**report(1, 3_670, skew), "agent": "lxc101"}
    assert changed(journal=[*good().journal, *stepped], reports=[*good().reports, late]) == []
    early = {**report(1, 55, skew), "agent": "lxc101"}
    assert len(changed(journal=[*good().journal, *stepped], reports=[*good().reports, early])) == 1


def test_looks_that_were_not_taken() -> None:
    """A prober that died sees nothing wrong."""
    assert "not looked at" in changed(probes=good().probes[:12])[0]
    assert "not looked at" in changed(probes=[])[0]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"numbered": {"lxc102": (0, 3)}}, "does not have [3]"),
        ({"reports": [*good().reports, report(2, 30)]}, "more than once"),
        ({"dead": {"lxc102": 1}}, "were refused"),
        ({"trouble": "an incident is open"}, "an incident is open"),
        ({"journal": [*good().journal, Entry(at=BEGAN, event="failed", way=SHADOW, said="no")]}, "could not be done"),
        ({"journal": []}, "the injector did nothing"),
    ],
    ids=["lost", "twice", "refused", "not settled", "not injected", "no injector"],
)
def test_what_else_is_a_loss(parts: dict[str, Any], words: str) -> None:
    """Each by its own complaint."""
    complaints = changed(**parts)
    assert len(complaints) == 1
    assert words in complaints[0]


@pytest.mark.parametrize(
    ("grown", "words"),
    [({"kibibytes": 55_000}, "grew by"), ({"descriptors": 40}, "descriptors"), ({"kibibytes": 120_000}, "took")],
    ids=["memory", "descriptors", "all"],
)
def test_a_process_that_grows_when_it_is_warm(grown: dict[str, int], words: str) -> None:
    """The first minutes do not count, for a first renewal imports what it needs."""
    (first,) = good().samples
    warm = [msgspec.structs.replace(first, at=BEGAN + seconds) for seconds in (0, 301, 500)]
    assert changed(samples=warm) == []
    grew = [msgspec.structs.replace(first, at=BEGAN + seconds, **grown) for seconds in (600, 615, 630)]
    assert any(words in complaint for complaint in changed(samples=[*warm, *grew]))


def test_a_number_that_comes_again_is_another_process() -> None:
    """After the node was started again; between the two there was another one."""
    (first,) = good().samples
    others = [msgspec.structs.replace(first, at=BEGAN + 100, pid=8)]
    late = [msgspec.structs.replace(first, at=BEGAN + seconds, kibibytes=36_000) for seconds in (900, 915, 930)]
    grown = [msgspec.structs.replace(first, at=BEGAN + 945)]
    assert changed(samples=[first, *others, *late, *grown]) == []


def test_descriptors_of_a_moment_are_no_leak() -> None:
    """The last look may meet the agent while it proves what is served."""
    (first,) = good().samples
    looks = [msgspec.structs.replace(first, at=BEGAN + seconds) for seconds in (0, 301, 500)]
    assert changed(samples=[*looks, msgspec.structs.replace(first, at=BEGAN + 515, descriptors=40)]) == []


def test_the_plan_is_the_seeds() -> None:
    """The same again; another seed, another plan."""
    assert plan.make(7, 1_200) == plan.make(7, 1_200) != plan.make(8, 1_200)


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_troubles_one_node_at_a_time_in_a_big_way(seed: int) -> None:
    """Big faults follow each other; a disturbance is never on a node that one is on; none outlasts the soak."""
    steps = plan.make(seed, 1_800)
    large = [step for step in steps if step.way in ways.big()]
    assert all(one.ends_at < other.at for one, other in itertools.pairwise(large))
    assert all(step.ends_at <= 1_800 for step in large)
    for step in (step for step in steps if step.way in ways.small()):
        near = [one for one in large if one.at - 15 <= step.ends_at and step.at <= one.ends_at + 15]
        assert not {ways.small()[step.way].nodes[0]} & {node for one in near for node in ways.big()[one.way].nodes}


def test_every_kind_of_trouble_comes_within_the_hour() -> None:
    """No seed leaves a kind out."""
    for seed in range(5):
        done = {step.way.split(":")[0] for step in plan.make(seed, 3_600)}
        assert done == {*plan.WEIGHTS, "killed", "restarted", "starved"}
