"""Webhook: a POST with plain text and the headers that ntfy reads (https://docs.ntfy.sh/publish/)."""

import hashlib
import hmac
from email.header import Header
from pathlib import Path

import aiohttp

from certagent.collector.channels.message import Message
from certagent.collector.channels.outcome import post
from certagent.config import ChannelSection, read_private


class Webhook:
    """Implements `Deliverer`. The configured headers (an access token, for one) are sent with each message."""

    def __init__(self, section: ChannelSection, session: aiohttp.ClientSession) -> None:
        self._section = section
        self._session = session
        file = section.secret_file
        self._secret = read_private(file, Path("collector.toml"), "secret_file").encode() if file else None

    async def deliver(self, message: Message) -> None:
        """See `Deliverer`."""
        body = message.body.encode()
        headers = _headers(message)
        if self._secret is not None:
            stamp = str(int(message.sent_at.timestamp()))
            headers |= {"X-Certagent-Timestamp": stamp, "X-Certagent-Signature": sign(self._secret, stamp, body)}
        await post(self._session, self._section.url, body, headers | self._section.headers)


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """`sha256=` and the HMAC of timestamp, dot and body: what was not sent by us, or again much later, shows."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _headers(message: Message) -> dict[str, str]:
    return {
        "Content-Type": "text/plain; charset=utf-8",
        "Title": _ascii(message.title),
        "Priority": str(message.priority),
        "Tags": _ascii(",".join(message.tags)),
        "Click": _ascii(message.click),
        "X-Certagent-Incident": message.incident.id,
        "X-Certagent-State": message.incident.state,
        "X-Certagent-Delivery": message.delivery,
    }


def _ascii(text: str) -> str:
    """One line of ASCII; anything else as RFC 2047 encoded words, which ntfy decodes."""
    line = " ".join(text.split())
    return line if line.isascii() and line.isprintable() else Header(line, "utf-8").encode(linesep="")
