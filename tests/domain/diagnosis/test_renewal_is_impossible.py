"""What a certificate's own validity says: is there time to renew it."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from certagent.config.policy_files import load_policy
from certagent.domain.certificates import CertificateFacts
from certagent.domain.diagnosis.order_result import renewal_is_impossible
from certagent.domain.policy import Policy
from tests.certificates import make_facts

NOW = datetime(2026, 11, 24, tzinfo=UTC)
POLICY = load_policy(None)


def _facts(lifetime: timedelta) -> CertificateFacts:
    return make_facts("a", not_before=NOW, lifetime=lifetime)


def _impossible(lifetime: timedelta, policy: Policy = POLICY) -> list[str]:
    return [one.code for one in renewal_is_impossible("lxc102", "traefik", _facts(lifetime), policy)]


@pytest.mark.parametrize("lifetime", [timedelta(minutes=5), timedelta(hours=24), timedelta(days=90)])
def test_what_real_cas_issue_can_be_renewed(lifetime: timedelta) -> None:
    """Step-CA's shortest, its default, and the public CAs'."""
    assert _impossible(lifetime) == []


def test_a_life_too_short_for_a_retry_is_said_once_it_is_issued() -> None:
    """With the numbers, and where to change them."""
    (finding,) = renewal_is_impossible("lxc102", "traefik", _facts(timedelta(minutes=1)), POLICY)
    assert finding.code == "cert.renewal_impossible"
    assert "is valid for 0:01:00, of which 0:00:20 remain when its renewal is due" in finding.explanation
    assert finding.fix is not None
    assert "renewal.due_after" in finding.fix


def test_a_policy_that_leaves_no_window_is_said() -> None:
    """Ninety days do not help when it is due on the last one."""
    renewal = msgspec.structs.replace(POLICY.renewal, due_after=1.0)
    late = msgspec.structs.replace(POLICY, renewal=renewal)
    assert _impossible(timedelta(days=90), late) == ["cert.renewal_impossible"]
