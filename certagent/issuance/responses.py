"""What the CA answers, read: its documents as values, its refusals as errors, and whether and when to ask again.

Whatever is sent in a document's place raises one kind of error. Asks for nothing, and imports no HTTP client: agents
that have not ordered yet do without one.
"""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

import msgspec

from certagent.domain.backoff import Backoff
from certagent.domain.orders import Authorization, Order, Problem
from certagent.domain.ports import Clock

if TYPE_CHECKING:
    import requests

_Document = TypeVar("_Document")

FIRST_PAUSE = timedelta(milliseconds=100)
LONGEST_RETRY_AFTER = 10.0  # seconds; what asks for more is for the schedule, not for this order
_LONGEST_SECONDS = 366 * 86400.0  # what is longer says as much
_PASSING = {"badNonce", "accountDoesNotExist"}


def decode(content: bytes, kind: type[_Document]) -> _Document:
    """As msgspec does it. Raises `msgspec.DecodeError`, also for what is no UTF-8 or is nested without end."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


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


class Meta(msgspec.Struct, frozen=True):
    """Of the directory's metadata what is used: the CA's profiles, name -> description."""

    profiles: dict[str, str] = {}


class Directory(msgspec.Struct, frozen=True, rename="camel"):
    """RFC 8555 section 7.1.1, as much of it as is used."""

    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str | None = None
    renewal_info: str | None = None
    meta: Meta = Meta()


def retry_after_of(response: "requests.Response") -> float | None:
    """In seconds, None where the CA asks for nothing."""
    return seconds_of(response.headers.get("Retry-After"), response.headers.get("Date"))


def location_of(response: "requests.Response") -> str:
    """Where that is which the CA has made (RFC 8555 sections 7.3 and 7.4). Raises `AuthorityUnreachableError`."""
    location = response.headers.get("Location")
    if location is None:
        raise AuthorityUnreachableError(f"{response.url} does not speak ACME: it answered without a Location")
    return location


def read_problem(response: "requests.Response") -> Problem:
    """The CA's problem document, or what stands for one."""
    try:
        problem = decode(response.content, Problem)
    except msgspec.MsgspecError:
        problem = Problem(detail=f"HTTP {response.status_code} without a problem document")
    return msgspec.structs.replace(problem, status=response.status_code)


def read_order(response: "requests.Response", url: str = "") -> Order:
    """RFC 8555 section 7.1.3, with what the headers say."""
    return msgspec.structs.replace(
        decode(response.content, Order),
        url=url or location_of(response),
        retry_after=retry_after_of(response),
    )


def read_authorization(response: "requests.Response", url: str) -> Authorization:
    """RFC 8555 section 7.1.4, likewise."""
    return msgspec.structs.replace(
        decode(response.content, Authorization),
        url=url,
        retry_after=retry_after_of(response),
    )
