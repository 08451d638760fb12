"""Looking again although nothing happened here: soon while it blocks, seldom while it is good."""

from datetime import UTC, datetime, timedelta

import pytest

from certagent.agent.recheck import RecheckSchedule
from certagent.config import load_policy
from certagent.domain.findings import Finding, Severity, Vantage, Verdict
from certagent.domain.policy import Judgement

NOW = datetime(2026, 11, 24, tzinfo=UTC)
POLICY = load_policy(None).preflight


@pytest.fixture
def attention() -> RecheckSchedule:
    """Nobody is known yet."""
    return RecheckSchedule(POLICY)


def _judgement(verdict: Verdict, *codes: str, severity: Severity = Severity.ERROR) -> Judgement:
    findings = tuple(
        Finding(code=one, severity=severity, vantage=Vantage.CLIENT, reporter="x", explanation=one) for one in codes
    )
    return Judgement(identifier="a", verdict=verdict, rehearsal=None, findings=findings)


def test_a_block_is_looked_at_soon_and_then_later_and_later(attention: RecheckSchedule) -> None:
    """Doubled, up to the policy's bound."""
    pauses = []
    now = NOW
    for _ in range(12):
        attention.note(_judgement(Verdict.BLOCK, "http01.not_found"), now)
        at = attention.next_at(now)
        assert at is not None
        pauses.append(at - now)
        now = at
    assert pauses[0] == POLICY.blocked_first
    assert pauses[1] == 2 * POLICY.blocked_first
    assert pauses[-1] == POLICY.blocked_longest


def test_what_is_new_is_said_and_looked_at_soon_again(attention: RecheckSchedule) -> None:
    """The same once more is no news; another cause is."""
    assert attention.note(_judgement(Verdict.BLOCK, "http01.not_found"), NOW)
    assert not attention.note(_judgement(Verdict.BLOCK, "http01.not_found"), NOW)
    assert attention.note(_judgement(Verdict.BLOCK, "net.refused"), NOW)
    assert attention.next_at(NOW) == NOW + POLICY.blocked_first


def test_a_good_path_is_looked_at_seldom(attention: RecheckSchedule) -> None:
    """And not twice for one date."""
    attention.note(_judgement(Verdict.PROCEED), NOW)
    assert attention.ready(NOW + POLICY.repeat_every - timedelta(seconds=1)) == []
    assert attention.ready(NOW + POLICY.repeat_every) == ["a"]
    assert attention.ready(NOW + POLICY.repeat_every) == []


def test_what_makes_an_incident_is_looked_at_soon_although_it_does_not_block(attention: RecheckSchedule) -> None:
    """It has to resolve by itself as well; a warning has time."""
    attention.note(_judgement(Verdict.WARN, "ca.circular"), NOW)
    assert attention.next_at(NOW) == NOW + POLICY.blocked_first
    attention = RecheckSchedule(POLICY)
    attention.note(_judgement(Verdict.WARN, "dns.aaaa_dead", severity=Severity.WARN), NOW)
    assert attention.next_at(NOW) == NOW + POLICY.repeat_every


def test_a_path_that_has_just_come_back_is_looked_at_again_and_then_seldom(attention: RecheckSchedule) -> None:
    """It may come and go; each look is later than the one before, up to the usual pause."""
    attention.note(_judgement(Verdict.BLOCK, "net.timeout"), NOW)
    pauses = []
    now = NOW
    for _ in range(14):
        attention.note(_judgement(Verdict.PROCEED), now)
        at = attention.next_at(now)
        assert at is not None
        pauses.append(at - now)
        now = at
    assert pauses[:2] == [POLICY.blocked_first, 2 * POLICY.blocked_first]
    assert pauses == sorted(pauses)
    assert pauses[-1] == POLICY.repeat_every


def test_a_clock_that_is_set_back_delays_no_look(attention: RecheckSchedule) -> None:
    """It was a day ahead when the last look was noted."""
    attention.note(_judgement(Verdict.PROCEED), NOW + timedelta(days=1))
    assert attention.next_at(NOW) == NOW + POLICY.repeat_every
