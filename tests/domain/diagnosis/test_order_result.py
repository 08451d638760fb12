"""What is said of an order that failed: the CA's own words, or, where it has none, what was seen from beside it."""

from certagent.domain.diagnosis.order_result import order_failed
from certagent.domain.findings import Culprit, Finding, Verdict
from certagent.domain.orders import Failed, Identifier, Problem, Resource
from certagent.domain.policy import Judgement
from certagent.domain.rehearsals import RehearsalOutcome
from tests.evidence import make_finding, make_rehearsal

NAME = "traefik.internal"
NOTHING = "The server could not connect to validation target"


def _failed(detail: str, code: str = "acme.pending_with_error") -> Failed:
    problem = Problem(detail=detail, resource=Resource.CHALLENGE, identifier=Identifier("dns", NAME))
    return Failed(code=code, problems=(problem,), can_retry=True)


def _replay(outcome: RehearsalOutcome, *findings: Finding, reason: str | None = None) -> Judgement:
    rehearsal = make_rehearsal(None, identifier=NAME, outcome=outcome, reason=reason, owners={})
    return Judgement(identifier=NAME, verdict=Verdict.BLOCK, rehearsal=rehearsal, findings=findings)


def _cause() -> Finding:
    return make_finding(
        "dns.hosts_shadow.authority",
        "lxc103's hosts file pins it to 10.0.0.153.",
        reporter="lxc102",
        culprit=Culprit(node="lxc103", file="/etc/hosts", line=9),
        fix="Remove line 9.",
    )


def test_a_hidden_reason_is_replaced_by_the_replays() -> None:
    """The CA's sentence, which is the same for everything, is only evidence."""
    (said,) = order_failed("lxc102", [NAME], _failed(NOTHING), [_replay(RehearsalOutcome.FAILED, _cause())])
    assert said.code == "acme.pending_with_error"
    assert said.explanation == f"The CA could not validate {NAME}: lxc103's hosts file pins it to 10.0.0.153."
    assert said.culprit == _cause().culprit
    assert said.fix == "Remove line 9."
    assert said.detail["problems"] == [NOTHING]


def test_a_reason_that_nobody_saw_is_said_to_be_hidden() -> None:
    """Nobody beside the CA, or nothing to be seen by now: the CA's sentence, and that it is all there is."""
    replay = _replay(RehearsalOutcome.UNAVAILABLE, reason="no agent beside the CA answers")
    refused, hidden = order_failed("lxc102", [NAME], _failed(NOTHING), [replay])
    assert (refused.code, hidden.code) == ("acme.pending_with_error", "acme.reason_hidden")
    assert NOTHING in refused.explanation
    assert "unavailable" in hidden.explanation


def test_a_reason_that_the_ca_gives_is_left_alone() -> None:
    """Its words first; what was seen from beside it second."""
    (said,) = order_failed("lxc102", [NAME], _failed("rate limited", "acme.rate_limited"), [])
    assert (said.code, said.explanation) == ("acme.rate_limited", "The CA refused the order: rate limited.")
    (said,) = order_failed(
        "lxc102", [NAME], _failed("wrong body", "acme.mismatch_final"), [_replay(RehearsalOutcome.FAILED, _cause())]
    )
    assert said.explanation.startswith("The CA refused the order: wrong body. Observed next to the CA: lxc103's")
