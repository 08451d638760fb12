"""The schedule: from the certificate's own validity, urgent first, never hammering."""

from datetime import UTC, datetime, timedelta

import pytest

from certagent.agent.schedule import Schedule
from certagent.config import load_policy
from certagent.domain.certificates import CertificateFacts

NOW = datetime(2026, 11, 24, tzinfo=UTC)
POLICY = load_policy(None).renewal


def _facts(lifetime: timedelta, since: datetime = NOW) -> CertificateFacts:
    return CertificateFacts(
        fingerprint="f",
        serial="1",
        identifiers=("a",),
        not_before=since,
        not_after=since + lifetime,
        issuer="CN=ca",
    )


def test_what_does_not_exist_is_due_now() -> None:
    """A new node gets its first certificate at once."""
    schedule = Schedule("lxc102", POLICY)
    schedule.set("traefik", None, NOW)
    assert schedule.ready(NOW) == ["traefik"]
    assert schedule.is_due("traefik", NOW)


@pytest.mark.parametrize("lifetime", [timedelta(minutes=5), timedelta(hours=24), timedelta(days=90)])
def test_due_lies_at_two_thirds_less_a_jitter(lifetime: timedelta) -> None:
    """Whatever the CA's claims say; the configuration has no say in it."""
    due = Schedule("lxc102", POLICY).due_at("traefik", _facts(lifetime))
    assert NOW + lifetime * 0.617 <= due <= NOW + lifetime * 0.667


def test_the_jitter_is_the_nodes_own() -> None:
    """A fleet that was issued at once is not due at once."""
    facts = _facts(timedelta(days=90))
    assert len({Schedule(f"lxc{number}", POLICY).due_at("traefik", facts) for number in range(50)}) > 30


def test_pauses_double_and_stay_short_against_the_remaining_life() -> None:
    """A tenth of what is left, at most."""
    schedule = Schedule("lxc102", POLICY)
    facts = _facts(timedelta(minutes=5))
    schedule.set("traefik", facts, NOW)
    first = schedule.postpone("traefik", facts, NOW) - NOW
    second = schedule.postpone("traefik", facts, NOW) - NOW
    assert first < second
    for _ in range(40):
        assert schedule.postpone("traefik", facts, NOW) - NOW <= timedelta(seconds=30)


def test_a_mended_path_hastens_only_what_is_due() -> None:
    """What is not due keeps its date."""
    schedule = Schedule("lxc102", POLICY)
    schedule.set("new", None, NOW)
    schedule.set("fresh", _facts(timedelta(hours=24)), NOW)
    schedule.postpone("new", None, NOW)
    assert schedule.ready(NOW) == []
    schedule.hasten("new", NOW)
    schedule.hasten("fresh", NOW)
    assert schedule.ready(NOW) == ["new"]


def test_the_most_urgent_comes_first() -> None:
    """Expired before due before nothing else."""
    schedule = Schedule("lxc102", POLICY)
    schedule.set("later", _facts(timedelta(hours=24), NOW - timedelta(hours=20)), NOW)
    schedule.set("expired", _facts(timedelta(hours=24), NOW - timedelta(days=3)), NOW)
    assert schedule.ready(NOW) == ["expired", "later"]


def test_urgent_is_the_last_tenth() -> None:
    """Then an order is placed although the verdict blocks."""
    schedule = Schedule("lxc102", POLICY)
    facts = _facts(timedelta(hours=24))
    assert not schedule.is_urgent(facts, NOW + timedelta(hours=21))
    assert schedule.is_urgent(facts, NOW + timedelta(hours=22))
