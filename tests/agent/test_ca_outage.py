"""An outage of the CA: one certificate asks for all, and all are told when it is over."""

from datetime import UTC, datetime, timedelta

from certagent.agent.ca_outage import ASKED_EVERY, CaOutage
from certagent.domain.findings import Finding, Vantage, Verdict
from certagent.domain.policy import Judgement

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def _judgement(*codes: str) -> Judgement:
    findings = tuple(Finding(code=one, vantage=Vantage.CLIENT, reporter="x", explanation=one) for one in codes)
    verdict = Verdict.BLOCK if codes else Verdict.PROCEED
    return Judgement(identifier="a", verdict=verdict, rehearsal=None, findings=findings)


def test_without_an_outage_nothing_is_spared() -> None:
    """A path that blocks is one certificate's own matter."""
    outage = CaOutage()
    assert not outage.note([_judgement("dns.hosts_shadow.authority")])
    assert not any(outage.spares("a", "due", NOW) for _ in range(3))


def test_each_certificate_has_its_say_once_and_then_one_asks_for_all() -> None:
    """Two hundred in a burst: a try each, which is reported; after that one in two seconds."""
    outage = CaOutage()
    outage.note([_judgement("ca.unreachable")])
    names = [f"c{number}" for number in range(200)]
    assert not any(outage.spares(name, "due", NOW) for name in names)
    tries = 0
    for tick in range(100):
        now = NOW + timedelta(seconds=tick / 10)
        tries += sum(not outage.spares(name, "due", now) for name in names)
    assert tries <= 10 / ASKED_EVERY.total_seconds() + 1


def test_what_comes_near_its_end_is_said_again() -> None:
    """Due, then urgent, then expired: a report each."""
    outage = CaOutage()
    outage.note([_judgement("ca.unreachable")])
    for need in ("due", "urgent", "expired"):
        assert not outage.spares("a", need, NOW)
        assert outage.spares("a", need, NOW)


def test_its_end_is_told_once_and_the_next_one_begins_anew() -> None:
    """Whoever was spared may try again."""
    outage = CaOutage()
    outage.note([_judgement("ca.unreachable")])
    assert not outage.spares("a", "due", NOW)
    assert outage.note([_judgement()])
    assert not outage.note([_judgement()])
    assert not outage.spares("a", "due", NOW)
    outage.note([_judgement("ca.untrusted")])
    assert not outage.spares("a", "due", NOW)


def test_a_clock_that_is_set_back_does_not_silence_it() -> None:
    """It was a day ahead when it asked last."""
    outage = CaOutage()
    outage.note([_judgement("ca.unreachable")])
    outage.spares("a", "due", NOW + timedelta(days=1))
    assert not outage.spares("a", "due", NOW)
