"""tls-alpn-01: what each handshake is concluded to be, whom it blames, and what must stay silent."""

from datetime import UTC, datetime

import pytest

from certagent.config import load_policy
from certagent.domain.diagnosis import conclude
from certagent.domain.diagnosis.evidence import Evidence, ResponderCheck
from certagent.domain.findings import Culprit, Finding, Verdict
from certagent.domain.observations import ListeningSocket, NodeObservation
from certagent.domain.policy import Judgement, judged
from certagent.domain.rehearsals import (
    ACME_TLS,
    AddressOwner,
    AlpnAnswer,
    Attempt,
    DnsAnswer,
    Hop,
    Origin,
    Rehearsal,
    RehearsalOutcome,
    Resolution,
    ResolvedAddress,
)

NAME = "traefik.internal.thinkheads.ai"
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
OURS, GATEWAY = "10.0.0.12", "10.0.0.153"
OWNERS = {
    OURS: AddressOwner(node="lxc102", role="traefik"),
    GATEWAY: AddressOwner(node="lxc101", role="gateway"),
}
GOOD = AlpnAnswer(protocol=ACME_TLS, is_alone=True, extension="ours")
PRESENT = ResponderCheck(listen="0.0.0.0:443", answered=True, challenge="tls-alpn-01")


def _hop(address: str = OURS, *, alpn: AlpnAnswer | None = None, error: str | None = None, errno: str | None = None,
         names: tuple[str, ...] = ()) -> Hop:  # fmt: skip
    url = f"acme-tls://{NAME}:443"
    return Hop(
        url=url, name=NAME, address=address, port=443, alpn=alpn, error=error, errno=errno, certificate_names=names
    )


def _judge(
    hop: Hop, responder: ResponderCheck = PRESENT, here: NodeObservation | None = None, line: Origin | None = None
) -> Judgement:
    is_good = hop.alpn is not None and hop.alpn.is_good
    origin = line or Origin(source="dns", nameserver=GATEWAY)
    found = ResolvedAddress(address=hop.address or "", origin=origin)
    right = OURS if line else hop.address or ""
    told = DnsAnswer(nameserver=GATEWAY, name=NAME, record="A", status="ok", addresses=(right,))
    rehearsal = Rehearsal(
        identifier=NAME,
        challenge="tls-alpn-01",
        outcome=RehearsalOutcome.PASSED if is_good else RehearsalOutcome.FAILED,
        at=NOW,
        node="lxc103",
        resolution=Resolution(name=NAME, addresses=(found,), dns=(told,)),
        attempts=(Attempt(hops=(hop,), matched=is_good),),
        owners=OWNERS,
    )
    evidence = Evidence(
        identifier=NAME, node="lxc102", addresses=(OURS,), rehearsal=rehearsal, responder=responder, here=here
    )
    return judged(load_policy(None), NAME, conclude(evidence), rehearsal)


def _only(judgement: Judgement) -> Finding:
    [finding] = judgement.findings
    assert judgement.verdict is Verdict.BLOCK
    assert finding.severity == "fatal"
    assert finding.culprit is not None
    assert finding.fix
    return finding


def _answer(**changed: object) -> AlpnAnswer:
    return AlpnAnswer(**{"protocol": ACME_TLS, "is_alone": True, "extension": "ours", **changed})  # type: ignore[arg-type]


def test_a_good_handshake_says_nothing() -> None:
    """Not even that the responder listens elsewhere: somebody passes the connection on."""
    elsewhere = ResponderCheck(listen="127.0.0.1:8443", answered=True, challenge="tls-alpn-01")
    judgement = _judge(_hop(alpn=GOOD), elsewhere)
    assert (judgement.verdict, judgement.findings) == (Verdict.PROCEED, ())


@pytest.mark.parametrize(
    ("hop", "code", "said"),
    [
        (_hop(error="refused", errno="ECONNREFUSED"), "alpn.unreachable", "nothing listens there (ECONNREFUSED)"),
        (_hop(error="timeout"), "alpn.unreachable", "no answer came"),
        (_hop(error="tls", errno="WRONG_VERSION_NUMBER"), "alpn.unreachable", "does not complete a TLS handshake"),
        (_hop(error="reset"), "alpn.unreachable", "the connection was reset"),
        (_hop(error="no_protocol", names=("nginx.internal",)), "alpn.no_protocol", "a certificate for nginx.internal"),
        (_hop(alpn=_answer(protocol=None, extension="absent")), "alpn.no_protocol", "does not speak acme-tls/1"),
        (_hop(alpn=_answer(extension="absent"), names=(NAME,)), "alpn.wrong_certificate", "an ordinary certificate"),
        (_hop(alpn=_answer(extension="other")), "alpn.wrong_certificate", "of another challenge"),
        (_hop(alpn=_answer(is_alone=False), names=(NAME, "b")), "alpn.san_mismatch", f"for {NAME} and b, where"),
        (_hop(alpn=_answer(extension="obsolete")), "alpn.bad_extension", "an old draft"),
        (_hop(alpn=_answer(extension="not_critical")), "alpn.bad_extension", "not marked critical"),
        (_hop(alpn=_answer(extension="malformed")), "alpn.bad_extension", "32 octets"),
    ],
)  # fmt: skip
def test_each_handshake_has_one_cause(hop: Hop, code: str, said: str) -> None:
    """One finding, which names the box that answered with its owner."""
    finding = _only(_judge(hop))
    assert finding.code == code
    assert said in finding.explanation
    assert f"{OURS} (lxc102, traefik)" in finding.explanation
    assert finding.culprit == Culprit(node="lxc102", address=OURS, role="traefik")


def test_an_order_of_things_that_are_wrong() -> None:
    """An ordinary certificate for other names is the proxy's: that its names differ explains nothing."""
    proxy = _hop(alpn=AlpnAnswer(protocol=ACME_TLS), names=("TRAEFIK DEFAULT CERT",))
    assert _only(_judge(proxy)).code == "alpn.wrong_certificate"


def test_the_port_of_the_responder_is_the_cause() -> None:
    """The CA asks this very node on 443, where nothing listens, because the responder has another port."""
    elsewhere = ResponderCheck(listen="0.0.0.0:8443", answered=True, challenge="tls-alpn-01")
    finding = _only(_judge(_hop(error="refused"), elsewhere))
    assert finding.code == "alpn.port_not_443"
    assert finding.culprit == Culprit(node="lxc102", address="0.0.0.0:8443")
    assert _only(_judge(_hop(error="timeout"), elsewhere)).code == "alpn.unreachable"


def test_another_node_that_refuses_is_not_our_port() -> None:
    """There it is not for us to listen."""
    elsewhere = ResponderCheck(listen="0.0.0.0:8443", answered=True, challenge="tls-alpn-01")
    codes = [finding.code for finding in _judge(_hop(GATEWAY, error="refused"), elsewhere).findings]
    assert "alpn.unreachable" in codes
    assert "alpn.port_not_443" not in codes


def test_the_process_that_ends_tls_here_is_named() -> None:
    """On this node the agent sees who listens."""
    here = NodeObservation(listeners=(ListeningSocket("::", 443, "traefik"),))
    finding = _only(_judge(_hop(error="no_protocol"), here=here))
    assert "port 443 (traefik) terminates TLS" in finding.explanation


def test_a_hosts_line_is_the_culprit_where_it_led_the_ca_astray() -> None:
    """The line comes first, as with http-01."""
    line = Origin(source="hosts", file="/etc/hosts", line=7, text=f"{GATEWAY} {NAME}")
    judgement = _judge(_hop(GATEWAY, error="no_protocol"), line=line)
    assert [finding.code for finding in judgement.findings] == ["dns.hosts_shadow.authority", "alpn.no_protocol"]
    assert {finding.culprit.line for finding in judgement.findings if finding.culprit} == {7}


def test_an_absent_responder_blocks_by_itself() -> None:
    """It is the acting node's own inability; the other challenges' findings stay away."""
    absent = ResponderCheck(listen="0.0.0.0:443", answered=False, detail="in use", challenge="tls-alpn-01")
    evidence = Evidence(identifier=NAME, node="lxc102", responder=absent)
    judgement = judged(load_policy(None), NAME, conclude(evidence), None)
    assert judgement.verdict is Verdict.BLOCK
    assert [finding.code for finding in judgement.findings] == ["alpn.responder_absent", "ca.vantage_missing"]
    assert "in use" in judgement.findings[0].explanation


def test_nothing_is_said_while_an_order_is_under_way() -> None:
    """Nobody was asked, and nobody is missing."""
    busy = ResponderCheck(listen="0.0.0.0:443", answered=True, challenge="tls-alpn-01", withheld="an order")
    rehearsal = Rehearsal(identifier=NAME, outcome=RehearsalOutcome.UNAVAILABLE, at=NOW, reason="an order")
    evidence = Evidence(identifier=NAME, node="lxc102", responder=busy, rehearsal=rehearsal)
    assert conclude(evidence) == []
