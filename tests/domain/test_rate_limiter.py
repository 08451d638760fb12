"""How often something may be done, by a clock that moves when told."""

from datetime import timedelta

import pytest

from certagent.domain.rate_limiter import RateLimiter, network_of
from tests.fakes.clock import FakeClock

SECOND = timedelta(seconds=1)


def test_a_burst_then_one_at_a_time() -> None:
    """Two at once, then one per second; what was refused does not count."""
    clock = FakeClock()
    limiter = RateLimiter(clock, burst=2, every=SECOND)
    assert [limiter.take() for _ in range(4)] == [0.0, 0.0, 1.0, 1.0]
    clock.move(1.5 * SECOND)
    assert [limiter.take() for _ in range(2)] == [0.0, pytest.approx(0.5)]


def test_what_was_done_counts_whether_it_might_be_or_not() -> None:
    """Who has had too much waits the longer."""
    limiter = RateLimiter(FakeClock(), burst=2, every=SECOND)
    limiter.charge(count=5)
    assert limiter.wait_for() == 4.0


def test_after_a_pause_there_is_one_burst_and_no_more() -> None:
    """Nobody saves up."""
    clock = FakeClock()
    limiter = RateLimiter(clock, burst=3, every=SECOND)
    limiter.take()
    clock.move(100 * SECOND)
    assert [limiter.take() > 0 for _ in range(4)] == [False, False, False, True]


def test_keys_do_not_share() -> None:
    """One key's burst is not the other's."""
    limiter = RateLimiter(FakeClock(), burst=1, every=SECOND)
    assert [limiter.take(key) > 0 for key in ("a", "b", "a")] == [False, False, True]


def test_no_more_keys_are_known_than_it_may_know() -> None:
    """A new one waits until the bucket of the one used least recently is full again; known ones go on."""
    clock = FakeClock()
    limiter = RateLimiter(clock, burst=2, every=SECOND, most_keys=2)
    assert [limiter.take(key) for key in ("a", "b", "c", "b")] == [0.0, 0.0, 1.0, 0.0]
    clock.move(SECOND)
    assert limiter.take("c") == 0.0


def test_exactly_one_interval_later_the_next_may() -> None:
    """Whatever fraction of a second that is."""
    clock = FakeClock()
    limiter = RateLimiter(clock, burst=1, every=SECOND / 10)
    for _ in range(100):
        assert limiter.take() == 0.0
        clock.move(SECOND / 10)


def test_several_at_once_count_as_many() -> None:
    """Or not at all; asking how long to wait counts nothing."""
    clock = FakeClock()
    limiter = RateLimiter(clock, burst=10, every=SECOND)
    assert limiter.wait_for("a", 10) == limiter.take("a", 7) == 0.0
    assert [limiter.wait_for("a", 4), limiter.take("a", 4)] == [pytest.approx(1.0)] * 2
    assert limiter.take("a", 3) == 0.0
    assert limiter.take("b", 10) == 0.0
    clock.move(4 * SECOND)
    assert limiter.take("a", 4) == 0.0


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::7", "2001:db8:0:2::/64"),
        ("fe80::7%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_a_network_of_ipv6_is_one_address(address: str, counts_as: str) -> None:
    """Whoever has one of its addresses has 2**64."""
    assert network_of(address) == counts_as
