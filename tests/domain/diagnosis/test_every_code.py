"""Every code of the path: what shows it, and beside that something that nearly does and must not."""

from collections.abc import Iterable
from datetime import timedelta

import msgspec
import pytest

from certagent.config import load_policy
from certagent.domain.diagnosis import conclude
from certagent.domain.diagnosis.evidence import Evidence, ResponderCheck
from certagent.domain.diagnosis.name_resolution import (
    private_addresses_are_filtered,
    resolver_is_missing,
    zone_is_overridden,
)
from certagent.domain.diagnosis.order_result import agreement, order_failed
from certagent.domain.findings import Culprit, Finding, Vantage, Verdict
from certagent.domain.observations import ListeningSocket, Misconfiguration, NodeObservation, Place, ServerAction
from certagent.domain.orders import Failed, Problem, Resource, code_of
from certagent.domain.policy import Judgement, judged
from certagent.domain.rehearsals import ACME_TLS, AlpnAnswer, Connection, LibcAnswer, Origin, RehearsalOutcome
from certagent.domain.resolution.dnsmasq import Dnsmasq, read_settings
from certagent.domain.resolution.file_formats import parse_hosts, parse_resolv_conf
from tests.domain.scene import (
    CA,
    CONFIGURED,
    DNS,
    GOOD,
    GOOD_CA,
    NAME,
    NOBODY,
    NODE,
    OTHER,
    OWN,
    SECOND,
    V6,
    directory,
    gateway,
    handshake,
    hop,
    looks,
    names,
    nameserver,
    nowhere,
    pinned,
    published,
    responder,
    said,
    scene,
    told,
    unpublished,
)

PLACE = Place(file="/etc/nginx/nginx.conf", line=5, text="proxy_pass https://127.0.0.1:5002;")
TWO = (nameserver(), nameserver(SECOND, 3))


def _known(**changes: object) -> object:
    return msgspec.structs.replace(CONFIGURED, **changes)


def _caused(code: str) -> Evidence:
    return gateway(causes=(Misconfiguration(code=code, place=PLACE, facts={"entry_point": "web"}),))


def _alpn(**changes: object) -> AlpnAnswer:
    return msgspec.structs.replace(AlpnAnswer(protocol=ACME_TLS, is_alone=True, extension="ours"), **changes)


def filtering(node: str = "lxc101", **detail: object) -> tuple[Finding, ...]:
    """The word of the agent beside the nameserver."""
    configuration = Dnsmasq(settings=tuple(read_settings(b"stop-dns-rebind\nserver=/lan.test/10.9.9.9", "/etc/d.conf")))
    told_of = private_addresses_are_filtered(configuration, node)
    assert told_of is not None
    return (msgspec.structs.replace(told_of, detail={**told_of.detail, **detail}),)


def _ca_at(address: str, *dns: str) -> NodeObservation:
    """This node's own hosts file leads to another CA than DNS does."""
    return NodeObservation(authority=names(addresses=(pinned(address),), dns=(said(*dns),)))


BY_ADDRESS = msgspec.structs.replace(GOOD_CA, by_address=True)
LOST = ResponderCheck(listen="0.0.0.0:443", answered=False, challenge="tls-alpn-01")
ELSEWHERE = ResponderCheck(listen="127.0.0.1:8443", answered=True, challenge="tls-alpn-01")
OFFSITE = hop(OWN, 301, location="http://elsewhere.test/"), hop(OWN, error="redirect_offsite")
UP_AND_DOWN = (OWN, None), (OWN, "timeout"), (OWN, None), (OWN, "timeout"), (OWN, None), (OWN, "timeout")
TO_AND_FRO = (OWN, None), (OTHER, "404"), (OWN, None), (OTHER, "404")

SEEN: dict[str, tuple[Evidence, Evidence]] = {
    # --- resolution: (what shows it, what nearly does)
    "dns.hosts_shadow.authority": (
        scene(names(addresses=(pinned(OTHER),)), hop(OTHER, 404)),
        scene(names(hosts=(pinned(OTHER),)), hop(OWN, 404)),  # nsswitch asks DNS first: the line is idle
    ),
    "dns.loopback": (scene(names(addresses=(pinned("127.0.1.1"),)), passed=False), scene(names(hosts=(pinned(OWN),)))),
    "dns.hosts_shadow.client": (scene(here=_ca_at(OTHER, CA)), scene(here=_ca_at(CA, CA))),
    "dns.hosts_conflict": (
        scene(names(hosts=(pinned(OWN), pinned(OTHER, 10)))),
        scene(names(hosts=(pinned(OWN), pinned(OWN, 10)))),
    ),
    "dns.hosts_duplicate": (scene(names(hosts=(pinned(OWN), pinned(OWN, 10)))), scene(names(hosts=(pinned(OWN),)))),
    "dns.hosts_edit_unseen": (scene(unseen_file="/etc/hosts"), scene(unseen_file=None)),
    "dns.file_unreadable": (
        scene(nowhere("unreachable"), unreadable=("/etc/resolv.conf",)),
        scene(GOOD, hop(OWN, 404), unreadable=("/etc/resolv.conf", "/etc/nsswitch.conf")),
    ),
    "dns.nxdomain": (scene(nowhere("nxdomain")), scene(names(dns=(said(OWN), said(status="nxdomain", record="AAAA"))))),
    "dns.nodata": (scene(nowhere("nodata")), scene(names(dns=(said(OWN), said(record="AAAA"))))),
    "dns.servfail": (
        scene(nowhere("servfail")),
        scene(names(nameservers=TWO, dns=(said(status="servfail"), said(OWN, server=SECOND)))),
    ),
    "dns.refused": (
        scene(nowhere("refused")),
        scene(names(nameservers=TWO, dns=(said(status="refused"), said(OWN, server=SECOND)))),
    ),
    "dns.timeout": (
        scene(nowhere("timeout")),
        scene(names(nameservers=TWO, dns=(said(status="timeout"), said(OWN, server=SECOND)))),
    ),
    "dns.tcp_blocked": (
        scene(nowhere("tcp_blocked")),
        scene(nowhere("unreachable")),
    ),
    "dns.resolver_dead": (
        scene(names(nameservers=TWO, dns=(said(OWN), said(server=SECOND, status="timeout")))),
        scene(names(nameservers=TWO, dns=(said(OWN), said(OWN, server=SECOND)))),
    ),
    "dns.resolver_not_internal": (
        scene(names(nameservers=TWO, dns=(said(OWN), said(server=SECOND, status="nxdomain")))),
        scene(names(nameservers=TWO, dns=(said(OWN), said(server=SECOND, status="timeout")))),
    ),
    "dns.resolver_public": (scene(names(nameservers=(nameserver("8.8.8.8"),))), scene()),
    "dns.resolv_conf_broken": (scene(nowhere("no_nameserver", dns=(), nameservers=())), scene(nowhere("timeout"))),
    "dns.rebind_filtered": (
        scene(nowhere("nodata"), testimony=filtering()),
        scene(nowhere("nodata"), testimony=filtering(exempt=[NAME])),
    ),
    "dns.hosts_shadow.nameserver": (
        scene(
            names(addresses=(told(OTHER),)),
            testimony=tuple(
                zone_is_overridden(
                    Dnsmasq(settings=tuple(read_settings(f"address=/{NAME}/{OWN}".encode(), "/etc/d.conf"))),
                    [("/etc/hosts", parse_hosts(f"{OTHER} {NAME}".encode()))],
                    ["lan.test"],
                    "lxc101",
                )
            ),
            passed=False,
        ),
        scene(
            names(addresses=(told(OTHER),)),
            testimony=tuple(
                zone_is_overridden(
                    Dnsmasq(settings=tuple(read_settings(f"host-record={NAME},{OTHER}".encode(), "/etc/d.conf"))),
                    [("/etc/hosts", parse_hosts(f"{OTHER} {NAME}\n# {OWN} {NAME}\n{OWN} else.test".encode()))],
                    ["lan.test"],
                    "lxc101",
                )
            ),
            passed=False,
        ),
    ),
    "dns.address_not_ours": (
        scene(names(addresses=(told(OTHER),)), hop(OTHER, 404)),
        scene(names(addresses=(told(OTHER),)), passed=True),  # through a gateway, and it gets through
    ),
    "dns.authority_not_authority": (
        scene(directory=directory("refused", address=OTHER), here=_ca_at(OTHER, CA)),
        scene(directory=directory("refused"), here=_ca_at(CA, CA)),
    ),
    "dns.split_horizon": (
        scene(names(dns=(said(OWN), said(OTHER, server=SECOND)))),
        scene(names(dns=(said(OWN), said(OWN, server=SECOND)))),
    ),
    "dns.multi_address": (
        scene(names(addresses=(told(OWN), told(OTHER)))),
        scene(names(addresses=(told(OWN), told(NOBODY)))),
    ),
    "dns.aaaa_nxdomain": (
        scene(names(dns=(said(OWN), said(record="AAAA", status="nxdomain")))),
        scene(names(dns=(said(OWN), said(record="AAAA")))),
    ),
    "dns.aaaa_wrong_host": (
        scene(names(addresses=(told(V6),)), hop(V6, 404)),
        scene(names(addresses=(told(V6),)), hop(V6, 200), passed=True),
    ),
    "dns.aaaa_dead": (
        scene(names(addresses=(told(V6), told(OWN))), hop(V6, error="refused")),
        scene(names(addresses=(told(OWN),)), hop(OWN, error="refused")),
    ),
    "dns.search_expansion": (
        scene(names(addresses=(told(OWN, f"{NAME}.corp."),))),
        scene(names(addresses=(told(OWN, f"{NAME.upper()}."),))),
    ),
    "dns.nss_only": (
        scene(nowhere("nxdomain"), libc=LibcAnswer(NAME, (OWN,))),
        scene(nowhere("nxdomain"), libc=LibcAnswer(NAME, error="not known")),
    ),
    "dns.flapping": (scene(past=looks(*TO_AND_FRO)), scene(past=looks(*TO_AND_FRO[:3]))),  # broken, and mended
    # --- the CA
    "ca.vantage_missing": (scene(outcome=RehearsalOutcome.UNAVAILABLE), scene(passed=False)),
    "ca.unreachable": (scene(directory=directory("timeout")), scene(directory=(*directory("timeout"), BY_ADDRESS))),
    "ca.untrusted": (scene(directory=directory("untrusted")), scene(directory=directory("root_changed"))),
    "ca.root_changed": (scene(directory=directory("root_changed")), scene(directory=directory("untrusted"))),
    "ca.name_mismatch": (scene(directory=directory("name_mismatch")), scene(directory=directory("expired"))),
    "ca.leaf_expired": (scene(directory=directory("expired")), scene(directory=directory("untrusted"))),
    "ca.directory_missing": (scene(directory=directory("http_status")), scene(directory=directory("unhealthy"))),
    "ca.unhealthy": (scene(directory=directory("unhealthy")), scene(directory=directory("http_status"))),
    "ca.name_leads_elsewhere": (
        scene(directory=(*directory("refused"), BY_ADDRESS)),
        scene(directory=(GOOD_CA, BY_ADDRESS)),
    ),
    "ca.clock_skew": (
        scene(directory=directory(None, ahead_seconds=-61.0)),
        scene(directory=directory(None, ahead_seconds=59.0)),
    ),
    "ca.circular": (
        scene(directory=directory(None, address=OWN)),
        scene(
            directory=directory(None, address=OWN),
            here=NodeObservation(listeners=(ListeningSocket(OWN, 9000, "step-ca"),)),
        ),
    ),
    "ca.provisioner_missing": (
        scene(provisioner=_known(exists=False)),
        scene(provisioner=_known(exists=False, is_loaded=False)),
    ),
    "ca.challenge_not_offered": (
        scene(provisioner=_known(challenges=("dns-01",))),
        scene(provisioner=_known(challenges=("dns-01", "http-01"))),
    ),
    "ca.policy_denies": (
        scene(provisioner=_known(denied=("*.lan.test",))),
        scene(provisioner=_known(allowed=("*.lan.test",))),
    ),
    "ca.uses_proxy": (scene(proxy="http://10.0.0.50:3128"), scene(proxy=None)),
    "ca.port_override": (scene(authority_flags=("--acme-http-port=8080",)), scene(authority_flags=("--resolver=x",))),
    "ca.strict_fqdn": (scene(authority_flags=("--acme-strict-fqdn",)), scene(authority_flags=("--resolver=x",))),
    # --- being reached
    "net.refused": (scene(GOOD, hop(error="refused")), scene(GOOD, hop(error="timeout"))),
    "net.timeout": (scene(GOOD, hop(error="timeout")), scene(GOOD, hop(error="refused"))),
    "net.no_route": (scene(GOOD, hop(error="no_route")), scene(GOOD, hop(error="timeout"))),
    "net.reset": (scene(GOOD, hop(error="reset")), scene(GOOD, hop(error="protocol"))),
    "net.asymmetric": (
        scene(GOOD, hop(error="timeout")),
        scene(GOOD, hop(error="timeout"), directory=directory("timeout")),
    ),
    # --- the challenge's path
    "http01.responder_absent": (responder(), responder(answered=True)),
    "http01.port_owner": (responder(), responder(ours=True)),
    "http01.wrong_host": (
        scene(names(addresses=(pinned(OTHER),)), hop(OTHER, 404)),
        scene(GOOD, hop(OWN, 404)),
    ),
    "http01.not_found": (scene(GOOD, hop(OWN, 404)), scene(GOOD, hop(OWN, 403))),
    "http01.forbidden": (scene(GOOD, hop(OWN, 401)), scene(GOOD, hop(OWN, 404))),
    "http01.server_error": (scene(GOOD, hop(OWN, 502)), scene(GOOD, hop(OWN, 404))),
    "http01.catchall": (scene(GOOD, hop(OWN, 200)), scene(GOOD, hop(OWN, 200), passed=True)),
    "http01.redirected": (
        scene(GOOD, hop(OWN, 301), hop(OWN, 200), passed=True),
        scene(GOOD, hop(OWN, 301), hop(OWN, 404)),
    ),
    "http01.redirect_broken": (
        scene(GOOD, hop(OWN, 301), hop(OWN, 404)),
        scene(GOOD, hop(OWN, 301), hop(OWN, 200), passed=True),
    ),
    "http01.redirect_loop": (
        scene(GOOD, hop(OWN, 301), hop(OWN, error="redirect_loop")),
        scene(GOOD, hop(OWN, 301), hop(OWN, 404)),
    ),
    "http01.redirect_offsite": (
        scene(GOOD, *OFFSITE, outcome=RehearsalOutcome.UNAVAILABLE),
        scene(GOOD, hop(OWN, 301), hop(OWN, 404)),
    ),
    "http01.stale_connection": (scene(stale=(Connection(address=OTHER, port=80),)), scene(stale=())),
    "http01.slow": (
        scene(GOOD, hop(OWN, 200, took_ms=10_001), passed=True),
        scene(GOOD, hop(OWN, 200, took_ms=9_999), passed=True),
    ),
    "http01.flaky": (
        scene(past=looks(*UP_AND_DOWN)),
        scene(past=looks((OWN, None), (OWN, "timeout"), (OWN, "timeout"), (OWN, None))),  # broken, and mended
    ),
    "http01.tls_on_80": (scene(GOOD, hop(error="protocol")), scene(GOOD, hop(error="reset"))),
    "http01.wrong_entrypoint": (_caused("http01.wrong_entrypoint"), scene()),
    "http01.traefik_acme_router": (_caused("http01.traefik_acme_router"), scene()),
    "http01.webroot_mismatch": (
        gateway(action=ServerAction.SERVES, place=PLACE, target="/var/www"),
        gateway(action=ServerAction.DENIES, place=PLACE),
    ),
    "http01.host_rewritten": (
        gateway(action=ServerAction.PASSES, place=PLACE, target="http://127.0.0.1:8081", host=PLACE),
        gateway(
            action=ServerAction.PASSES, place=PLACE, target="http://127.0.0.1:5002", host=PLACE
        ),  # the responder's own
    ),
    "http01.upstream_scheme": (
        gateway(action=ServerAction.PASSES, place=PLACE, target="https://127.0.0.1:5002"),
        gateway(action=ServerAction.PASSES, place=PLACE, target="http://127.0.0.1:5002"),
    ),
    # --- tls-alpn-01
    "alpn.responder_absent": (handshake(hop(error="refused"), LOST), handshake(hop(alpn=_alpn()))),
    "alpn.port_not_443": (handshake(hop(error="refused"), ELSEWHERE), handshake(hop(error="timeout"), ELSEWHERE)),
    "alpn.unreachable": (handshake(hop(error="timeout")), handshake(hop(error="no_protocol"))),
    "alpn.no_protocol": (handshake(hop(error="no_protocol")), handshake(hop(error="tls"))),
    "alpn.wrong_certificate": (
        handshake(hop(alpn=_alpn(extension="other"))),
        handshake(hop(alpn=_alpn(extension="obsolete"))),
    ),
    "alpn.san_mismatch": (handshake(hop(alpn=_alpn(is_alone=False))), handshake(hop(alpn=_alpn(extension="other")))),
    "alpn.bad_extension": (handshake(hop(alpn=_alpn(extension="not_critical"))), handshake(hop(alpn=_alpn()))),
    # --- dns-01
    "dns01.server_unreachable": (published(trouble="unreachable"), published(trouble="refused", rcode="REFUSED")),
    "dns01.zone_not_found": (published(trouble="zone_not_found"), published(trouble="wrong_zone")),
    "dns01.wrong_zone": (published(unpublished(zone="test.")), published(unpublished(serial=9))),
    "dns01.update_refused": (published(trouble="refused", rcode="REFUSED"), published(trouble="tsig", rcode="BADKEY")),
    "dns01.tsig": (published(trouble="tsig", rcode="BADSIG"), published(trouble="refused", rcode="REFUSED")),
    "dns01.not_on_all_servers": (published(servers=(unpublished(nameserver=SECOND),)), published()),
    "dns01.authority_cannot_see": (published(unpublished(serial=9)), published(unpublished(serial=7))),
    "dns01.negative_cached": (published(unpublished(serial=7)), published(unpublished(serial=7, is_own=True))),
    "dns01.leftover": (published(removed=1), published()),
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
    rehearsal = scene(outcome=outcome).rehearsal
    again = Judgement(identifier=NAME, verdict=Verdict.PROCEED, rehearsal=rehearsal, findings=findings)
    return list(order_failed(NODE, [NAME], Failed(code=code, problems=()), [again]))


def test_a_reason_that_nobody_sees_is_said_to_be_hidden() -> None:
    """acme.reason_hidden: the replay from beside the CA is attached; silent where it names a culprit."""
    hidden = {one.code: one for one in _failed("acme.pending_with_error")}["acme.reason_hidden"]
    assert hidden.detail["replay"][0]["outcome"] == "passed"
    cause = Finding(code="x", vantage=Vantage.AUTHORITY, reporter="r", explanation="Why.", culprit=Culprit(node="n"))
    assert "acme.reason_hidden" not in _codes(_failed("acme.pending_with_error", cause))
    assert "acme.reason_hidden" not in _codes(_failed("acme.rate_limited"))


def test_an_orders_fate_is_held_against_the_verdict() -> None:
    """preflight.agreed and preflight.disagreed; neither where the failure is none of a challenge."""
    passed = [Judgement(identifier=NAME, verdict=Verdict.PROCEED, rehearsal=scene().rehearsal, findings=())]
    refused = Failed(code="acme.failed", problems=(Problem(resource=Resource.CHALLENGE),))
    assert _codes(agreement(NODE, passed, refused)) == {"preflight.disagreed"}
    assert agreement(NODE, passed, Failed(code="acme.rate_limited", problems=(Problem(),))) == []
    failed = [msgspec.structs.replace(passed[0], rehearsal=scene(passed=False).rehearsal)]
    assert _codes(agreement(NODE, failed, refused)) == {"preflight.agreed"}


def test_a_resolv_conf_is_broken_when_it_names_nobody() -> None:
    """A dangling link, an empty file; not one that names a nameserver which is dead."""
    broken = [parse_resolv_conf(content) for content in (None, b"", b"search lan.test\n")]
    assert [resolver_is_missing(NODE, one) is not None for one in broken] == [True, True, True]
    assert resolver_is_missing(NODE, parse_resolv_conf(b"nameserver 10.9.9.9\n")) is None


SILENT = {
    "the CA's own name on loopback on its own node": scene(here=_ca_at("127.0.0.1", CA)),
    "an AAAA that has no data beside a good A": scene(names(dns=(said(OWN), said(record="AAAA")))),
    "a gateway address whose rehearsal passes": scene(names(addresses=(told(OTHER),), dns=(said(OTHER),))),
    "a hosts line that agrees with DNS": scene(names(addresses=(pinned(OWN),), hosts=(pinned(OWN),))),
    "a filter that takes nothing away": scene(testimony=filtering()),
    "a nameserver that was away for one look": scene(past=looks((OWN, None), ("", "no answer"), (OWN, None))),
}


@pytest.mark.parametrize("case", SILENT)
def test_what_must_stay_silent(case: str) -> None:
    """Not a word, and proceed. (An AAAA that is NXDOMAIN, and a redirect that ends well, are an info: see below.)"""
    evidence = SILENT[case]
    judgement = judged(load_policy(None), NAME, conclude(evidence), evidence.rehearsal)
    assert (judgement.verdict, judgement.findings) == (Verdict.PROCEED, ())


@pytest.mark.parametrize("code", ["dns.aaaa_nxdomain", "http01.redirected", "dns.hosts_duplicate"])
def test_what_is_odd_and_harmless_is_only_mentioned(code: str) -> None:
    """An info makes no warning."""
    shown, _ = SEEN[code]
    judgement = judged(load_policy(None), NAME, conclude(shown), shown.rehearsal)
    assert (judgement.verdict, _codes(judgement.findings)) == (Verdict.PROCEED, {code})


def test_an_unseen_edit_or_a_clock_blocks_nothing_by_itself() -> None:
    """The rehearsal decides."""
    for code in ("dns.hosts_edit_unseen", "ca.clock_skew", "ca.circular", "dns.flapping", "http01.flaky"):
        shown, _ = SEEN[code]
        assert judged(load_policy(None), NAME, conclude(shown), shown.rehearsal).verdict is Verdict.WARN


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
    first = judged(load_policy(None), NAME, conclude(shown), shown.rehearsal).findings[0]
    assert first.culprit is not None
    assert (first.code, first.culprit.node, first.culprit.file) == ("dns.file_unreadable", "lxc103", "/etc/resolv.conf")
    unmoved = scene(nowhere("nxdomain"), unreadable=("/etc/nsswitch.conf",))
    assert "dns.file_unreadable" not in _codes(conclude(unmoved))


def test_nameservers_that_differ_lead_only_where_the_ca_went_elsewhere() -> None:
    """Where it came to this node, what happened here is the cause."""
    split = names(dns=(said(OWN), said(OTHER, server=SECOND)), nameservers=TWO)
    for resolution, asked, leads in (
        (split, OWN, False),
        (msgspec.structs.replace(split, addresses=(told(OTHER),)), OTHER, True),
    ):
        found = [one.code for one in conclude(scene(resolution, hop(asked, 404)))]
        assert (found.index("dns.split_horizon") < found.index("http01.not_found")) is leads, found


def test_a_line_leads_to_another_node_although_dns_says_nothing() -> None:
    """The zone may be filtered at the same time; a line to this node's own address is not to blame for what it says."""
    line, silent = pinned(OTHER), (said(status="nxdomain"),)
    first = next(iter(conclude(scene(names(addresses=(line,), dns=silent), hop(OTHER, 404)))))
    assert (first.code, first.culprit and first.culprit.line) == ("dns.hosts_shadow.authority", line.origin.line)
    assert "DNS has no address for it" in first.explanation
    for own in (OWN, NOBODY):
        found = conclude(scene(names(addresses=(pinned(own),), dns=silent), hop(own, 404)))
        assert "dns.hosts_shadow.authority" not in _codes(found)


def test_flapping_is_quick_and_goes_to_and_fro() -> None:
    """Four answers in five minutes are changes; three different addresses are somebody at work."""
    assert "dns.flapping" not in _codes(conclude(scene(past=looks(*TO_AND_FRO, apart=timedelta(seconds=70)))))
    at_work = looks((OWN, None), (OTHER, "404"), (NOBODY, "no_route"), (OWN, None))
    assert "dns.flapping" not in _codes(conclude(scene(past=at_work)))


def test_a_nameserver_beside_one_that_helps_out_is_named_by_its_line() -> None:
    """dns.tcp_blocked with an address all the same."""
    resolution = names(nameservers=TWO, dns=(said(status="tcp_blocked"), said(OWN, server=SECOND)))
    found = {one.code: one for one in conclude(scene(resolution))}["dns.tcp_blocked"]
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
    redirect = hop(OWN, 301, location="https://x.test/", error="redirect_proxied")
    evidence = scene(GOOD, redirect, outcome=RehearsalOutcome.UNAVAILABLE, started_by=(("HTTPS_PROXY=", unit),))
    (found,) = (one for one in conclude(evidence) if one.code == "ca.uses_proxy")
    assert "https://x.test/" in found.explanation
    assert found.culprit is not None
    assert (found.culprit.node, found.culprit.file, found.culprit.line) == ("lxc103", unit.file, 12)


def test_a_proxy_of_the_ca_that_the_unit_names_is_blamed_on_its_line() -> None:
    """ca.uses_proxy, ca.port_override: file and line of the unit."""
    unit = Origin(source="unit", file="/etc/systemd/system/step-ca.service", line=12, text="Environment=HTTP_PROXY=x")
    evidence = scene(proxy="x", started_by=(("HTTP_PROXY=", unit),))
    found = {one.code: one for one in conclude(evidence)}["ca.uses_proxy"].culprit
    assert found is not None
    assert (found.node, found.file, found.line) == ("lxc103", unit.file, 12)
