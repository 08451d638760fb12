"""tls-alpn-01: what each handshake is concluded to be, whom it blames, and what must stay silent."""

import msgspec
import pytest

from certagent.domain.diagnosis import conclude
from certagent.domain.diagnosis.evidence import ResponderCheck
from certagent.domain.findings import Culprit, Finding, Verdict
from certagent.domain.observations import ListeningSocket, NodeObservation
from certagent.domain.policy import Judgement
from certagent.domain.rehearsals import ACME_TLS, AlpnAnswer, Hop, ResolvedAddress
from tests.evidence import (
    GOOD_HANDSHAKE,
    NAME,
    OTHER,
    OWN,
    bare_evidence,
    by_dns,
    by_hosts,
    dns_says,
    judge,
    make_handshake,
    make_rehearsal,
    make_resolution,
    unavailable,
)

PRESENT = ResponderCheck(listen="0.0.0.0:443", answered=True, challenge="tls-alpn-01")


def _judge(
    hop: Hop,
    responder: ResponderCheck = PRESENT,
    here: NodeObservation | None = None,
    line: ResolvedAddress | None = None,
) -> Judgement:
    asked = hop.address or ""
    resolution = make_resolution(addresses=(line or by_dns(asked),), dns=(dns_says(OWN if line else asked),))
    is_good = hop.alpn is not None and hop.alpn.is_good
    rehearsal = make_rehearsal(resolution, hop, passed=is_good, challenge="tls-alpn-01")
    return judge(bare_evidence(rehearsal, responder=responder, here=here))


def _only(judgement: Judgement) -> Finding:
    [finding] = judgement.findings
    assert judgement.verdict is Verdict.BLOCK
    assert finding.severity == "fatal"
    assert finding.culprit is not None
    assert finding.fix
    return finding


def _answer(**changed: object) -> AlpnAnswer:
    return msgspec.structs.replace(GOOD_HANDSHAKE, **changed)


def test_a_good_handshake_says_nothing() -> None:
    """Not even that the responder listens elsewhere: somebody passes the connection on."""
    elsewhere = ResponderCheck(listen="127.0.0.1:8443", answered=True, challenge="tls-alpn-01")
    judgement = _judge(make_handshake(alpn=GOOD_HANDSHAKE), elsewhere)
    assert (judgement.verdict, judgement.findings) == (Verdict.PROCEED, ())


@pytest.mark.parametrize(
    ("hop", "code", "said"),
    [
        (
            make_handshake(error="refused", errno="ECONNREFUSED"),
            "alpn.unreachable",
            "nothing listens there (ECONNREFUSED)",
        ),
        (make_handshake(error="timeout"), "alpn.unreachable", "no answer came"),
        (
            make_handshake(error="tls", errno="WRONG_VERSION_NUMBER"),
            "alpn.unreachable",
            "does not complete a TLS handshake",
        ),
        (make_handshake(error="reset"), "alpn.unreachable", "the connection was reset"),
        (
            make_handshake(error="no_protocol", certificate_names=("nginx.internal",)),
            "alpn.no_protocol",
            "a certificate for nginx.internal",
        ),
        (
            make_handshake(alpn=_answer(protocol=None, extension="absent")),
            "alpn.no_protocol",
            "does not speak acme-tls/1",
        ),
        (
            make_handshake(alpn=_answer(extension="absent"), certificate_names=(NAME,)),
            "alpn.wrong_certificate",
            "an ordinary certificate",
        ),
        (make_handshake(alpn=_answer(extension="other")), "alpn.wrong_certificate", "of another challenge"),
        (
            make_handshake(alpn=_answer(is_alone=False), certificate_names=(NAME, "b")),
            "alpn.san_mismatch",
            f"for {NAME} and b; it must cover this name only",
        ),
        (make_handshake(alpn=_answer(extension="obsolete")), "alpn.bad_extension", "an old draft"),
        (make_handshake(alpn=_answer(extension="not_critical")), "alpn.bad_extension", "not marked critical"),
        (make_handshake(alpn=_answer(extension="malformed")), "alpn.bad_extension", "32 octets"),
    ],
)
def test_each_handshake_has_one_cause(hop: Hop, code: str, said: str) -> None:
    """One finding, which names the box that answered with its owner."""
    finding = _only(_judge(hop))
    assert finding.code == code
    assert said in finding.explanation
    assert f"{OWN} (lxc102, traefik)" in finding.explanation
    assert finding.culprit == Culprit(node="lxc102", address=OWN, role="traefik")


def test_an_order_of_things_that_are_wrong() -> None:
    """An ordinary certificate for other names is the proxy's: that its names differ explains nothing."""
    proxy = make_handshake(alpn=AlpnAnswer(protocol=ACME_TLS), certificate_names=("TRAEFIK DEFAULT CERT",))
    assert _only(_judge(proxy)).code == "alpn.wrong_certificate"


def test_the_port_of_the_responder_is_the_cause() -> None:
    """The CA asks this very node on 443, where nothing listens, because the responder has another port."""
    elsewhere = ResponderCheck(listen="0.0.0.0:8443", answered=True, challenge="tls-alpn-01")
    finding = _only(_judge(make_handshake(error="refused"), elsewhere))
    assert finding.code == "alpn.port_not_443"
    assert finding.culprit == Culprit(node="lxc102", address="0.0.0.0:8443")
    assert _only(_judge(make_handshake(error="timeout"), elsewhere)).code == "alpn.unreachable"


def test_another_node_that_refuses_is_not_our_port() -> None:
    """There it is not for us to listen."""
    elsewhere = ResponderCheck(listen="0.0.0.0:8443", answered=True, challenge="tls-alpn-01")
    codes = [finding.code for finding in _judge(make_handshake(OTHER, error="refused"), elsewhere).findings]
    assert "alpn.unreachable" in codes
    assert "alpn.port_not_443" not in codes


def test_the_process_that_ends_tls_here_is_named() -> None:
    """On this node the agent sees who listens."""
    here = NodeObservation(listeners=(ListeningSocket("::", 443, "traefik"),))
    finding = _only(_judge(make_handshake(error="no_protocol"), here=here))
    assert "port 443 (traefik) terminates TLS" in finding.explanation


def test_a_hosts_line_is_the_culprit_where_it_led_the_ca_astray() -> None:
    """The line comes first, as with http-01."""
    judgement = _judge(make_handshake(OTHER, error="no_protocol"), line=by_hosts(OTHER, 7))
    assert [finding.code for finding in judgement.findings] == ["dns.hosts_shadow.authority", "alpn.no_protocol"]
    assert {finding.culprit.line for finding in judgement.findings if finding.culprit} == {7}


def test_an_absent_responder_blocks_by_itself() -> None:
    """It is the acting node's own inability; the other challenges' findings stay away."""
    absent = ResponderCheck(listen="0.0.0.0:443", answered=False, detail="in use", challenge="tls-alpn-01")
    judgement = judge(bare_evidence(None, addresses=(), responder=absent))
    assert judgement.verdict is Verdict.BLOCK
    assert [finding.code for finding in judgement.findings] == ["alpn.responder_absent", "ca.vantage_missing"]
    assert "in use" in judgement.findings[0].explanation


def test_nothing_is_said_while_an_order_is_under_way() -> None:
    """Nobody was asked, and nobody is missing."""
    busy = ResponderCheck(listen="0.0.0.0:443", answered=True, challenge="tls-alpn-01", withheld="an order")
    assert conclude(bare_evidence(unavailable("an order", node=None), addresses=(), responder=busy)) == []
