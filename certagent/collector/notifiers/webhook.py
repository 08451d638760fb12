"""Webhook: a POST with plain text, and which incident it is about in the headers."""

from pathlib import Path

import aiohttp

from certagent.collector.incident_text import Message
from certagent.config import ChannelSection, read_private
from certagent.system.webhook import as_header, plain_text, post, signature


class WebhookNotifier:
    """Implements `Notifier`. The configured headers (an access token, for one) are sent with each message."""

    def __init__(self, section: ChannelSection, session: aiohttp.ClientSession) -> None:
        self._section = section
        self._session = session
        file = section.secret_file
        self._secret = read_private(file, Path("collector.toml"), "secret_file").encode() if file else None

    async def deliver(self, message: Message) -> None:
        """See `Notifier`."""
        body = message.body.encode()
        headers = _headers(message) | signature(self._secret, message.sent_at, body)
        await post(self._session, self._section.url, body, headers | self._section.headers)


def _headers(message: Message) -> dict[str, str]:
    return plain_text(message.title, message.priority, message.tags) | {
        "Click": as_header(message.click),
        "X-Certagent-Incident": message.incident.id,
        "X-Certagent-State": message.incident.state,
        "X-Certagent-Delivery": message.delivery,
    }
