"""A message by HTTP to whoever tells a person: signed if there is a secret, readable by ntfy. One rule for what the
receiver's answer means: taken over, worth another try, or never."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from email.header import Header
from email.utils import parsedate_to_datetime

import aiohttp

from certagent.system.pinned_http import failure_words

SECONDS = 10.0
_FINAL = frozenset({400, 413, 422})
"""What says that the message itself is refused. Everything else may be a receiver that is being set up anew."""
_LONGEST_RETRY_AFTER = 300.0
"""A page must not be late because the receiver was cautious."""


class TransientFailure(Exception):
    """Not delivered; it may work later. `retry_after`: in so many seconds, as the receiver asked for."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class PermanentFailure(Exception):
    """Not delivered, and the same again would not be either."""


async def post(session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]) -> None:
    """2xx is taken over; what refuses the message itself raises `PermanentFailure`, all else `TransientFailure`."""
    try:
        async with session.post(
            url, data=body, headers=headers, timeout=aiohttp.ClientTimeout(total=SECONDS), allow_redirects=False
        ) as response:
            status, retry_after = response.status, _pause_of(response.headers)
    except aiohttp.InvalidURL as error:
        raise PermanentFailure(f"not a usable URL: {error}") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise TransientFailure(failure_words(error)) from error
    if status in _FINAL:
        raise PermanentFailure(f"HTTP {status}")
    if status >= 300:
        raise TransientFailure(f"HTTP {status}", retry_after)


def _pause_of(headers: Mapping[str, str]) -> float:
    """Retry-After in seconds, bounded (RFC 9110 section 10.2.3). A date counts from the answer's own, if it has one."""
    retry_after = headers.get("Retry-After", "").strip()
    if retry_after.isdecimal():
        return min(float(retry_after), _LONGEST_RETRY_AFTER)
    until = _date_of(retry_after)
    if until is None:
        return 0.0
    since = _date_of(headers.get("Date", "")) or datetime.now(UTC)
    return min(max((until - since).total_seconds(), 0.0), _LONGEST_RETRY_AFTER)


def _date_of(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def plain_text(title: str, priority: int, tags: tuple[str, ...]) -> dict[str, str]:
    """The headers of a message in plain text, as ntfy reads them (https://docs.ntfy.sh/publish/)."""
    return {
        "Content-Type": "text/plain; charset=utf-8",
        "Title": as_header(title),
        "Priority": str(priority),
        "Tags": as_header(",".join(tags)),
    }


def signature(secret: bytes | None, sent_at: datetime, body: bytes) -> dict[str, str]:
    """The headers that prove who sent it, and when; none without a secret."""
    if secret is None:
        return {}
    stamp = str(int(sent_at.timestamp()))
    return {"X-Certagent-Timestamp": stamp, "X-Certagent-Signature": sign(secret, stamp, body)}


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """`sha256=` and the HMAC of timestamp, dot and body: what was not sent by us, or again much later, shows."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def as_header(text: str) -> str:
    """One line of ASCII; anything else as RFC 2047 encoded words, which ntfy decodes."""
    line = " ".join(text.split())
    return line if line.isascii() and line.isprintable() else Header(line, "utf-8").encode(linesep="")
