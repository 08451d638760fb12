"""What the agent beside a nameserver knows of its files, and whom it helps."""

import pytest

from certagent.domain.diagnosis import conclude
from certagent.domain.diagnosis.nameserver_files import answers_for, names_stand_in_files
from certagent.domain.findings import Culprit, Finding
from certagent.domain.rehearsals import RehearsalOutcome
from certagent.domain.resolution.dnsmasq import Dnsmasq, ServedHosts, read_settings
from certagent.domain.resolution.file_formats import parse_hosts
from tests.evidence import DNS, NAME, OTHER, OWN, by_dns, dns_says, judge, make_evidence, make_hop, make_resolution

FILE = "/etc/dnsmasq.hosts/fleet"
ZONES = ("internal.thinkheads.ai",)
NOWHERE = "0.0.0.0"  # noqa: S104 - read, not bound


def _facts(hosts: str, settings: bytes = b"") -> tuple[Finding, ...]:
    configuration = Dnsmasq(settings=tuple(read_settings(settings, "/etc/d.conf")))
    served = ServedHosts(file=FILE, hosts=parse_hosts(hosts.encode()))
    return tuple(names_stand_in_files(configuration, [served], [], ZONES, "lxc101"))


def _culprits(hosts: str, *, passed: bool | None = None) -> dict[str, Culprit | None]:
    evidence = make_evidence(
        make_resolution(addresses=(by_dns(OTHER),)),
        *(() if passed else (make_hop(OTHER, 404),)),
        testimony=_facts(hosts),
        passed=passed,
    )
    assert evidence.rehearsal is not None
    assert (evidence.rehearsal.outcome is RehearsalOutcome.FAILED) is not passed
    return {finding.code: finding.culprit for finding in conclude(evidence)}


def test_where_dns_leads_to_another_box_the_line_that_it_answers_from_is_to_blame() -> None:
    """And whatever that box then does wrong follows from it; the fact itself is no finding of its own."""
    culprits = _culprits(f"# fleet\n{OTHER} {NAME}\n")
    line = Culprit(node="lxc101", file=FILE, line=2, text=f"{OTHER} {NAME}", address=OTHER)
    assert culprits["dns.address_not_ours"] == line
    assert "dns.local_answer" not in culprits
    assert {culprit for culprit in culprits.values() if culprit is not None and culprit.address == OTHER} == {line}


def test_a_line_with_another_address_or_a_name_that_leads_home_blames_no_line() -> None:
    """What did not happen explains nothing."""
    blamed = _culprits(f"10.0.0.77 {NAME}\n")["dns.address_not_ours"]
    assert blamed is not None
    assert blamed.file is None
    assert all(
        culprit is None or culprit.file != FILE for culprit in _culprits(f"{OTHER} {NAME}\n", passed=True).values()
    )


def test_a_name_that_has_a_record_or_is_of_no_zone_is_no_fact() -> None:
    """With a record the two agree, or the line is a shadow."""
    assert len(_facts(f"{OTHER} {NAME}\n{OTHER} else.test\n")) == 1
    assert _facts(f"{OTHER} {NAME}\n", f"host-record={NAME},{OWN}\n".encode()) == ()
    assert _facts("10.0.0.153 lxc101.internal.thinkheads.ai lxc101\n") == ()
    assert len(_facts("".join(f"10.0.0.1 n{number}.internal.thinkheads.ai\n" for number in range(500)))) == 100


def _blamed(address: str, settings: str, *, server: str = DNS) -> Finding:
    """The first finding about a name that DNS leads to that address."""
    evidence = make_evidence(
        make_resolution(addresses=(by_dns(address, server=server),), dns=(dns_says(address, server=server),)),
        make_hop(address, error="refused"),
        testimony=tuple(fact for fact in _records(settings) if answers_for(fact, NAME)),
    )
    return judge(evidence).findings[0]


@pytest.mark.parametrize("address", [NOWHERE, "::", "127.0.0.1", "::1", "127.0.1.1"])
@pytest.mark.parametrize(
    "line",
    [
        "host-record={name},{address}",
        "address=/{name}/{address}",
        "address=/internal.thinkheads.ai/{address}",
        "address=/ai/{address}",
        "address=/else.test/{name}/{address}",
    ],
)
def test_a_record_that_leads_the_ca_to_itself_is_named_by_its_line(line: str, address: str) -> None:
    """Blocking a name by 0.0.0.0 sends the CA to itself, whatever writes it, and for the whole domain as well."""
    text = line.format(name=NAME, address=address)
    found = _blamed(address, f"# blocked\n{text}\n")
    assert (found.code, found.severity) == ("dns.loopback", "fatal")
    assert found.culprit == Culprit(node="lxc101", file="/etc/d.conf", line=2, text=text, address=address)
    assert f"connects to itself for {NAME}" in found.explanation


@pytest.mark.parametrize("address", [NOWHERE, "::"])
def test_the_answer_without_an_address_is_both_unspecified_ones(address: str) -> None:
    """`address=/NAME/#`."""
    found = _blamed(address, f"address=/{NAME}/#\n")
    assert (found.code, found.culprit and found.culprit.line) == ("dns.loopback", 1)


def test_the_nearest_line_is_the_one_that_answers() -> None:
    """dnsmasq takes the longest domain."""
    found = _records(f"address=/internal.thinkheads.ai/::\naddress=/{NAME}/0.0.0.0\n")
    assert [(one.identifier, one.variant, answers_for(one, NAME)) for one in found] == [
        ("internal.thinkheads.ai", "below", True),
        (NAME, "below", True),
    ]
    assert not answers_for(found[1], "nginx.internal.thinkheads.ai")
    assert not answers_for(found[0], "portainer.phoenix.thinkheads.ai")


def test_without_a_line_it_is_the_nameserver_that_is_blamed() -> None:
    """Of a server that no agent runs beside, or whose files say otherwise."""
    found = _blamed(NOWHERE, "host-record=else.internal.thinkheads.ai,0.0.0.0\n")
    assert (found.code, found.culprit) == ("dns.loopback", Culprit(node="lxc101", address=NOWHERE))
    found = _blamed(NOWHERE, "", server="127.0.0.1")
    assert (found.code, found.culprit) == ("dns.loopback", Culprit(node="lxc103", address=NOWHERE))


def test_records_that_lead_somewhere_are_no_facts() -> None:
    """They are the zone."""
    assert (
        _records(f"host-record={NAME},{OWN}\naddress=/internal.thinkheads.ai/{OTHER}\naddress=/x.test/0.0.0.0\n") == []
    )


def _records(settings: str) -> list[Finding]:
    configuration = Dnsmasq(settings=tuple(read_settings(settings.encode(), "/etc/d.conf")))
    return list(names_stand_in_files(configuration, [], [], ZONES, "lxc101"))
