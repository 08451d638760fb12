"""What the agent beside a nameserver knows of its files, and whom it helps."""

from certagent.domain.diagnosis import conclude
from certagent.domain.diagnosis.nameserver_files import names_stand_in_files
from certagent.domain.findings import Culprit, Finding
from certagent.domain.rehearsals import RehearsalOutcome
from certagent.domain.resolution.dnsmasq import Dnsmasq, ServedHosts, read_settings
from certagent.domain.resolution.file_formats import parse_hosts
from tests.evidence import NAME, OTHER, OWN, by_dns, make_evidence, make_hop, make_resolution

FILE = "/etc/dnsmasq.hosts/fleet"
ZONES = ("internal.thinkheads.ai",)


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
