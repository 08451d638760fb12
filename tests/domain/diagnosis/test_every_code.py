"""Every code of the path: what shows it, and beside that something that nearly does and must not."""

from collections.abc import Iterable
from datetime import timedelta

import msgspec
import pytest

from certagent.domain.diagnosis import conclude
from certagent.domain.diagnosis.evidence import Evidence, ResponderCheck
from certagent.domain.diagnosis.name_resolution import (
    resolver_is_missing,
)
from certagent.domain.diagnosis.nameserver_files import (
    private_addresses_are_filtered,
    zone_is_overridden,
)
from certagent.domain.diagnosis.order_result import agreement, order_failed
from certagent.domain.findings import Culprit, Finding, Verdict
from certagent.domain.observations import ListeningSocket, Misconfiguration, NodeObservation, Place, ServerAction
from certagent.domain.orders import Failed, Problem, Resource, code_of
from certagent.domain.policy import Judgement
from certagent.domain.rehearsals import AlpnAnswer, Connection, LibcAnswer, Origin, RehearsalOutcome
from certagent.domain.resolution.dnsmasq import Dnsmasq, ServedHosts, read_settings
from certagent.domain.resolution.file_formats import parse_hosts, parse_resolv_conf
from tests.evidence import (
    CA,
    CONFIGURED,
    DNS,
    GOOD,
    GOOD_CA,
    GOOD_HANDSHAKE,
    NAME,
    NOBODY,
    NODE,
    OTHER,
    OWN,
    SECOND,
    V6,
    by_dns,
    by_hosts,
    directory,
    dns_says,
    judge,
    make_evidence,
    make_finding,
    make_hop,
    make_resolution,
    nameserver,
    of_handshake,
    of_publication,
    of_responder,
    of_web_server,
    past_rehearsals,
    unpublished,
    unresolved,
)

PLACE = Place(file="/etc/nginx/nginx.conf", line=5, text="proxy_pass https://127.0.0.1:5002;")
TWO = (nameserver(), nameserver(SECOND, 3))


def _known(**changes: object) -> object:
    return msgspec.structs.replace(CONFIGURED, **changes)


def _caused(code: str) -> Evidence:
    return of_web_server(causes=(Misconfiguration(code=code, place=PLACE, facts={"entry_point": "web"}),))


def _alpn(**changes: object) -> AlpnAnswer:
    return msgspec.structs.replace(GOOD_HANDSHAKE, **changes)


def filtering(node: str = "lxc101", **detail: object) -> tuple[Finding, ...]:
    """The word of the agent beside the nameserver."""
    configuration = Dnsmasq(
        settings=tuple(read_settings(b"stop-dns-rebind\nserver=/internal.thinkheads.ai/10.9.9.9", "/etc/d.conf"))
    )
    told_of = private_addresses_are_filtered(configuration, node)
    assert told_of is not None
    return (msgspec.structs.replace(told_of, detail={**told_of.detail, **detail}),)


def _ca_at(address: str, *dns: str) -> NodeObservation:
    """This node's own hosts file leads to another CA than DNS does."""
    return NodeObservation(authority=make_resolution(addresses=(by_hosts(address),), dns=(dns_says(*dns),)))


BY_ADDRESS = msgspec.structs.replace(GOOD_CA, by_address=True)
LOST = ResponderCheck(listen="0.0.0.0:443", answered=False, challenge="tls-alpn-01")
ELSEWHERE = ResponderCheck(listen="127.0.0.1:8443", answered=True, challenge="tls-alpn-01")
OFFSITE = (make_hop(OWN, 301, location="http://elsewhere.test/", error="redirect_offsite"),)
UP_AND_DOWN = (OWN, None), (OWN, "timeout"), (OWN, None), (OWN, "timeout"), (OWN, None), (OWN, "timeout")
TO_AND_FRO = (OWN, None), (OTHER, "404"), (OWN, None), (OTHER, "404")

SEEN: dict[str, tuple[Evidence, Evidence]] = {
    # --- resolution: (what shows it, what nearly does)
    "dns.hosts_shadow.authority": (
        make_evidence(make_resolution(addresses=(by_hosts(OTHER),)), make_hop(OTHER, 404)),
        make_evidence(
            make_resolution(hosts=(by_hosts(OTHER),)), make_hop(OWN, 404)
        ),  # nsswitch asks DNS first: the line is idle
    ),
    "dns.loopback": (
        make_evidence(make_resolution(addresses=(by_hosts("127.0.1.1"),)), passed=False),
        make_evidence(make_resolution(hosts=(by_hosts(OWN),))),
    ),
    "dns.hosts_shadow.client": (make_evidence(here=_ca_at(OTHER, CA)), make_evidence(here=_ca_at(CA, CA))),
    "dns.hosts_conflict": (
        make_evidence(make_resolution(hosts=(by_hosts(OWN), by_hosts(OTHER, 10)))),
        make_evidence(make_resolution(hosts=(by_hosts(OWN), by_hosts(OWN, 10)))),
    ),
    "dns.hosts_duplicate": (
        make_evidence(make_resolution(hosts=(by_hosts(OWN), by_hosts(OWN, 10)))),
        make_evidence(make_resolution(hosts=(by_hosts(OWN),))),
    ),
    "dns.hosts_edit_unseen": (make_evidence(unseen_file="/etc/hosts"), make_evidence(unseen_file=None)),
    "dns.file_unreadable": (
        make_evidence(unresolved("unreachable"), unreadable=("/etc/resolv.conf",)),
        make_evidence(GOOD, make_hop(OWN, 404), unreadable=("/etc/resolv.conf", "/etc/nsswitch.conf")),
    ),
    "dns.nxdomain": (
        make_evidence(unresolved("nxdomain")),
        make_evidence(make_resolution(dns=(dns_says(OWN), dns_says(status="nxdomain", record="AAAA")))),
    ),
    "dns.nodata": (
        make_evidence(unresolved("nodata")),
        make_evidence(make_resolution(dns=(dns_says(OWN), dns_says(record="AAAA")))),
    ),
    "dns.servfail": (
        make_evidence(unresolved("servfail")),
        make_evidence(
            make_resolution(nameservers=TWO, dns=(dns_says(status="servfail"), dns_says(OWN, server=SECOND)))
        ),
    ),
    "dns.refused": (
        make_evidence(unresolved("refused")),
        make_evidence(make_resolution(nameservers=TWO, dns=(dns_says(status="refused"), dns_says(OWN, server=SECOND)))),
    ),
    "dns.timeout": (
        make_evidence(unresolved("timeout")),
        make_evidence(make_resolution(nameservers=TWO, dns=(dns_says(status="timeout"), dns_says(OWN, server=SECOND)))),
    ),
    "dns.tcp_blocked": (
        make_evidence(unresolved("tcp_blocked")),
        make_evidence(unresolved("unreachable")),
    ),
    "dns.resolver_dead": (
        make_evidence(make_resolution(nameservers=TWO, dns=(dns_says(OWN), dns_says(server=SECOND, status="timeout")))),
        make_evidence(make_resolution(nameservers=TWO, dns=(dns_says(OWN), dns_says(OWN, server=SECOND)))),
    ),
    "dns.resolver_not_internal": (
        make_evidence(
            make_resolution(nameservers=TWO, dns=(dns_says(OWN), dns_says(server=SECOND, status="nxdomain")))
        ),
        make_evidence(make_resolution(nameservers=TWO, dns=(dns_says(OWN), dns_says(server=SECOND, status="timeout")))),
    ),
    "dns.resolver_public": (make_evidence(make_resolution(nameservers=(nameserver("8.8.8.8"),))), make_evidence()),
    "dns.resolv_conf_broken": (
        make_evidence(unresolved("no_nameserver", dns=(), nameservers=())),
        make_evidence(unresolved("timeout")),
    ),
    "dns.rebind_filtered": (
        make_evidence(unresolved("nodata"), testimony=filtering()),
        make_evidence(unresolved("nodata"), testimony=filtering(exempt=[NAME])),
    ),
    "dns.hosts_shadow.nameserver": (
        make_evidence(
            make_resolution(addresses=(by_dns(OTHER),)),
            testimony=tuple(
                zone_is_overridden(
                    Dnsmasq(settings=tuple(read_settings(f"address=/{NAME}/{OWN}".encode(), "/etc/d.conf"))),
                    [ServedHosts(file="/etc/hosts", hosts=parse_hosts(f"{OTHER} {NAME}".encode()))],
                    ["internal.thinkheads.ai"],
                    "lxc101",
                )
            ),
            passed=False,
        ),
        make_evidence(
            make_resolution(addresses=(by_dns(OTHER),)),
            testimony=tuple(
                zone_is_overridden(
                    Dnsmasq(settings=tuple(read_settings(f"host-record={NAME},{OTHER}".encode(), "/etc/d.conf"))),
                    [
                        ServedHosts(
                            file="/etc/hosts",
                            hosts=parse_hosts(f"{OTHER} {NAME}\n# {OWN} {NAME}\n{OWN} else.test".encode()),
                        )
                    ],
                    ["internal.thinkheads.ai"],
                    "lxc101",
                )
            ),
            passed=False,
        ),
    ),
    "dns.address_not_ours": (
        make_evidence(make_resolution(addresses=(by_dns(OTHER),)), make_hop(OTHER, 404)),
        make_evidence(
            make_resolution(addresses=(by_dns(OTHER),)), passed=True
        ),  # through a gateway, and it gets through
    ),
    "dns.authority_not_authority": (
        make_evidence(directory=directory("refused", address=OTHER), here=_ca_at(OTHER, CA)),
        make_evidence(directory=directory("refused"), here=_ca_at(CA, CA)),
    ),
    "dns.split_horizon": (
        make_evidence(make_resolution(dns=(dns_says(OWN), dns_says(OTHER, server=SECOND)))),
        make_evidence(make_resolution(dns=(dns_says(OWN), dns_says(OWN, server=SECOND)))),
    ),
    "dns.multi_address": (
        make_evidence(make_resolution(addresses=(by_dns(OWN), by_dns(OTHER)))),
        make_evidence(make_resolution(addresses=(by_dns(OWN), by_dns(NOBODY)))),
    ),
    "dns.aaaa_nxdomain": (
        make_evidence(make_resolution(dns=(dns_says(OWN), dns_says(record="AAAA", status="nxdomain")))),
        make_evidence(make_resolution(dns=(dns_says(OWN), dns_says(record="AAAA")))),
    ),
    "dns.aaaa_wrong_host": (
        make_evidence(make_resolution(addresses=(by_dns(V6),)), make_hop(V6, 404)),
        make_evidence(make_resolution(addresses=(by_dns(V6),)), make_hop(V6, 200), passed=True),
    ),
    "dns.aaaa_dead": (
        make_evidence(make_resolution(addresses=(by_dns(V6), by_dns(OWN))), make_hop(V6, error="refused")),
        make_evidence(make_resolution(addresses=(by_dns(OWN),)), make_hop(OWN, error="refused")),
    ),
    "dns.search_expansion": (
        make_evidence(make_resolution(addresses=(by_dns(OWN, f"{NAME}.corp."),))),
        make_evidence(make_resolution(addresses=(by_dns(OWN, f"{NAME.upper()}."),))),
    ),
    "dns.nss_only": (
        make_evidence(unresolved("nxdomain"), libc=LibcAnswer(NAME, (OWN,))),
        make_evidence(unresolved("nxdomain"), libc=LibcAnswer(NAME, error="not known")),
    ),
    "dns.flapping": (
        make_evidence(past=past_rehearsals(*TO_AND_FRO)),
        make_evidence(past=past_rehearsals(*TO_AND_FRO[:3])),
    ),  # broken, and mended
    # --- the CA
    "ca.vantage_missing": (make_evidence(outcome=RehearsalOutcome.UNAVAILABLE), make_evidence(passed=False)),
    "ca.unreachable": (
        make_evidence(directory=directory("timeout")),
        make_evidence(directory=(*directory("timeout"), BY_ADDRESS)),
    ),
    "ca.untrusted": (
        make_evidence(directory=directory("untrusted")),
        make_evidence(directory=directory("root_changed")),
    ),
    "ca.root_changed": (
        make_evidence(directory=directory("root_changed")),
        make_evidence(directory=directory("untrusted")),
    ),
    "ca.name_mismatch": (
        make_evidence(directory=directory("name_mismatch")),
        make_evidence(directory=directory("expired")),
    ),
    "ca.leaf_expired": (make_evidence(directory=directory("expired")), make_evidence(directory=directory("untrusted"))),
    "ca.directory_missing": (
        make_evidence(directory=directory("http_status")),
        make_evidence(directory=directory("unhealthy")),
    ),
    "ca.unhealthy": (
        make_evidence(directory=directory("unhealthy")),
        make_evidence(directory=directory("http_status")),
    ),
    "ca.name_leads_elsewhere": (
        make_evidence(directory=(*directory("refused"), BY_ADDRESS)),
        make_evidence(directory=(GOOD_CA, BY_ADDRESS)),
    ),
    "ca.clock_skew": (
        make_evidence(directory=directory(None, ahead_seconds=-61.0)),
        make_evidence(directory=directory(None, ahead_seconds=59.0)),
    ),
    "ca.circular": (
        make_evidence(directory=directory(None, address=OWN)),
        make_evidence(
            directory=directory(None, address=OWN),
            here=NodeObservation(listeners=(ListeningSocket(OWN, 9000, "step-ca"),)),
        ),
    ),
    "ca.provisioner_missing": (
        make_evidence(provisioner=_known(exists=False)),
        make_evidence(provisioner=_known(exists=False, is_loaded=False)),
    ),
    "ca.challenge_not_offered": (
        make_evidence(provisioner=_known(challenges=("dns-01",))),
        make_evidence(provisioner=_known(challenges=("dns-01", "http-01"))),
    ),
    "ca.policy_denies": (
        make_evidence(provisioner=_known(denied=("*.internal.thinkheads.ai",))),
        make_evidence(provisioner=_known(allowed=("*.internal.thinkheads.ai",))),
    ),
    "ca.uses_proxy": (make_evidence(proxy="http://10.0.0.50:3128"), make_evidence(proxy=None)),
    "ca.port_override": (
        make_evidence(authority_flags=("--acme-http-port=8080",)),
        make_evidence(authority_flags=("--resolver=x",)),
    ),
    "ca.strict_fqdn": (
        make_evidence(authority_flags=("--acme-strict-fqdn",)),
        make_evidence(authority_flags=("--resolver=x",)),
    ),
    # --- being reached
    "net.refused": (make_evidence(GOOD, make_hop(error="refused")), make_evidence(GOOD, make_hop(error="timeout"))),
    "net.timeout": (make_evidence(GOOD, make_hop(error="timeout")), make_evidence(GOOD, make_hop(error="refused"))),
    "net.no_route": (make_evidence(GOOD, make_hop(error="no_route")), make_evidence(GOOD, make_hop(error="timeout"))),
    "net.reset": (make_evidence(GOOD, make_hop(error="reset")), make_evidence(GOOD, make_hop(error="protocol"))),
    "net.asymmetric": (
        make_evidence(GOOD, make_hop(error="timeout")),
        make_evidence(GOOD, make_hop(error="timeout"), directory=directory("timeout")),
    ),
    # --- the challenge's path
    "http01.responder_absent": (of_responder(), of_responder(answered=True)),
    "http01.port_owner": (of_responder(), of_responder(ours=True)),
    "http01.wrong_host": (
        make_evidence(make_resolution(addresses=(by_hosts(OTHER),)), make_hop(OTHER, 404)),
        make_evidence(GOOD, make_hop(OWN, 404)),
    ),
    "http01.not_found": (make_evidence(GOOD, make_hop(OWN, 404)), make_evidence(GOOD, make_hop(OWN, 403))),
    "http01.forbidden": (make_evidence(GOOD, make_hop(OWN, 401)), make_evidence(GOOD, make_hop(OWN, 404))),
    "http01.server_error": (make_evidence(GOOD, make_hop(OWN, 502)), make_evidence(GOOD, make_hop(OWN, 404))),
    "http01.catchall": (make_evidence(GOOD, make_hop(OWN, 200)), make_evidence(GOOD, make_hop(OWN, 200), passed=True)),
    "http01.redirected": (
        make_evidence(GOOD, make_hop(OWN, 301), make_hop(OWN, 200), passed=True),
        make_evidence(GOOD, make_hop(OWN, 301), make_hop(OWN, 404)),
    ),
    "http01.redirect_broken": (
        make_evidence(GOOD, make_hop(OWN, 301), make_hop(OWN, 404)),
        make_evidence(GOOD, make_hop(OWN, 301), make_hop(OWN, 200), passed=True),
    ),
    "http01.redirect_loop": (
        make_evidence(GOOD, make_hop(OWN, 301), make_hop(OWN, error="redirect_loop")),
        make_evidence(GOOD, make_hop(OWN, 301), make_hop(OWN, 404)),
    ),
    "http01.redirect_offsite": (
        make_evidence(GOOD, *OFFSITE, outcome=RehearsalOutcome.UNAVAILABLE),
        make_evidence(GOOD, make_hop(OWN, 301), make_hop(OWN, 404)),
    ),
    "http01.stale_connection": (make_evidence(stale=(Connection(address=OTHER, port=80),)), make_evidence(stale=())),
    "http01.slow": (
        make_evidence(GOOD, make_hop(OWN, 200, took_ms=10_001), passed=True),
        make_evidence(GOOD, make_hop(OWN, 200, took_ms=9_999), passed=True),
    ),
    "http01.flaky": (
        make_evidence(past=past_rehearsals(*UP_AND_DOWN)),
        make_evidence(
            past=past_rehearsals((OWN, None), (OWN, "timeout"), (OWN, "timeout"), (OWN, None))
        ),  # broken, and mended
    ),
    "http01.tls_on_80": (make_evidence(GOOD, make_hop(error="protocol")), make_evidence(GOOD, make_hop(error="reset"))),
    "http01.wrong_entrypoint": (_caused("http01.wrong_entrypoint"), make_evidence()),
    "http01.traefik_acme_router": (_caused("http01.traefik_acme_router"), make_evidence()),
    "http01.webroot_mismatch": (
        of_web_server(action=ServerAction.SERVES, place=PLACE, target="/var/www"),
        of_web_server(action=ServerAction.DENIES, place=PLACE),
    ),
    "http01.host_rewritten": (
        of_web_server(action=ServerAction.PASSES, place=PLACE, target="http://127.0.0.1:8081", host=PLACE),
        of_web_server(
            action=ServerAction.PASSES, place=PLACE, target="http://127.0.0.1:5002", host=PLACE
        ),  # the responder's own
    ),
    "http01.upstream_scheme": (
        of_web_server(action=ServerAction.PASSES, place=PLACE, target="https://127.0.0.1:5002"),
        of_web_server(action=ServerAction.PASSES, place=PLACE, target="http://127.0.0.1:5002"),
    ),
    # --- tls-alpn-01
    "alpn.responder_absent": (of_handshake(make_hop(error="refused"), LOST), of_handshake(make_hop(alpn=_alpn()))),
    "alpn.port_not_443": (
        of_handshake(make_hop(error="refused"), ELSEWHERE),
        of_handshake(make_hop(error="timeout"), ELSEWHERE),
    ),
    "alpn.unreachable": (of_handshake(make_hop(error="timeout")), of_handshake(make_hop(error="no_protocol"))),
    "alpn.no_protocol": (of_handshake(make_hop(error="no_protocol")), of_handshake(make_hop(error="tls"))),
    "alpn.wrong_certificate": (
        of_handshake(make_hop(alpn=_alpn(extension="other"))),
        of_handshake(make_hop(alpn=_alpn(extension="obsolete"))),
    ),
    "alpn.san_mismatch": (
        of_handshake(make_hop(alpn=_alpn(is_alone=False))),
        of_handshake(make_hop(alpn=_alpn(extension="other"))),
    ),
    "alpn.bad_extension": (
        of_handshake(make_hop(alpn=_alpn(extension="not_critical"))),
        of_handshake(make_hop(alpn=_alpn())),
    ),
    # --- dns-01
    "dns01.server_unreachable": (
        of_publication(trouble="unreachable"),
        of_publication(trouble="refused", rcode="REFUSED"),
    ),
    "dns01.zone_not_found": (of_publication(trouble="zone_not_found"), of_publication(trouble="wrong_zone")),
    "dns01.wrong_zone": (of_publication(unpublished(zone="test.")), of_publication(unpublished(serial=9))),
    "dns01.update_refused": (
        of_publication(trouble="refused", rcode="REFUSED"),
        of_publication(trouble="tsig", rcode="BADKEY"),
    ),
    "dns01.tsig": (of_publication(trouble="tsig", rcode="BADSIG"), of_publication(trouble="refused", rcode="REFUSED")),
    "dns01.not_on_all_servers": (of_publication(servers=(unpublished(nameserver=SECOND),)), of_publication()),
    "dns01.authority_cannot_see": (of_publication(unpublished(serial=9)), of_publication(unpublished(serial=7))),
    "dns01.negative_cached": (
        of_publication(unpublished(serial=7)),
        of_publication(unpublished(serial=7, is_own=True)),
    ),
    "dns01.leftover": (of_publication(removed=1), of_publication()),
}
"""Code -> evidence that shows it, and evidence beside it that must not."""


def _problem(kind: str, status: int | None = None, detail: str = "", resource: Resource | None = None) -> Problem:
    return Problem(type=f"urn:ietf:params:acme:error:{kind}", status=status, detail=detail, resource=resource)


ANSWERED: dict[str, tuple[Problem, Problem]] = {
    "acme.mismatch_final": (
        _problem("rejectedIdentifier", resource=Resource.CHALLENGE),
        _problem("rejectedIdentifier", resource=Resource.ORDER),
    ),
    "ca.policy_denies": (
        _problem("rejectedIdentifier", resource=Resource.ORDER),
        _problem("rejectedIdentifier", resource=Resource.CHALLENGE),
    ),
    "acme.rate_limited": (_problem("rateLimited", status=429), _problem("malformed", status=400)),
    "acme.server_internal": (_problem("malformed", status=500), _problem("malformed", status=400)),
    "acme.bad_csr": (_problem("badCSR", status=400), _problem("malformed", status=400)),
    "acme.failed": (_problem("somethingNew", status=400), _problem("badCSR", status=400)),
    "acme.authorization_stuck": (_problem("orderNotReady", status=403), _problem("badCSR", status=403)),
    "ca.eab_required": (_problem("externalAccountRequired"), _problem("accountDoesNotExist")),
    "ca.account_unknown": (_problem("accountDoesNotExist"), _problem("externalAccountRequired")),
    "ca.lifetime_denied": (
        _problem("malformed", status=400, detail="NotBefore and NotAfter are not supported"),
        _problem("malformed", status=400, detail="the identifier is not supported"),
    ),
}
"""Code -> the CA's problem that is it, and one beside it that is not."""


def _codes(findings: Iterable[Finding]) -> set[str]:
    return {finding.code for finding in findings}


@pytest.mark.parametrize("code", SEEN)
def test_what_is_seen_has_its_code_and_what_nearly_is_has_not(code: str) -> None:
    """Each conclusion by itself: it is drawn, with its fix, and it is not drawn from the neighbouring case."""
    shown, beside = SEEN[code]
    found = {finding.code: finding for finding in conclude(shown)}
    assert code in found
    assert found[code].explanation.endswith(".")
    assert code not in _codes(conclude(beside))


@pytest.mark.parametrize("code", ANSWERED)
def test_what_the_ca_answers_has_its_code(code: str) -> None:
    """The CA's own words, typed."""
    answered, beside = ANSWERED[code]
    assert code_of(answered) == code
    assert code_of(beside) != code


def _failed(code: str, *findings: Finding, outcome: RehearsalOutcome = RehearsalOutcome.PASSED) -> list[Finding]:
    rehearsal = make_evidence(outcome=outcome).rehearsal
    again = Judgement(identifier=NAME, verdict=Verdict.PROCEED, rehearsal=rehearsal, findings=findings)
    return list(order_failed(NODE, [NAME], Failed(code=code, problems=()), [again]))


def test_a_reason_that_nobody_sees_is_said_to_be_hidden() -> None:
    """acme.reason_hidden: the replay from beside the CA is attached; silent where it names a culprit."""
    hidden = {one.code: one for one in _failed("acme.pending_with_error")}["acme.reason_hidden"]
    assert hidden.detail["replay"][0]["outcome"] == "passed"
    cause = make_finding("x", "Why.", culprit=Culprit(node="n"))
    assert "acme.reason_hidden" not in _codes(_failed("acme.pending_with_error", cause))
    assert "acme.reason_hidden" not in _codes(_failed("acme.rate_limited"))


def test_an_orders_fate_is_held_against_the_verdict() -> None:
    """preflight.agreed and preflight.disagreed; neither where the failure is none of a challenge."""
    passed = [Judgement(identifier=NAME, verdict=Verdict.PROCEED, rehearsal=make_evidence().rehearsal, findings=())]
    refused = Failed(code="acme.failed", problems=(Problem(resource=Resource.CHALLENGE),))
    assert _codes(agreement(NODE, passed, refused)) == {"preflight.disagreed"}
    assert agreement(NODE, passed, Failed(code="acme.rate_limited", problems=(Problem(),))) == []
    failed = [msgspec.structs.replace(passed[0], rehearsal=make_evidence(passed=False).rehearsal)]
    assert _codes(agreement(NODE, failed, refused)) == {"preflight.agreed"}


def test_a_resolv_conf_is_broken_when_it_names_nobody() -> None:
    """A dangling link, an empty file; not one that names a nameserver which is dead."""
    broken = [parse_resolv_conf(content) for content in (None, b"", b"search internal.thinkheads.ai\n")]
    assert [resolver_is_missing(NODE, one) is not None for one in broken] == [True, True, True]
    assert resolver_is_missing(NODE, parse_resolv_conf(b"nameserver 10.9.9.9\n")) is None


SILENT = {
    "the CA's own name on loopback on its own node": make_evidence(here=_ca_at("127.0.0.1", CA)),
    "an AAAA that has no data beside a good A": make_evidence(
        make_resolution(dns=(dns_says(OWN), dns_says(record="AAAA")))
    ),
    "a gateway address whose rehearsal passes": make_evidence(
        make_resolution(addresses=(by_dns(OTHER),), dns=(dns_says(OTHER),))
    ),
    "a hosts line that agrees with DNS": make_evidence(
        make_resolution(addresses=(by_hosts(OWN),), hosts=(by_hosts(OWN),))
    ),
    "a filter that takes nothing away": make_evidence(testimony=filtering()),
    "a nameserver that was away for one look": make_evidence(
        past=past_rehearsals((OWN, None), ("", "no answer"), (OWN, None))
    ),
}


@pytest.mark.parametrize("case", SILENT)
def test_what_must_stay_silent(case: str) -> None:
    """Not a word, and proceed. (An AAAA that is NXDOMAIN, and a redirect that ends well, are an info: see below.)"""
    evidence = SILENT[case]
    judgement = judge(evidence)
    assert (judgement.verdict, judgement.findings) == (Verdict.PROCEED, ())


@pytest.mark.parametrize("code", ["dns.aaaa_nxdomain", "http01.redirected", "dns.hosts_duplicate"])
def test_what_is_odd_and_harmless_is_only_mentioned(code: str) -> None:
    """An info makes no warning."""
    shown, _ = SEEN[code]
    judgement = judge(shown)
    assert (judgement.verdict, _codes(judgement.findings)) == (Verdict.PROCEED, {code})


def test_an_unseen_edit_or_a_clock_blocks_nothing_by_itself() -> None:
    """The rehearsal decides."""
    for code in ("dns.hosts_edit_unseen", "ca.clock_skew", "ca.circular", "dns.flapping", "http01.flaky"):
        shown, _ = SEEN[code]
        assert judge(shown).verdict is Verdict.WARN


@pytest.mark.parametrize("line", [b"no-hosts\t# ours", b"no-hosts #", b"  no-hosts\x0b# ours", b"no-hosts"])
def test_a_comment_of_dnsmasq_s_begins_behind_any_white_space(line: bytes) -> None:
    """At the first such `#`; one within a word is the word's."""
    (found,) = read_settings(b"# ours\n\t# port=5353\n" + line, "/etc/dnsmasq.conf")
    assert (found.key, found.line) == ("no-hosts", 3)
    (found,) = read_settings(b"address=/#/10.0.0.1", "/etc/dnsmasq.conf")
    assert found.value == "/#/10.0.0.1"


def test_a_file_that_the_ca_may_not_read_is_blamed_before_what_it_asks_instead() -> None:
    """Go's default servers are nobody's fault; an nsswitch.conf that it cannot read changes nothing."""
    shown, _ = SEEN["dns.file_unreadable"]
    first = judge(shown).findings[0]
    assert first.culprit is not None
    assert (first.code, first.culprit.node, first.culprit.file) == ("dns.file_unreadable", "lxc103", "/etc/resolv.conf")
    unmoved = make_evidence(unresolved("nxdomain"), unreadable=("/etc/nsswitch.conf",))
    assert "dns.file_unreadable" not in _codes(conclude(unmoved))


def test_nameservers_that_differ_lead_only_where_the_ca_went_elsewhere() -> None:
    """Where it came to this node, what happened here is the cause."""
    split = make_resolution(dns=(dns_says(OWN), dns_says(OTHER, server=SECOND)), nameservers=TWO)
    for resolution, asked, leads in (
        (split, OWN, False),
        (msgspec.structs.replace(split, addresses=(by_dns(OTHER),)), OTHER, True),
    ):
        found = [one.code for one in conclude(make_evidence(resolution, make_hop(asked, 404)))]
        assert (found.index("dns.split_horizon") < found.index("http01.not_found")) is leads, found


def test_a_line_leads_to_another_node_although_dns_says_nothing() -> None:
    """The zone may be filtered at the same time; a line to this node's own address is not to blame for what it says."""
    line, silent = by_hosts(OTHER), (dns_says(status="nxdomain"),)
    first = next(iter(conclude(make_evidence(make_resolution(addresses=(line,), dns=silent), make_hop(OTHER, 404)))))
    assert (first.code, first.culprit and first.culprit.line) == ("dns.hosts_shadow.authority", line.origin.line)
    assert "DNS has no address for it" in first.explanation
    for own in (OWN, NOBODY):
        found = conclude(make_evidence(make_resolution(addresses=(by_hosts(own),), dns=silent), make_hop(own, 404)))
        assert "dns.hosts_shadow.authority" not in _codes(found)


def test_flapping_is_quick_and_goes_to_and_fro() -> None:
    """Four answers in five minutes are changes; three different addresses are somebody at work."""
    assert "dns.flapping" not in _codes(
        conclude(make_evidence(past=past_rehearsals(*TO_AND_FRO, apart=timedelta(seconds=70))))
    )
    at_work = past_rehearsals((OWN, None), (OTHER, "404"), (NOBODY, "no_route"), (OWN, None))
    assert "dns.flapping" not in _codes(conclude(make_evidence(past=at_work)))


def test_flapping_counts_from_the_first_change() -> None:
    """How long the name had been steady before it does not matter."""
    quick = past_rehearsals(*TO_AND_FRO)
    long_before = msgspec.structs.replace(quick[0], at=quick[0].at - timedelta(minutes=2))
    (found,) = (one for one in conclude(make_evidence(past=(long_before, *quick))) if one.code == "dns.flapping")
    assert [look["at"] for look in found.detail["seen"]] == [look.at.isoformat() for look in quick]


def test_a_nameserver_beside_one_that_helps_out_is_named_by_its_line() -> None:
    """dns.tcp_blocked with an address all the same."""
    resolution = make_resolution(nameservers=TWO, dns=(dns_says(status="tcp_blocked"), dns_says(OWN, server=SECOND)))
    found = {one.code: one for one in conclude(make_evidence(resolution))}["dns.tcp_blocked"]
    assert found.culprit == Culprit(
        node="lxc103", file="/etc/resolv.conf", line=2, text=f"nameserver {DNS}", address=DNS
    )


def test_the_line_that_leads_to_the_wrong_ca_is_named() -> None:
    """dns.authority_not_authority: that CA, which nobody looked at, is not called unreachable."""
    shown, _ = SEEN["dns.authority_not_authority"]
    found = {one.code: one for one in conclude(shown)}
    assert "ca.unreachable" not in found
    culprit = found["dns.authority_not_authority"].culprit
    assert culprit is not None
    assert (culprit.node, culprit.file, culprit.line, culprit.address) == (NODE, "/etc/hosts", 9, OTHER)


def test_a_proxy_that_a_redirect_goes_through_is_blamed_on_its_line() -> None:
    """ca.uses_proxy: HTTPS_PROXY is another variable than HTTP_PROXY."""
    unit = Origin(source="unit", file="/etc/systemd/system/step-ca.service", line=12, text="Environment=HTTPS_PROXY=x")
    redirect = make_hop(OWN, 301, location="https://x.test/", error="redirect_proxied")
    evidence = make_evidence(GOOD, redirect, outcome=RehearsalOutcome.UNAVAILABLE, started_by=(("HTTPS_PROXY=", unit),))
    (found,) = (one for one in conclude(evidence) if one.code == "ca.uses_proxy")
    assert "https://x.test/" in found.explanation
    assert found.culprit is not None
    assert (found.culprit.node, found.culprit.file, found.culprit.line) == ("lxc103", unit.file, 12)


def test_a_proxy_of_the_ca_that_the_unit_names_is_blamed_on_its_line() -> None:
    """ca.uses_proxy, ca.port_override: file and line of the unit."""
    unit = Origin(source="unit", file="/etc/systemd/system/step-ca.service", line=12, text="Environment=HTTP_PROXY=x")
    evidence = make_evidence(proxy="x", started_by=(("HTTP_PROXY=", unit),))
    found = {one.code: one for one in conclude(evidence)}["ca.uses_proxy"].culprit
    assert found is not None
    assert (found.node, found.file, found.line) == ("lxc103", unit.file, 12)
