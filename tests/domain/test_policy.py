"""What a finding will cost, and when: said on what somebody has to act on, and on nothing else."""

from datetime import UTC, datetime

from certagent.domain.findings import Impact, Severity, Verdict
from certagent.domain.policy import Judgement, with_impact
from tests.evidence import make_finding

IMPACT = Impact(
    certificate="traefik",
    due_at=datetime(2025, 7, 1, 16, tzinfo=UTC),
    expires_at=datetime(2025, 7, 2, tzinfo=UTC),
)


def _judgement(*severities: Severity) -> Judgement:
    findings = tuple(make_finding("net.refused", severity=one) for one in severities)
    return Judgement(identifier="app.lan.test", verdict=Verdict.BLOCK, rehearsal=None, findings=findings)


def test_it_is_said_from_a_warning_upwards() -> None:
    """A fatal one and a warning cost a renewal; what is only worth knowing costs nothing."""
    judgement = with_impact(_judgement(Severity.FATAL, Severity.WARN, Severity.INFO), IMPACT)
    assert [finding.impact for finding in judgement.findings] == [IMPACT, IMPACT, None]


def test_an_identifier_without_a_certificate_costs_nothing() -> None:
    """Nothing is claimed that nobody knows."""
    judgement = _judgement(Severity.FATAL)
    assert with_impact(judgement, None) == judgement
