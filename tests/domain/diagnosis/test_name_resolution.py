"""What explains a verdict: the sources of a name, the CA's configuration, the web server's files; what stays silent."""

import msgspec
import pytest

from certagent.domain.diagnosis.evidence import DirectoryCheck, Evidence, ResponderCheck
from certagent.domain.findings import Culprit, Verdict
from certagent.domain.observations import Misconfiguration, NodeObservation, Place, ServerAction, WebServerObservation
from certagent.domain.rehearsals import DnsAnswer, LibcAnswer, Origin, RehearsalOutcome, Resolution
from tests.evidence import (
    CA,
    CONFIGURED,
    DNS,
    GOOD,
    NAME,
    NODE,
    OTHER,
    OWN,
    SECOND,
    attempts_of,
    by_dns,
    by_hosts,
    conclude_by_code,
    dns_says,
    judge,
    make_evidence,
    make_hop,
    make_resolution,
    nameserver,
)

NAMESERVERS = (nameserver(), nameserver(SECOND, 3))


def _evidence(resolution: Resolution = GOOD, *, passed: bool = True, **more: object) -> Evidence:
    """A rehearsal that met the node's own address, and answered 200 or 404; nothing else was looked at."""
    return make_evidence(resolution, passed=passed, **{"responder": None, "directory": (), **more})


def test_the_ca_s_own_node_is_to_blame_for_what_never_leaves_it() -> None:
    """A route or a filter of its own; the same silence on the way is the other box's."""
    hop = make_hop(OWN, error="timeout", errno="ETIMEDOUT")
    for is_local, node in ((True, "lxc103"), (False, NODE)):
        attempts = attempts_of(msgspec.structs.replace(hop, is_local=is_local))
        finding = conclude_by_code(_evidence(passed=False, attempts=attempts))["net.timeout"]
        assert finding.culprit is not None
        assert (finding.culprit.node, finding.culprit.address) == (node, OWN)
        assert (finding.fix or "").startswith(f"On {node}") is is_local


def test_a_ca_whose_answers_do_not_leave_its_node_is_not_called_unreachable_as_well() -> None:
    """One cause: the route of the CA's node. Where the packets do leave it, both are said."""
    silent = (DirectoryCheck(url="https://ca:9000/acme/acme/directory", address=CA, error="timeout"),)
    for is_local, expected in ((True, {"net.no_route"}), (False, {"net.no_route", "ca.unreachable"})):
        hop = make_hop(OWN, error="no_route", errno="EHOSTUNREACH", is_local=is_local)
        evidence = _evidence(passed=False, attempts=attempts_of(hop), directory=silent)
        assert set(conclude_by_code(evidence)) & {"net.no_route", "ca.unreachable"} == expected


def test_silence_decides_before_an_address_without_a_route() -> None:
    """The CA's 30 s run out over the first address; that the second one leads nowhere is beside the point."""
    silent = make_hop(OWN, error="timeout")
    unrouted = make_hop("fd00::12", error="no_route", is_local=True)
    attempts = (*attempts_of(silent), *attempts_of(unrouted))
    found = conclude_by_code(_evidence(passed=False, attempts=attempts))
    assert "net.no_route" not in found
    assert found["net.timeout"].culprit is not None
    assert found["net.timeout"].culprit.address == OWN


@pytest.mark.parametrize(("direct_status", "first"), [(404, "http01.not_found"), (None, "ca.uses_proxy")])
def test_a_proxy_is_not_to_blame_for_what_fails_without_it(direct_status: int | None, first: str) -> None:
    """The same answer either way is the box's; only through the proxy it is the proxy's."""
    through = make_hop("127.0.0.1", status=502)
    straight = make_hop(OWN, status=direct_status or 200)
    evidence = _evidence(
        passed=False,
        proxy="http://127.0.0.1:8888",
        attempts=attempts_of(through),
        direct=attempts_of(straight, matched=direct_status is None),
    )
    judgement = judge(evidence)
    assert judgement.findings[0].code == first
    assert "ca.uses_proxy" in {finding.code for finding in judgement.findings}


SIDES = [
    ("dns.hosts_conflict", make_resolution(hosts=(by_hosts(OWN, 3), by_hosts(OTHER, 9))), ("lxc103", "/etc/hosts", 9)),
    ("dns.hosts_duplicate", make_resolution(hosts=(by_hosts(OWN, 3), by_hosts(OWN, 9))), ("lxc103", "/etc/hosts", 9)),
    (
        "dns.resolver_dead",
        make_resolution(nameservers=NAMESERVERS, dns=(dns_says(OWN), dns_says(status="timeout", server=SECOND))),
        ("lxc103", "/etc/resolv.conf", 3),
    ),
    (
        "dns.resolver_not_internal",
        make_resolution(nameservers=NAMESERVERS, dns=(dns_says(OWN), dns_says(status="nxdomain", server=SECOND))),
        ("lxc103", "/etc/resolv.conf", 3),
    ),
    (
        "dns.resolver_public",
        make_resolution(nameservers=(msgspec.structs.replace(NAMESERVERS[0], nameserver="8.8.8.8"),)),
        ("lxc103", "/etc/resolv.conf", 2),
    ),
    ("dns.split_horizon", make_resolution(dns=(dns_says(OWN), dns_says(OTHER, server=SECOND))), ("lxc101", None, None)),
    (
        "dns.multi_address",
        make_resolution(addresses=(GOOD.addresses[0], msgspec.structs.replace(GOOD.addresses[0], address=OTHER))),
        ("lxc101", None, None),
    ),
    ("dns.aaaa_nxdomain", make_resolution(dns=(dns_says(OWN), dns_says(status="nxdomain", record="AAAA"))), None),
    (
        "dns.search_expansion",
        make_resolution(addresses=(by_dns(OTHER, f"{NAME}.corp."),)),
        ("lxc103", "/etc/resolv.conf", None),
    ),
]


@pytest.mark.parametrize(("code", "resolution", "place"), SIDES, ids=[code for code, _, _ in SIDES])
def test_a_side_that_disagrees_is_found(
    code: str, resolution: Resolution, place: tuple[str, str | None, int | None] | None
) -> None:
    """By its code, with the line to change; and on a path that holds it blocks nothing."""
    evidence = _evidence(resolution)
    finding = conclude_by_code(evidence)[code]
    culprit = finding.culprit
    assert (None if culprit is None else (culprit.node, culprit.file, culprit.line)) == place
    assert judge(evidence).verdict is not Verdict.BLOCK


def test_a_good_path_says_nothing() -> None:
    """What must stay silent: a hosts line that agrees with DNS, a name with one address, one nameserver."""
    assert conclude_by_code(_evidence(make_resolution(hosts=(by_hosts(OWN, 3),)))) == {}


@pytest.mark.parametrize(
    ("resolution", "code", "culprit"),
    [
        (
            make_resolution(
                addresses=(),
                dns=(),
                error="nxdomain",
                order=("files",),
                switch=Origin(source="nsswitch", file="/n", line=7),
            ),
            "dns.nxdomain",
            Culprit(node="lxc103", file="/n", line=7),
        ),
        (
            make_resolution(addresses=(), dns=(), error="no_nameserver", nameservers=()),
            "dns.resolv_conf_broken",
            Culprit(node="lxc103", file="/etc/resolv.conf"),
        ),
        (
            make_resolution(
                addresses=(), dns=(dns_says(status="unreachable"), dns_says(OWN, server=SECOND)), error="timeout"
            ),
            "dns.resolver_dead",
            Culprit(
                node="lxc103",
                file="/etc/resolv.conf",
                line=2,
                text=f"nameserver {DNS}",
                address=DNS,
                role="gateway",
            ),
        ),
        (
            make_resolution(addresses=(), dns=(dns_says(status="timeout"),), error="timeout"),
            "dns.timeout",
            Culprit(node="lxc101", address=DNS, role="gateway"),
        ),
    ],
    ids=["switch", "empty", "past the right one", "silent"],
)
def test_no_address_is_blamed_on_what_keeps_it_away(resolution: Resolution, code: str, culprit: Culprit) -> None:
    """The line that leads past a nameserver which knows; where none does, the nameserver."""
    evidence = _evidence(resolution, passed=False)
    judgement = judge(evidence)
    assert (judgement.findings[0].code, judgement.findings[0].culprit) == (code, culprit)


def test_libc_may_know_what_the_ca_does_not() -> None:
    """A source of nsswitch that Go has not got."""
    resolution = make_resolution(addresses=(), dns=(dns_says(status="nxdomain"),), error="nxdomain")
    libc = LibcAnswer(NAME, (OWN,))
    assert "dns.nss_only" in conclude_by_code(_evidence(resolution, passed=False, libc=libc))
    assert "dns.nss_only" not in conclude_by_code(_evidence(libc=libc))


def test_this_nodes_own_hosts_line_is_a_warning() -> None:
    """For the identifier or for the CA's name; the CA's own view is what decides."""
    shadowed = Resolution(name="ca.internal.thinkheads.ai", addresses=(by_hosts(OTHER, 4),), dns=(dns_says(CA),))
    finding = conclude_by_code(_evidence(here=NodeObservation(authority=shadowed)))["dns.hosts_shadow.client"]
    assert finding.culprit is not None
    assert (finding.culprit.node, finding.culprit.line) == (NODE, 4)
    own = msgspec.structs.replace(shadowed, addresses=(by_hosts("127.0.1.1", 4),))
    assert "dns.hosts_shadow.client" not in conclude_by_code(_evidence(here=NodeObservation(authority=own)))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exists": False}, "ca.provisioner_missing"),
        ({"challenges": ("dns-01",)}, "ca.challenge_not_offered"),
        ({"allowed": ("*.other.test",)}, "ca.policy_denies"),
        ({"denied": ("*.internal.thinkheads.ai",)}, "ca.policy_denies"),
    ],
)
def test_what_the_ca_will_refuse_blocks_although_the_path_is_good(changes: dict[str, object], code: str) -> None:
    """Only what its process has read for certain."""
    ca = msgspec.structs.replace(CONFIGURED, **changes)
    evidence = _evidence(provisioner=ca)
    judgement = judge(evidence)
    assert (judgement.verdict, judgement.findings[0].code) == (Verdict.BLOCK, code)
    assert judgement.findings[0].culprit is not None
    assert judgement.findings[0].culprit.file == "/etc/ca.json"
    assert conclude_by_code(_evidence(provisioner=msgspec.structs.replace(ca, is_loaded=False))) == {}


@pytest.mark.parametrize(
    "allowed", [(NAME,), ("*.internal.thinkheads.ai",), ("*.other.test", "*.internal.thinkheads.ai")]
)
def test_a_policy_that_allows_the_name_says_nothing(allowed: tuple[str, ...]) -> None:
    """A name as it is, or one label in the place of the star."""
    assert conclude_by_code(_evidence(provisioner=msgspec.structs.replace(CONFIGURED, allowed=allowed))) == {}


SNIPPET = Place(file="/etc/nginx/snippets/c.conf", line=5, text="proxy_pass https://127.0.0.1:5002;")


@pytest.mark.parametrize(
    ("look", "code"),
    [
        (WebServerObservation(server="nginx", action=ServerAction.ANSWERS, place=SNIPPET), "http01.not_found"),
        (
            WebServerObservation(server="nginx", action=ServerAction.SERVES, place=SNIPPET, target="/var/www"),
            "http01.webroot_mismatch",
        ),
        (
            WebServerObservation(
                server="nginx", action=ServerAction.PASSES, place=SNIPPET, target="https://127.0.0.1:5002"
            ),
            "http01.upstream_scheme",
        ),
        (
            WebServerObservation(
                server="traefik",
                causes=(Misconfiguration(code="http01.wrong_entrypoint", place=SNIPPET),),
            ),
            "http01.wrong_entrypoint",
        ),
    ],
)
def test_the_web_servers_line_leads(look: WebServerObservation, code: str) -> None:
    """Node, file, line and text of what has to be changed; nothing of it where the rehearsal passed."""
    responder = ResponderCheck(listen="127.0.0.1:5002", answered=True)
    evidence = _evidence(passed=False, gateways=(look,), responder=responder)
    first = judge(evidence).findings[0]
    assert first.code == code
    assert first.culprit is not None
    assert (first.culprit.node, first.culprit.file, first.culprit.line) == (NODE, SNIPPET.file, 5)
    assert conclude_by_code(_evidence(gateways=(look,), responder=responder)) == {}


def test_one_way_that_is_closed_is_said() -> None:
    """The node reaches the CA, the CA does not reach the node."""
    hop = make_hop(OWN, error="timeout")
    reached = (DirectoryCheck(url="https://ca/"),)
    failed = _evidence(passed=False, attempts=attempts_of(hop), directory=reached)
    assert {"net.timeout", "net.asymmetric"} <= set(conclude_by_code(failed))


def test_a_slow_token_is_a_warning() -> None:
    """It came, and the CA would have waited."""
    hop = make_hop(OWN, status=200, took_ms=12_000)
    assert set(conclude_by_code(_evidence(attempts=attempts_of(hop, matched=True)))) == {"http01.slow"}


NOWHERE = "0.0.0.0"  # noqa: S104 - read, not bound
NOTHING = dns_says(status="nxdomain")


@pytest.mark.parametrize("answer", [dns_says(OWN), dns_says(NOWHERE), NOTHING])
@pytest.mark.parametrize("address", [NOWHERE, "::", "127.0.1.1", "::1"])
def test_a_hosts_line_that_leads_the_ca_to_itself_is_named(address: str, answer: DnsAnswer) -> None:
    """Whatever DNS says beside it, and whether or not something listens there (then nobody may connect)."""
    resolution = make_resolution(addresses=(by_hosts(address),), dns=(answer,))
    for error, outcome in (("refused", RehearsalOutcome.FAILED), ("forbidden", RehearsalOutcome.UNAVAILABLE)):
        evidence = make_evidence(resolution, make_hop(address, error=error), outcome=outcome)
        found = conclude_by_code(evidence)["dns.loopback"]
        assert found.culprit == Culprit(
            node="lxc103", file="/etc/hosts", line=9, text=f"{address} {NAME}", address=address
        )
    blocked = judge(make_evidence(resolution, make_hop(address, error="refused")))
    assert (blocked.verdict, blocked.findings[0].code) == (Verdict.BLOCK, "dns.loopback")


def test_what_leads_the_ca_to_itself_and_does_not_matter_is_silent() -> None:
    """A second address that worked; another address that answered; a name of the CA's own node."""
    unspecified = make_resolution(addresses=(by_dns("::"), by_dns(OWN)), dns=(dns_says(OWN),))
    tried = attempts_of(make_hop("::", error="refused"))
    passed = make_evidence(unspecified, passed=True, attempts=(*tried, *attempts_of(make_hop(OWN, 200), matched=True)))
    answered = make_evidence(unspecified, passed=False, attempts=(*tried, *attempts_of(make_hop(OTHER, 404))))
    by_file = make_evidence(make_resolution(addresses=(by_hosts("127.0.1.1"),), dns=(NOTHING,)), passed=False)
    by_server = make_evidence(make_resolution(addresses=(by_dns(NOWHERE),)), passed=False)
    at_home = [msgspec.structs.replace(evidence, node="lxc103") for evidence in (by_file, by_server)]
    met = make_resolution(addresses=(by_hosts("127.0.1.1"),), dns=(dns_says(CA),))
    one_container = make_evidence(met, make_hop("127.0.1.1", 200), passed=True)
    at_home.append(msgspec.structs.replace(one_container, node="lxc103"))
    for evidence in (passed, answered, *at_home):
        assert "dns.loopback" not in conclude_by_code(evidence)
