"""The schedule: from the certificate's own validity, urgent first, never hammering."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from certagent.agent.schedule import OUTAGE_RETRY_EVERY, CaOutage, Need, RecheckSchedule, Schedule
from certagent.config.policy_files import load_policy
from certagent.domain.certificates import CertificateFacts, Window
from certagent.domain.findings import Severity, Vantage, Verdict
from certagent.domain.policy import Judgement
from tests.certificates import make_facts
from tests.evidence import make_finding

NOW = datetime(2026, 11, 24, tzinfo=UTC)
POLICY = load_policy(None)


def _facts(lifetime: timedelta, since: datetime = NOW) -> CertificateFacts:
    return make_facts("a", not_before=since, lifetime=lifetime)


def test_what_does_not_exist_is_due_now() -> None:
    """A new node gets its first certificate at once."""
    schedule = Schedule("lxc102", POLICY.renewal)
    schedule.plan("traefik", None, NOW)
    assert schedule.ready(NOW) == ["traefik"]
    assert schedule.is_due("traefik", NOW)


@pytest.mark.parametrize("lifetime", [timedelta(minutes=5), timedelta(hours=24), timedelta(days=90)])
def test_due_lies_at_two_thirds_less_a_jitter(lifetime: timedelta) -> None:
    """Whatever the CA's claims say; the configuration has no say in it."""
    due = Schedule("lxc102", POLICY.renewal).due_at("traefik", _facts(lifetime))
    assert NOW + lifetime * 0.617 <= due <= NOW + lifetime * 0.667


def test_the_jitter_is_the_nodes_own() -> None:
    """A fleet that was issued at once is not due at once."""
    facts = _facts(timedelta(days=90))
    assert len({Schedule(f"lxc{number}", POLICY.renewal).due_at("traefik", facts) for number in range(50)}) > 30


def test_pauses_double_and_stay_short_against_the_remaining_life() -> None:
    """A tenth of what is left, at most."""
    schedule = Schedule("lxc102", POLICY.renewal)
    facts = _facts(timedelta(minutes=5))
    schedule.plan("traefik", facts, NOW)
    first = schedule.postpone("traefik", facts, NOW) - NOW
    second = schedule.postpone("traefik", facts, NOW) - NOW
    assert first < second
    for _ in range(40):
        assert schedule.postpone("traefik", facts, NOW) - NOW <= timedelta(seconds=30)


def test_what_says_that_it_is_due_again_at_once_waits() -> None:
    """A CA whose certificates begin in the past, or a policy that makes all of them due, is not hammered."""
    schedule = Schedule("lxc102", POLICY.renewal)
    facts = _facts(timedelta(hours=24), NOW - timedelta(hours=20))
    schedule.plan_after_renewal("traefik", facts, NOW)
    assert schedule.is_due("traefik", NOW)
    assert schedule.next_at(NOW) == NOW + POLICY.renewal.shortest_interval
    short = _facts(timedelta(minutes=5), NOW - timedelta(minutes=4))
    schedule.plan_after_renewal("traefik", short, NOW)
    assert schedule.next_at(NOW) == NOW + timedelta(seconds=6)


def test_a_mended_path_hastens_only_what_is_due() -> None:
    """What is not due keeps its date."""
    schedule = Schedule("lxc102", POLICY.renewal)
    schedule.plan("new", None, NOW)
    schedule.plan("fresh", _facts(timedelta(hours=24)), NOW)
    schedule.postpone("new", None, NOW)
    assert schedule.ready(NOW) == []
    schedule.expedite("new", NOW)
    schedule.expedite("fresh", NOW)
    assert schedule.ready(NOW) == ["new"]


def test_the_most_urgent_comes_first() -> None:
    """Expired before due before nothing else."""
    schedule = Schedule("lxc102", POLICY.renewal)
    schedule.plan("later", _facts(timedelta(hours=24), NOW - timedelta(hours=20)), NOW)
    schedule.plan("expired", _facts(timedelta(hours=24), NOW - timedelta(days=3)), NOW)
    assert schedule.ready(NOW) == ["expired", "later"]


def test_urgent_is_the_last_tenth() -> None:
    """Then an order is placed although the verdict blocks."""
    schedule = Schedule("lxc102", POLICY.renewal)
    facts = _facts(timedelta(hours=24))
    schedule.plan("traefik", facts, NOW)
    assert schedule.need("traefik", facts, NOW + timedelta(hours=21)) is not Need.URGENT
    assert schedule.need("traefik", facts, NOW + timedelta(hours=22)) is Need.URGENT


def test_the_cas_wish_decides_where_there_is_one() -> None:
    """Its window, spread like all else; of another certificate's window nothing is kept."""
    schedule = Schedule("lxc102", POLICY.renewal)
    facts = _facts(timedelta(hours=24))
    schedule.plan("traefik", facts, NOW)
    window = Window(start=NOW + timedelta(hours=1), end=NOW + timedelta(hours=2))
    schedule.suggest("traefik", facts, window, NOW)
    at = schedule.next_at(NOW)
    assert at is not None
    assert window.start <= at <= window.end
    assert schedule.due_at("traefik", facts) == at
    assert schedule.is_due("traefik", at)
    successor = msgspec.structs.replace(facts, fingerprint="another")
    assert schedule.due_at("traefik", successor) > NOW + timedelta(hours=14)


def test_the_cas_wish_does_not_lead_into_the_last_moments() -> None:
    """Nor does it touch what is at work, or waits after a failure."""
    schedule = Schedule("lxc102", POLICY.renewal)
    facts = _facts(timedelta(hours=24))
    late = Window(start=NOW + timedelta(hours=23), end=NOW + timedelta(hours=30))
    schedule.plan("traefik", facts, NOW)
    schedule.suggest("traefik", facts, late, NOW)
    assert schedule.need("traefik", facts, schedule.due_at("traefik", facts)) is not Need.URGENT
    retry = schedule.postpone("traefik", facts, NOW)
    schedule.suggest("traefik", facts, late, NOW)
    assert schedule.next_at(NOW) == retry


def test_what_expires_first_comes_first_whatever_it_lived() -> None:
    """Five minutes with seconds left before ninety days with days left, though that is due for longer."""
    schedule = Schedule("lxc102", POLICY.renewal)
    schedule.plan("long", _facts(timedelta(days=90), NOW - timedelta(days=70)), NOW)
    schedule.plan("short", _facts(timedelta(minutes=5), NOW - timedelta(minutes=4)), NOW)
    schedule.plan("none", None, NOW)
    assert schedule.ready(NOW) == ["none", "short", "long"]


@pytest.mark.parametrize("lifetime", [timedelta(minutes=5), timedelta(hours=24), timedelta(days=90)])
def test_what_has_expired_is_retried_often(lifetime: timedelta) -> None:
    """A tenth of the life that it had, at most; never longer than the policy allows."""
    schedule = Schedule("lxc102", POLICY.renewal)
    facts = _facts(lifetime, NOW - 2 * lifetime)
    schedule.plan("traefik", facts, NOW)
    for _ in range(20):
        pause = schedule.postpone("traefik", facts, NOW) - NOW
        assert pause <= min(lifetime / 10, POLICY.renewal.retry_longest)


def test_a_clock_that_is_set_back_makes_no_pause_longer() -> None:
    """A retry in five seconds stays one in five seconds, though the clock was a day ahead when it was planned."""
    schedule = Schedule("lxc102", POLICY.renewal)
    schedule.plan("traefik", None, NOW)
    ahead = NOW + timedelta(days=1)
    schedule.postpone("traefik", None, ahead)
    assert schedule.next_at(NOW) == NOW + POLICY.renewal.retry_first
    assert schedule.ready(NOW) == []
    assert schedule.ready(NOW + POLICY.renewal.retry_first) == ["traefik"]


@pytest.mark.parametrize("lifetime", [timedelta(minutes=5), timedelta(days=90)])
def test_a_suspend_or_a_clock_set_forward_makes_it_due_at_once(lifetime: timedelta) -> None:
    """Due dates are instants: whoever wakes late finds it due, and urgent if it is."""
    schedule = Schedule("lxc102", POLICY.renewal)
    facts = _facts(lifetime)
    schedule.plan("traefik", facts, NOW)
    assert schedule.ready(NOW + lifetime * 0.6) == []
    assert schedule.ready(NOW + lifetime * 0.95) == ["traefik"]
    assert schedule.need("traefik", facts, NOW + lifetime * 0.95) is Need.URGENT


def test_the_cas_wish_to_be_left_alone_is_heeded_up_to_half_of_what_is_left() -> None:
    """Retry-After is an hour: with a day left that is waited for, with ten minutes left not all of it."""
    schedule = Schedule("lxc102", POLICY.renewal)
    wish = NOW + timedelta(hours=1)
    relaxed, pressed = _facts(timedelta(hours=24)), _facts(timedelta(minutes=10))
    for facts, expected in ((relaxed, timedelta(hours=1)), (pressed, timedelta(minutes=5)), (None, timedelta(hours=1))):
        schedule.plan("traefik", facts, NOW)
        assert schedule.postpone("traefik", facts, NOW, wish) == NOW + expected


def test_a_fleet_comes_back_spread_and_the_urgent_first() -> None:
    """After an outage of the CA: each within the policy's moment, in its own place; what is urgent does not wait."""
    places = []
    for number in range(100):
        schedule = Schedule(f"lxc{number}", POLICY.renewal)
        facts = _facts(timedelta(hours=24), NOW - timedelta(hours=18))
        schedule.plan("traefik", facts, NOW)
        for _ in range(12):
            schedule.postpone("traefik", facts, NOW)
        schedule.expedite("traefik", NOW)
        at = schedule.next_at(NOW)
        assert at is not None
        places.append(at - NOW)
    assert max(places) <= POLICY.renewal.spread_over
    assert len(set(places)) > 50
    assert max(sum(1 for place in places if second <= place.total_seconds() < second + 1) for second in range(20)) < 20
    urgent = Schedule("lxc102", POLICY.renewal)
    facts = _facts(timedelta(minutes=5), NOW - timedelta(minutes=4, seconds=50))
    urgent.plan("traefik", facts, NOW)
    urgent.postpone("traefik", facts, NOW)
    urgent.expedite("traefik", NOW)
    assert urgent.ready(NOW) == ["traefik"]


def test_an_order_that_keeps_failing_on_a_good_path_backs_off() -> None:
    """Each try judges the path anew and finds it good; that is no news, and hastens nothing while it is at work."""
    schedule = Schedule("lxc102", POLICY.renewal)
    schedule.plan("traefik", None, NOW)
    pauses = []
    for _ in range(4):
        schedule.mark_in_progress("traefik")
        schedule.expedite("traefik", NOW)
        pauses.append(schedule.postpone("traefik", None, NOW) - NOW)
    assert pauses == [POLICY.renewal.retry_first * 2**number for number in range(4)]


# --- while the CA is unavailable --------------------------------------------------------------------------------------


def _judgement(verdict: Verdict, *codes: str, severity: Severity = Severity.ERROR) -> Judgement:
    findings = tuple(make_finding(one, severity=severity, vantage=Vantage.CLIENT) for one in codes)
    return Judgement(identifier="a", verdict=verdict, rehearsal=None, findings=findings)


def test_without_an_outage_nothing_is_skipped() -> None:
    """A path that blocks is one certificate's own matter."""
    outage = CaOutage()
    assert not outage.note([_judgement(Verdict.BLOCK, "dns.hosts_shadow.authority")])
    assert not any(outage.may_skip("a", "due", NOW) for _ in range(3))


def test_each_certificate_has_its_say_once_and_then_one_asks_for_all() -> None:
    """Two hundred in a burst: a try each, which is reported; after that one in two seconds."""
    outage = CaOutage()
    outage.note([_judgement(Verdict.BLOCK, "ca.unreachable")])
    names = [f"c{number}" for number in range(200)]
    assert not any(outage.may_skip(name, "due", NOW) for name in names)
    tries = 0
    for tick in range(100):
        now = NOW + timedelta(seconds=tick / 10)
        tries += sum(not outage.may_skip(name, "due", now) for name in names)
    assert tries <= 10 / OUTAGE_RETRY_EVERY.total_seconds() + 1


def test_what_comes_near_its_end_is_said_again() -> None:
    """Due, then urgent, then expired: a report each."""
    outage = CaOutage()
    outage.note([_judgement(Verdict.BLOCK, "ca.unreachable")])
    for need in ("due", "urgent", "expired"):
        assert not outage.may_skip("a", need, NOW)
        assert outage.may_skip("a", need, NOW)


def test_its_end_is_told_once_and_the_next_one_begins_anew() -> None:
    """Whoever was spared may try again."""
    outage = CaOutage()
    outage.note([_judgement(Verdict.BLOCK, "ca.unreachable")])
    assert not outage.may_skip("a", "due", NOW)
    assert outage.note([_judgement(Verdict.PROCEED)])
    assert not outage.note([_judgement(Verdict.PROCEED)])
    assert not outage.may_skip("a", "due", NOW)
    outage.note([_judgement(Verdict.BLOCK, "ca.untrusted")])
    assert not outage.may_skip("a", "due", NOW)


def test_a_clock_that_is_set_back_does_not_silence_it() -> None:
    """It was a day ahead when it asked last."""
    outage = CaOutage()
    outage.note([_judgement(Verdict.BLOCK, "ca.unreachable")])
    outage.may_skip("a", "due", NOW + timedelta(days=1))
    assert not outage.may_skip("a", "due", NOW)


# --- judging again ----------------------------------------------------------------------------------------------------


@pytest.fixture
def rechecks() -> RecheckSchedule:
    """Nobody is known yet."""
    return RecheckSchedule(POLICY.preflight)


def test_a_block_is_looked_at_soon_and_then_later_and_later(rechecks: RecheckSchedule) -> None:
    """Doubled, up to the policy's bound."""
    pauses = []
    now = NOW
    for _ in range(12):
        rechecks.note(_judgement(Verdict.BLOCK, "http01.not_found"), now)
        at = rechecks.next_at(now)
        assert at is not None
        pauses.append(at - now)
        now = at
    assert pauses[0] == POLICY.preflight.blocked_first
    assert pauses[1] == 2 * POLICY.preflight.blocked_first
    assert pauses[-1] == POLICY.preflight.blocked_longest


def test_what_is_new_is_said_and_looked_at_soon_again(rechecks: RecheckSchedule) -> None:
    """The same once more is no news; another cause is."""
    assert rechecks.note(_judgement(Verdict.BLOCK, "http01.not_found"), NOW)
    assert not rechecks.note(_judgement(Verdict.BLOCK, "http01.not_found"), NOW)
    assert rechecks.note(_judgement(Verdict.BLOCK, "net.refused"), NOW)
    assert rechecks.next_at(NOW) == NOW + POLICY.preflight.blocked_first


def test_a_good_path_is_looked_at_seldom(rechecks: RecheckSchedule) -> None:
    """And not twice for one date."""
    rechecks.note(_judgement(Verdict.PROCEED), NOW)
    assert rechecks.ready(NOW + POLICY.preflight.repeat_every - timedelta(seconds=1)) == []
    assert rechecks.ready(NOW + POLICY.preflight.repeat_every) == ["a"]
    assert rechecks.ready(NOW + POLICY.preflight.repeat_every) == []


def test_what_makes_an_incident_is_looked_at_soon_although_it_does_not_block(rechecks: RecheckSchedule) -> None:
    """It has to resolve by itself as well; a warning has time."""
    rechecks.note(_judgement(Verdict.WARN, "ca.circular"), NOW)
    assert rechecks.next_at(NOW) == NOW + POLICY.preflight.blocked_first
    rechecks = RecheckSchedule(POLICY.preflight)
    rechecks.note(_judgement(Verdict.WARN, "dns.aaaa_dead", severity=Severity.WARN), NOW)
    assert rechecks.next_at(NOW) == NOW + POLICY.preflight.repeat_every


def test_a_path_that_has_just_come_back_is_looked_at_again_and_then_seldom(rechecks: RecheckSchedule) -> None:
    """It may come and go; each look is later than the one before, up to the usual pause."""
    rechecks.note(_judgement(Verdict.BLOCK, "net.timeout"), NOW)
    pauses = []
    now = NOW
    for _ in range(14):
        rechecks.note(_judgement(Verdict.PROCEED), now)
        at = rechecks.next_at(now)
        assert at is not None
        pauses.append(at - now)
        now = at
    assert pauses[:2] == [POLICY.preflight.blocked_first, 2 * POLICY.preflight.blocked_first]
    assert pauses == sorted(pauses)
    assert pauses[-1] == POLICY.preflight.repeat_every


def test_a_clock_that_is_set_back_delays_no_look(rechecks: RecheckSchedule) -> None:
    """It was a day ahead when the last look was noted."""
    rechecks.note(_judgement(Verdict.PROCEED), NOW + timedelta(days=1))
    assert rechecks.next_at(NOW) == NOW + POLICY.preflight.repeat_every
