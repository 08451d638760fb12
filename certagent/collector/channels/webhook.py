"""Webhook: a POST with plain text and the headers that ntfy reads (https://docs.ntfy.sh/publish/)."""

from email.header import Header

import aiohttp

from certagent.collector.channels.message import Message, PermanentFailure, TransientFailure
from certagent.config import ChannelSection

_SECONDS = 10.0
_WORTH_RETRYING = frozenset({408, 425, 429})


class Webhook:
    """Implements `Deliverer`. The configured headers (an access token, for one) are sent with each message."""

    def __init__(self, section: ChannelSection, session: aiohttp.ClientSession) -> None:
        self._section = section
        self._session = session

    async def deliver(self, message: Message) -> None:
        """See `Deliverer`: 2xx is taken over; other 4xx and redirects are permanent, all else is transient."""
        try:
            async with self._session.post(
                self._section.url,
                data=message.body.encode(),
                headers=_headers(message) | self._section.headers,
                timeout=aiohttp.ClientTimeout(total=_SECONDS),
                allow_redirects=False,
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


def _headers(message: Message) -> dict[str, str]:
    return {
        "Content-Type": "text/plain; charset=utf-8",
        "Title": _ascii(message.title),
        "Priority": str(message.priority),
        "Tags": _ascii(",".join(message.tags)),
        "Click": _ascii(message.click),
        "X-Certagent-Incident": message.incident,
        "X-Certagent-State": message.state,
    }


def _ascii(text: str) -> str:
    """One line of ASCII; anything else as RFC 2047 encoded words, which ntfy decodes."""
    line = " ".join(text.split())
    return line if line.isascii() and line.isprintable() else Header(line, "utf-8").encode(linesep="")
