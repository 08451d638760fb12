"""The schedule: from the certificate's own validity, urgent first, never hammering."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from certagent.agent.schedule import Schedule
from certagent.config import load_policy
from certagent.domain.certificates import CertificateFacts, Window

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


def test_what_says_that_it_is_due_again_at_once_waits() -> None:
    """A CA whose certificates begin in the past, or a policy that makes all of them due, is not hammered."""
    schedule = Schedule("lxc102", POLICY)
    facts = _facts(timedelta(hours=24), NOW - timedelta(hours=20))
    schedule.renewed("traefik", facts, NOW)
    assert schedule.is_due("traefik", NOW)
    assert schedule.next_at(NOW) == NOW + POLICY.shortest_interval
    short = _facts(timedelta(minutes=5), NOW - timedelta(minutes=4))
    schedule.renewed("traefik", short, NOW)
    assert schedule.next_at(NOW) == NOW + timedelta(seconds=6)


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


def test_the_cas_wish_decides_where_there_is_one() -> None:
    """Its window, spread like all else; of another certificate's window nothing is kept."""
    schedule = Schedule("lxc102", POLICY)
    facts = _facts(timedelta(hours=24))
    schedule.set("traefik", facts, NOW)
    window = Window(start=NOW + timedelta(hours=1), end=NOW + timedelta(hours=2))
    schedule.advise("traefik", facts, window, NOW)
    at = schedule.next_at(NOW)
    assert at is not None
    assert window.start <= at <= window.end
    assert schedule.due_at("traefik", facts) == at
    assert schedule.is_due("traefik", at)
    successor = msgspec.structs.replace(facts, fingerprint="another")
    assert schedule.due_at("traefik", successor) > NOW + timedelta(hours=14)


def test_the_cas_wish_does_not_lead_into_the_last_moments() -> None:
    """Nor does it touch what is at work, or waits after a failure."""
    schedule = Schedule("lxc102", POLICY)
    facts = _facts(timedelta(hours=24))
    late = Window(start=NOW + timedelta(hours=23), end=NOW + timedelta(hours=30))
    schedule.set("traefik", facts, NOW)
    schedule.advise("traefik", facts, late, NOW)
    assert not schedule.is_urgent(facts, schedule.due_at("traefik", facts))
    retry = schedule.postpone("traefik", facts, NOW)
    schedule.advise("traefik", facts, late, NOW)
    assert schedule.next_at(NOW) == retry


def test_what_expires_first_comes_first_whatever_it_lived() -> None:
    """Five minutes with seconds left before ninety days with days left, though that is due for longer."""
    schedule = Schedule("lxc102", POLICY)
    schedule.set("long", _facts(timedelta(days=90), NOW - timedelta(days=70)), NOW)
    schedule.set("short", _facts(timedelta(minutes=5), NOW - timedelta(minutes=4)), NOW)
    schedule.set("none", None, NOW)
    assert schedule.ready(NOW) == ["none", "short", "long"]


@pytest.mark.parametrize("lifetime", [timedelta(minutes=5), timedelta(hours=24), timedelta(days=90)])
def test_what_has_expired_is_retried_often(lifetime: timedelta) -> None:
    """A tenth of the life that it had, at most; never longer than the policy allows."""
    schedule = Schedule("lxc102", POLICY)
    facts = _facts(lifetime, NOW - 2 * lifetime)
    schedule.set("traefik", facts, NOW)
    for _ in range(20):
        pause = schedule.postpone("traefik", facts, NOW) - NOW
        assert pause <= min(lifetime / 10, POLICY.retry_longest)


def test_a_clock_that_is_set_back_makes_no_pause_longer() -> None:
    """A retry in five seconds stays one in five seconds, though the clock was a day ahead when it was planned."""
    schedule = Schedule("lxc102", POLICY)
    schedule.set("traefik", None, NOW)
    ahead = NOW + timedelta(days=1)
    schedule.postpone("traefik", None, ahead)
    assert schedule.next_at(NOW) == NOW + POLICY.retry_first
    assert schedule.ready(NOW) == []
    assert schedule.ready(NOW + POLICY.retry_first) == ["traefik"]


@pytest.mark.parametrize("lifetime", [timedelta(minutes=5), timedelta(days=90)])
def test_a_suspend_or_a_clock_set_forward_makes_it_due_at_once(lifetime: timedelta) -> None:
    """Due dates are instants: whoever wakes late finds it due, and urgent if it is."""
    schedule = Schedule("lxc102", POLICY)
    facts = _facts(lifetime)
    schedule.set("traefik", facts, NOW)
    assert schedule.ready(NOW + lifetime * 0.6) == []
    assert schedule.ready(NOW + lifetime * 0.95) == ["traefik"]
    assert schedule.is_urgent(facts, NOW + lifetime * 0.95)


def test_the_cas_wish_to_be_left_alone_is_heeded_up_to_half_of_what_is_left() -> None:
    """Retry-After is an hour: with a day left that is waited for, with ten minutes left not all of it."""
    schedule = Schedule("lxc102", POLICY)
    wish = NOW + timedelta(hours=1)
    relaxed, pressed = _facts(timedelta(hours=24)), _facts(timedelta(minutes=10))
    for facts, expected in ((relaxed, timedelta(hours=1)), (pressed, timedelta(minutes=5)), (None, timedelta(hours=1))):
        schedule.set("traefik", facts, NOW)
        assert schedule.postpone("traefik", facts, NOW, wish) == NOW + expected


def test_a_fleet_comes_back_spread_and_the_urgent_first() -> None:
    """After an outage of the CA: each within the policy's moment, in its own place; what is urgent does not wait."""
    places = []
    for number in range(100):
        schedule = Schedule(f"lxc{number}", POLICY)
        facts = _facts(timedelta(hours=24), NOW - timedelta(hours=18))
        schedule.set("traefik", facts, NOW)
        for _ in range(12):
            schedule.postpone("traefik", facts, NOW)
        schedule.hasten("traefik", NOW)
        at = schedule.next_at(NOW)
        assert at is not None
        places.append(at - NOW)
    assert max(places) <= POLICY.spread_over
    assert len(set(places)) > 50
    assert max(sum(1 for place in places if second <= place.total_seconds() < second + 1) for second in range(20)) < 20
    urgent = Schedule("lxc102", POLICY)
    facts = _facts(timedelta(minutes=5), NOW - timedelta(minutes=4, seconds=50))
    urgent.set("traefik", facts, NOW)
    urgent.postpone("traefik", facts, NOW)
    urgent.hasten("traefik", NOW)
    assert urgent.ready(NOW) == ["traefik"]


def test_an_order_that_keeps_failing_on_a_good_path_backs_off() -> None:
    """Each try judges the path anew and finds it good; that is no news, and hastens nothing while it is at work."""
    schedule = Schedule("lxc102", POLICY)
    schedule.set("traefik", None, NOW)
    pauses = []
    for _ in range(4):
        schedule.take("traefik")
        schedule.hasten("traefik", NOW)
        pauses.append(schedule.postpone("traefik", None, NOW) - NOW)
    assert pauses == [POLICY.retry_first * 2**number for number in range(4)]
