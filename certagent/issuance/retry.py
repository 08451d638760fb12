"""Trying again: what the CA may say twice before it is believed, and how long it is waited for in between."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from certagent.domain.backoff import Backoff
from certagent.domain.orders import Problem
from certagent.domain.ports import Clock

FIRST_PAUSE = timedelta(milliseconds=100)
LONGEST_RETRY_AFTER = 10.0  # seconds; what asks for more is for the schedule, not for this order
_LONGEST_SECONDS = 366 * 86400.0  # what is longer says as much
_PASSING = {"badNonce", "accountDoesNotExist"}


class AuthorityUnreachableError(Exception):
    """No answer, or none that is ACME: the work could not be done, and nobody refused it."""


class ProblemError(Exception):
    """The CA said no. `retry_after` is in seconds, as it asked for."""

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(f"{problem.kind}: {problem.detail}")
        self.problem = problem
        self.retry_after = retry_after


class RetryPolicy:
    """A bounded number of attempts with growing pauses between them. `is_once`: only for what the CA did not even look
    at, because of its nonce or of the account."""

    def __init__(self, clock: Clock, attempts: int, *, is_once: bool = False) -> None:
        self._clock = clock
        self._left = attempts - 1
        self._is_once = is_once
        self._backoff = Backoff(FIRST_PAUSE, timedelta(seconds=LONGEST_RETRY_AFTER), factor=3.0)

    @property
    def has_more(self) -> bool:
        """Whether there may be another attempt."""
        return self._left > 0

    async def wait_or_raise(self, error: ProblemError) -> None:
        """Return when it is worth another attempt, or raise the error."""
        growing = self._backoff.next_pause().total_seconds()
        pause = growing if error.retry_after is None else error.retry_after
        is_unseen = error.problem.kind in _PASSING
        if not self.has_more or not is_passing(error.problem) or pause > LONGEST_RETRY_AFTER:
            raise error
        if self._is_once and not is_unseen:
            raise error
        self._left -= 1
        await self._clock.sleep(pause if not is_unseen else 0.0)


def is_passing(problem: Problem) -> bool:
    """Whether the CA may say otherwise the next time: its own errors, rate limits, nonces, a forgotten account."""
    is_servers = problem.status is not None and problem.status >= 500
    return is_servers or problem.kind in _PASSING or problem.kind == "rateLimited"


def seconds_of(retry_after: str | None, date: str | None = None) -> float | None:
    """A Retry-After in seconds (RFC 9110 section 10.2.3). A date is measured by the answer's own `Date`, for the CA's
    clock may not be ours; without one, 1 s stands for it."""
    if retry_after is None:
        return None
    if retry_after.isdecimal():
        return min(float(retry_after), _LONGEST_SECONDS)
    until = _parsed(retry_after)
    since = _parsed(date) if date is not None else None
    if until is None:
        return None
    return min(max((until - since).total_seconds(), 0.0), _LONGEST_SECONDS) if since is not None else 1.0


def _parsed(date: str) -> datetime | None:
    try:
        return parsedate_to_datetime(date).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
