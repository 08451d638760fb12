"""The CA's responses, parsed: its documents as values, its refusals as errors, and whether and when to ask again.

Anything else in place of a document raises one kind of error. Sends no request, and imports no HTTP client: agents that
have not ordered yet do without one.
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
LONGEST_RETRY_AFTER = 10.0  # seconds; a longer pause is left to the schedule
_LONGEST_SECONDS = 366 * 86400.0  # a longer pause is treated like this one
_PASSING = {"badNonce", "accountDoesNotExist"}


def decode(content: bytes, kind: type[_Document]) -> _Document:
    """Decode as msgspec does. Raises `msgspec.DecodeError`, also for content that is not UTF-8 or is nested too
    deeply."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


class AuthorityUnreachableError(Exception):
    """There was no response, or none that is ACME: the work could not be done, and the CA did not refuse it."""


class ProblemError(Exception):
    """The CA refused. `retry_after` is the pause in seconds that it asked for."""

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(f"{problem.kind}: {problem.detail}")
        self.problem = problem
        self.retry_after = retry_after


class RetryPolicy:
    """A bounded number of attempts with growing pauses between them. `is_once`: retry only what the CA did not
    process, because of its nonce or of the account."""

    def __init__(self, clock: Clock, attempts: int, *, is_once: bool = False) -> None:
        self._clock = clock
        self._left = attempts - 1
        self._is_once = is_once
        self._backoff = Backoff(FIRST_PAUSE, timedelta(seconds=LONGEST_RETRY_AFTER), factor=3.0)

    @property
    def has_more(self) -> bool:
        """Return whether there may be another attempt."""
        return self._left > 0

    async def wait_or_raise(self, error: ProblemError) -> None:
        """Return after the pause if another attempt is worthwhile; otherwise raise the error."""
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
    """Return whether the CA may answer otherwise next time: after its own errors, rate limits, rejected nonces, or a
    forgotten account."""
    is_servers = problem.status is not None and problem.status >= 500
    return is_servers or problem.kind in _PASSING or problem.kind == "rateLimited"


def seconds_of(retry_after: str | None, date: str | None = None) -> float | None:
    """Return a Retry-After header in seconds (RFC 9110 section 10.2.3). A date is compared with the response's own
    `Date`, because the CA's clock may differ from this node's; without one, the pause is 1 s."""
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
    """The part of the directory's metadata that is used: the CA's profiles, name -> description."""

    profiles: dict[str, str] = {}


class Directory(msgspec.Struct, frozen=True, rename="camel"):
    """The part of the directory (RFC 8555 section 7.1.1) that is used."""

    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str | None = None
    renewal_info: str | None = None
    meta: Meta = Meta()


def retry_after_of(response: "requests.Response") -> float | None:
    """Return the pause in seconds that the response asks for; None if it asks for none."""
    return seconds_of(response.headers.get("Retry-After"), response.headers.get("Date"))


def location_of(response: "requests.Response") -> str:
    """Return the URL of the resource that the CA created (RFC 8555 sections 7.3 and 7.4). Raises
    `AuthorityUnreachableError`."""
    location = response.headers.get("Location")
    if location is None:
        raise AuthorityUnreachableError(f"{response.url} does not speak ACME: it answered without a Location")
    return location


def read_problem(response: "requests.Response") -> Problem:
    """Return the CA's problem document, or a substitute for it."""
    try:
        problem = decode(response.content, Problem)
    except msgspec.MsgspecError:
        problem = Problem(detail=f"HTTP {response.status_code} without a problem document")
    return msgspec.structs.replace(problem, status=response.status_code)


def read_order(response: "requests.Response", url: str = "") -> Order:
    """Return the order (RFC 8555 section 7.1.3), with the information in the headers."""
    return msgspec.structs.replace(
        decode(response.content, Order),
        url=url or location_of(response),
        retry_after=retry_after_of(response),
    )


def read_authorization(response: "requests.Response", url: str) -> Authorization:
    """Return the authorization (RFC 8555 section 7.1.4), with the information in the headers."""
    return msgspec.structs.replace(
        decode(response.content, Authorization),
        url=url,
        retry_after=retry_after_of(response),
    )
