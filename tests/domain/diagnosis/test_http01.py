"""http-01: what the founding failure and its neighbours look like, and what must stay silent."""

import msgspec
import pytest

from certagent.config.policy_files import load_policy
from certagent.domain.diagnosis.evidence import DirectoryCheck, ResponderCheck
from certagent.domain.diagnosis.name_resolution import shadows_at_a_client, shadows_at_the_authority
from certagent.domain.findings import Severity, Verdict
from certagent.domain.observations import NodeObservation
from certagent.domain.policy import Judgement
from certagent.domain.rehearsals import Connection, DnsAnswer, Hop, Resolution
from tests.evidence import (
    CA,
    GOOD,
    LINE,
    NAME,
    OTHER,
    OWN,
    bare_evidence,
    by_dns,
    by_hosts,
    dns_says,
    judge,
    make_hop,
    make_rehearsal,
    make_resolution,
    unresolved,
)

HEALTHY = GOOD
SHADOWED = make_resolution(addresses=(by_hosts(OTHER, 7),))
ELSEWHERE = make_resolution(addresses=(by_dns(OTHER),), dns=(dns_says(OTHER),))
PASSED = make_rehearsal(HEALTHY, make_hop(OWN, 200), passed=True)


def _failed(resolution: Resolution, *hops: Hop) -> Judgement:
    return judge(bare_evidence(make_rehearsal(resolution, *hops)))


def _passed(resolution: Resolution, *hops: Hop) -> Judgement:
    return judge(bare_evidence(make_rehearsal(resolution, *hops, passed=True)))


FOUNDING = (make_hop(OTHER, 301, location=f"https://{NAME}/"), make_hop(OTHER, 404))


def test_the_founding_failure_is_named_to_the_line() -> None:
    """The first culprit is the line; that the wrong box answered is its consequence."""
    judgement = _failed(SHADOWED, *FOUNDING)
    assert judgement.verdict is Verdict.BLOCK
    first, second = judgement.findings
    assert (first.code, first.severity) == ("dns.hosts_shadow.authority", Severity.FATAL)
    culprit = first.culprit
    assert culprit is not None
    assert (culprit.node, culprit.file, culprit.line) == ("lxc103", "/etc/hosts", 7)
    assert (culprit.text, culprit.address, culprit.role) == (LINE, OTHER, "gateway")
    assert "10.0.0.153 (lxc101, gateway)" in first.explanation
    assert (second.code, second.culprit) == ("http01.wrong_host", culprit)


@pytest.mark.parametrize(
    ("hops", "code", "node"),
    [
        ([make_hop(OWN, 404)], "http01.not_found", "lxc102"),
        ([make_hop(OWN, 403)], "http01.forbidden", "lxc102"),
        ([make_hop(OWN, 502)], "http01.server_error", "lxc102"),
        ([make_hop(OWN, 200)], "http01.catchall", "lxc102"),
        ([make_hop(OWN, 301), make_hop(OWN, 404)], "http01.redirect_broken", "lxc102"),
        ([make_hop(OWN, 301), make_hop(OWN, error="redirect_loop")], "http01.redirect_loop", "lxc102"),
        ([make_hop(OWN, 301, error="redirect_loop")], "http01.redirect_loop", "lxc102"),
        (
            [make_hop(OWN, 301, error="redirect_offsite"), make_hop("", error="unresolved")],
            "http01.redirect_offsite",
            "lxc102",
        ),
        ([make_hop(OWN, error="refused", errno="ECONNREFUSED")], "net.refused", "lxc102"),
        ([make_hop(OWN, error="timeout")], "net.timeout", "lxc102"),
        ([make_hop(OWN, error="protocol")], "http01.tls_on_80", "lxc102"),
    ],
)
def test_each_way_not_to_get_the_token(hops: list[Hop], code: str, node: str) -> None:
    """One fault, one code, and the node that owns the address where it happened."""
    judgement = _failed(HEALTHY, *hops)
    assert judgement.verdict is Verdict.BLOCK
    assert [finding.code for finding in judgement.findings] == [code]
    culprit = judgement.findings[0].culprit
    assert culprit is not None
    assert culprit.node == node


@pytest.mark.parametrize("error", ["nxdomain", "nodata", "servfail", "refused", "timeout"])
def test_a_name_without_an_address(error: str) -> None:
    """The nameserver that said so is the culprit's address."""
    judgement = _failed(unresolved(error))
    assert [finding.code for finding in judgement.findings] == [f"dns.{error}"]
    assert judgement.verdict is Verdict.BLOCK


def test_dns_that_leads_to_another_node() -> None:
    """The record is wrong: the zone's node is sent for, with the address and whose it is."""
    first = _failed(ELSEWHERE, make_hop(OTHER, 404)).findings[0]
    assert first.code == "dns.address_not_ours"
    assert first.culprit is not None
    assert (first.culprit.address, first.culprit.role) == (OTHER, "gateway")


def test_a_healthy_path_says_nothing() -> None:
    """Proceed, and not one finding."""
    judgement = judge(bare_evidence(PASSED))
    assert (judgement.verdict, judgement.findings) == (Verdict.PROCEED, ())


def test_a_gateway_address_whose_rehearsal_passes_is_silent() -> None:
    """DNS may lead through a gateway; the token came back, so there is nothing to say."""
    judgement = _passed(ELSEWHERE, make_hop(OTHER, 200))
    assert (judgement.verdict, judgement.findings) == (Verdict.PROCEED, ())


def test_a_hosts_line_that_agrees_with_dns_is_silent() -> None:
    """It is superfluous, not wrong."""
    judgement = _passed(make_resolution(addresses=(by_hosts(OWN),)), make_hop(OWN, 200))
    assert (judgement.verdict, judgement.findings) == (Verdict.PROCEED, ())


def test_a_passed_rehearsal_caps_the_line_at_warn() -> None:
    """The line is there, and yet the token came back: worth a word, not a block."""
    judgement = _passed(SHADOWED, make_hop(OTHER, 200))
    assert judgement.verdict is Verdict.WARN
    assert [finding.severity for finding in judgement.findings] == [Severity.WARN]


def test_a_redirect_whose_end_serves_the_token_is_only_mentioned() -> None:
    """Info, and proceed."""
    judgement = _passed(HEALTHY, make_hop(OWN, 301, location="https://x"), make_hop(OWN, 200))
    assert judgement.verdict is Verdict.PROCEED
    assert [(finding.code, finding.severity) for finding in judgement.findings] == [
        ("http01.redirected", Severity.INFO)
    ]


def test_a_stale_connection_is_shown_with_its_address() -> None:
    """A success over it would prove nothing."""
    stale = msgspec.structs.replace(PASSED, stale=(Connection(address=OTHER, port=80),))
    judgement = judge(bare_evidence(stale))
    assert [finding.code for finding in judgement.findings] == ["http01.stale_connection"]
    assert judgement.verdict is Verdict.WARN


def test_without_a_vantage_preflight_is_blind_and_says_so() -> None:
    """Proceed with a warning."""
    judgement = judge(bare_evidence(None))
    assert judgement.verdict is Verdict.WARN
    assert [finding.code for finding in judgement.findings] == ["ca.vantage_missing"]


@pytest.mark.parametrize(
    ("error", "code"),
    [("refused", "ca.unreachable"), ("untrusted", "ca.untrusted"), ("http_status", "ca.directory_missing")],
)
def test_a_ca_that_cannot_be_used_blocks_by_itself(error: str, code: str) -> None:
    """The acting node's own inability."""
    judgement = judge(bare_evidence(PASSED, directory=(DirectoryCheck(url="https://ca", address=CA, error=error),)))
    assert judgement.verdict is Verdict.BLOCK
    assert judgement.findings[0].code == code


def test_a_ca_that_only_its_configured_address_reaches_is_a_warning() -> None:
    """Everything still works when DNS is broken, and says so."""
    checks = (
        DirectoryCheck(url="https://ca", address=OTHER, error="refused"),
        DirectoryCheck(url="https://ca", address=CA, by_address=True),
    )
    judgement = judge(bare_evidence(PASSED, directory=checks))
    assert judgement.verdict is Verdict.WARN


@pytest.mark.parametrize(("status", "address"), [("timeout", OTHER), ("unreachable", OTHER), ("nxdomain", None)])
def test_a_nameserver_that_does_not_answer_for_the_cas_name_is_named(status: str, address: str | None) -> None:
    """One that answers is not to blame for what it says."""
    checks = (
        DirectoryCheck(url="https://ca", error="unresolved"),
        DirectoryCheck(url="https://ca", address=CA, by_address=True),
    )
    said = tuple(DnsAnswer(nameserver=OTHER, name="ca", record=one, status=status) for one in ("A", "AAAA"))
    here = NodeObservation(authority=Resolution(name="ca", dns=said, error=status))
    judgement = judge(bare_evidence(PASSED, directory=checks, here=here))
    (finding,) = (one for one in judgement.findings if one.code == "ca.name_leads_elsewhere")
    assert finding.culprit is not None
    assert finding.culprit.address == address
    assert (OTHER in finding.explanation) is (address is not None)


def test_a_dead_responder_blocks_before_anybody_else_is_blamed() -> None:
    """It comes first of all."""
    absent = ResponderCheck(listen="127.0.0.1:5002", answered=False)
    judgement = judge(bare_evidence(make_rehearsal(HEALTHY, make_hop(OWN, 502)), responder=absent))
    assert judgement.findings[0].code == "http01.responder_absent"


def test_the_watch_beside_the_ca_names_the_line_without_a_fetch() -> None:
    """Who owns the addresses is for the collector to add."""
    (finding,) = shadows_at_the_authority((SHADOWED,), "lxc103", (CA,))
    assert (finding.identifier, finding.code) == (NAME, "dns.hosts_shadow.authority")
    assert finding.culprit is not None
    assert (finding.culprit.node, finding.culprit.line) == ("lxc103", 7)


def test_the_cas_own_name_on_loopback_is_silent() -> None:
    """On its own node a name may lead to loopback."""
    own = Resolution(
        name="ca.internal.thinkheads.ai",
        addresses=(by_hosts("127.0.0.1"),),
        dns=(dns_says(CA),),
    )
    assert shadows_at_the_authority((own,), "lxc103", (CA,)) == []


def test_the_cas_own_name_at_another_node_is_not_silent() -> None:
    """Its own name may lead to loopback there, and nowhere else."""
    own = Resolution(
        name="ca.internal.thinkheads.ai",
        addresses=(by_hosts(OTHER),),
        dns=(dns_says(CA),),
    )
    (finding,) = shadows_at_the_authority((own,), "lxc103", (CA,))
    assert finding.code == "dns.hosts_shadow.authority"
    (finding,) = shadows_at_a_client((own,), "lxc103", (CA,))
    assert finding.code == "dns.hosts_shadow.client"


def test_a_line_that_nsswitch_overrules_is_silent() -> None:
    """`hosts: dns files`: DNS decides, the line lies idle."""
    idle = msgspec.structs.replace(HEALTHY, hosts=(by_hosts(OTHER),))
    assert shadows_at_the_authority((idle,), "lxc103", (CA,)) == []


def test_a_line_on_an_ordinary_node_is_an_error_of_that_file() -> None:
    """It misleads that node, not the CA."""
    (finding,) = shadows_at_a_client((SHADOWED,), "lxc104", ("10.0.0.104",))
    assert finding.explanation.startswith("lxc104 connects to 10.0.0.153")
    assert finding.code == "dns.hosts_shadow.client"
    assert load_policy(None).grade(finding).severity is Severity.ERROR
