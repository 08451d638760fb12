"""Rules: who is told, when. And the survival clock."""

from datetime import UTC, datetime, time, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certagent.domain.incidents import Incident, IncidentState, group_findings, transition_incident
from certagent.domain.policy import Alerting, AlertRule
from certagent.domain.sightings import Fleet, Sighting, Victim
from certagent.domain.spans import DailySpan, Duration, read_daily_span
from certagent.domain.survival import CertificateLife, Survival, survive
from tests.collector.cast import HOSTS
from tests.evidence import TRAEFIK, shadow

NIGHT = read_daily_span("22:00-07:00")
AT = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)


def incident(*, dies_in: timedelta = timedelta(hours=20), flaps: int = 0) -> Incident:
    """The founding failure, with a certificate that lives so long."""
    victim = Victim(identifier=TRAEFIK, node="lxc102", certificate="traefik", expires_at=AT + dies_in)
    fleet = Fleet(authorities=frozenset({"lxc103"}), victims={TRAEFIK: (victim,)})
    case = next(iter(group_findings([Sighting(agent="lxc103", scope=HOSTS, at=AT, finding=shadow())], fleet).values()))
    made, _ = transition_incident("key", None, case, AT)
    assert made is not None
    return msgspec.structs.replace(made, flaps=flaps)


@pytest.mark.parametrize(
    ("clock", "ends"),
    [("21:59", None), ("22:00", "25 07:00"), ("23:30", "25 07:00"), ("06:59", "24 07:00"), ("07:00", None)],
)
def test_a_night_goes_over_midnight(clock: str, ends: str | None) -> None:
    """From ten to seven."""
    moment = datetime.fromisoformat(f"2026-11-24T{clock}:00+00:00")
    found = NIGHT.end_after(moment)
    assert (found.strftime("%d %H:%M") if found else None) == ends


@given(st.times(), st.times(), st.datetimes(timezones=st.just(UTC), max_value=datetime(9000, 1, 1)))  # noqa: DTZ001
def test_a_span_ends_after_the_moment_and_within_a_day(start: time, end: time, moment: datetime) -> None:
    """Whatever the span."""
    found = DailySpan(start.replace(second=0, microsecond=0), end.replace(second=0, microsecond=0)).end_after(moment)
    assert found is None or moment < found <= moment + timedelta(days=1)


def test_quiet_hours_wait_unless_a_certificate_dies_in_them() -> None:
    """A phone rings at night only for what the morning would be too late for; the end of it never does."""
    rules = Alerting(rules={"night": AlertRule(quiet=NIGHT)})
    morning = AT.replace(day=25, hour=7, minute=0)
    assert rules.due_at(incident(), AT) == morning
    assert rules.due_at(incident(dies_in=timedelta(hours=3)), AT) == AT
    over = msgspec.structs.replace(incident(dies_in=timedelta(hours=3)), state=IncidentState.RESOLVED)
    assert rules.due_at(over, AT) == morning


def test_the_last_rule_that_matches_decides() -> None:
    """By code, with wildcards; without any rule everybody is told at once."""
    rules = Alerting(
        channels=("phone", "mail"),
        rules={"all": AlertRule(), "dns": AlertRule(codes=("dns.*",), to=("ma*",), after=Duration(minutes=1))},
    )
    assert rules.rule_for("dns.hosts_shadow.authority").channels(rules.channels) == ("mail",)
    assert rules.rule_for("net.refused").channels(rules.channels) == ("phone", "mail")
    assert rules.due_at(incident(), AT) == AT + timedelta(minutes=1)
    assert Alerting().due_at(incident(), AT) == AT


def test_what_flaps_waits() -> None:
    """From the third reopening on."""
    rules = Alerting(flapping_hold=timedelta(minutes=10))
    assert rules.due_at(incident(flaps=2), AT) == AT
    assert rules.due_at(incident(flaps=3), AT) == AT + timedelta(minutes=10)


@pytest.mark.parametrize("text", ["22-7", "24:00-07:00", "22:00", 22, None])
def test_a_wrong_time_of_day_is_said_so(text: object) -> None:
    """With what was expected, or Python's own words."""
    with pytest.raises(ValueError, match=r"time of day|hour must be"):
        read_daily_span(text)


def life(hours: float, name: str = "x") -> CertificateLife:
    """Dies in so many hours."""
    return CertificateLife(expires_at=AT + timedelta(hours=hours), node=f"lxc{name}", certificate=name)


def test_the_survival_clock_says_who_dies_first_and_when_half_are_dead() -> None:
    """The issue's sentence: the first in 3 h 40 m, half of them in 7 h."""
    lives = [life(9), life(11 / 3, "102"), life(7), life(20), life(-1), life(0)]
    clock = survive(lives, AT)
    assert clock.first == life(11 / 3, "102")
    assert (clock.half_at, clock.last_at) == (AT + timedelta(hours=7), AT + timedelta(hours=20))
    assert (clock.living, clock.expired) == (4, 2)


def test_nothing_lives() -> None:
    """No certificate, or only dead ones."""
    assert survive([], AT) == Survival(living=0, expired=0)
    assert survive([life(-1)], AT) == Survival(living=0, expired=1)


@given(st.lists(st.floats(-100, 100, allow_nan=False), max_size=30))
def test_half_are_dead_at_half(hours: list[float]) -> None:
    """At `half_at` at least half of the living are dead, just before fewer; at `last_at` all."""
    lives = [life(one) for one in hours]
    clock = survive(lives, AT)
    if clock.half_at is None or clock.last_at is None or clock.first is None:
        assert clock.living == 0
        return
    assert survive(lives, clock.half_at).living * 2 <= clock.living
    assert survive(lives, clock.half_at - timedelta(microseconds=1)).living * 2 > clock.living
    assert survive(lives, clock.last_at).living == 0
    assert clock.first.expires_at <= clock.half_at <= clock.last_at
