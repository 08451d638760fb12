"""Pauses between attempts."""

from datetime import timedelta

from certagent.domain.backoff import Backoff


def _seconds(backoff: Backoff, count: int) -> list[float]:
    return [backoff.next_pause().total_seconds() for _ in range(count)]


def test_pauses_double_up_to_the_longest() -> None:
    """Each failure doubles the pause, until the longest is reached."""
    backoff = Backoff(timedelta(seconds=1), timedelta(seconds=5))
    assert _seconds(backoff, 5) == [1, 2, 4, 5, 5]


def test_a_success_starts_again_at_the_first_pause() -> None:
    """After a reset nothing is left of earlier failures."""
    backoff = Backoff(timedelta(seconds=1), timedelta(seconds=5))
    _seconds(backoff, 4)
    backoff.reset()
    assert _seconds(backoff, 2) == [1, 2]


def test_the_factor_may_be_another() -> None:
    """Growth by half, as a proof's looks grow apart."""
    backoff = Backoff(timedelta(seconds=2), timedelta(seconds=60), factor=1.5)
    assert _seconds(backoff, 3) == [2, 3, 4.5]


def test_failures_that_are_counted_elsewhere() -> None:
    """The pause follows from the count alone, and asking does not change it."""
    backoff = Backoff(timedelta(seconds=1), timedelta(minutes=5))
    assert backoff.pause_after(0) == timedelta(seconds=1)
    assert backoff.pause_after(3) == timedelta(seconds=8)
    assert backoff.next_pause() == timedelta(seconds=1)


def test_it_never_overflows() -> None:
    """A thousand failures later the pause is the longest, whatever the numbers."""
    for longest in (timedelta(seconds=5), timedelta.max):
        backoff = Backoff(timedelta(days=1), longest)
        assert backoff.pause_after(10**6) <= longest
    assert Backoff(timedelta(seconds=1), timedelta(seconds=9)).pause_after(10**6) == timedelta(seconds=9)


def test_a_first_pause_that_is_longer_than_the_longest() -> None:
    """The longest holds from the first pause on."""
    assert Backoff(timedelta(minutes=1), timedelta(seconds=5)).next_pause() == timedelta(seconds=5)
