"""A message by HTTP to whoever tells a person: signed if there is a secret, readable by ntfy. One rule for what the
receiver's answer means: taken over, worth another try, or never."""

import hashlib
import hmac
from datetime import datetime
from email.header import Header

import aiohttp

SECONDS = 10.0
_WORTH_RETRYING = frozenset({408, 425, 429})


class TransientFailure(Exception):
    """Not delivered; it may work later."""


class PermanentFailure(Exception):
    """Not delivered, and the same again would not be either."""


async def post(session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]) -> None:
    """2xx is taken over; other 4xx and redirects raise `PermanentFailure`, all else `TransientFailure`."""
    try:
        async with session.post(
            url, data=body, headers=headers, timeout=aiohttp.ClientTimeout(total=SECONDS), allow_redirects=False
        ) as response:
            status = response.status
    except aiohttp.InvalidURL as error:
        raise PermanentFailure(f"no usable URL: {error}") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise TransientFailure(str(error) or type(error).__name__) from error
    if 300 <= status < 500 and status not in _WORTH_RETRYING:
        raise PermanentFailure(f"HTTP {status}")
    if status >= 300:
        raise TransientFailure(f"HTTP {status}")


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
