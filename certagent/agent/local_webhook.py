"""This node's own webhook: what it has to say when there is no collector to say it."""

from datetime import datetime

import aiohttp

from certagent.config import WebhookSection, read_private
from certagent.system.webhook import plain_text, post, signature

_URGENT, _USUAL = 4, 3


class LocalWebhook:
    """Implements `Telling`. Plain text that ntfy shows; signed, if there is a secret, as the collector's are."""

    def __init__(self, section: WebhookSection, session: aiohttp.ClientSession) -> None:
        self._section = section
        self._session = session
        file = section.secret_file
        self._secret = read_private(file, file, "collector.webhook.secret_file").encode() if file else None

    async def tell(self, title: str, body: str, *, is_over: bool, now: datetime) -> None:
        """See `Telling`."""
        content = body.encode()
        tag = "white_check_mark" if is_over else "rotating_light"
        headers = plain_text(title, _USUAL if is_over else _URGENT, (tag, "agent.collector_gone"))
        headers |= {"X-Certagent-State": "resolved" if is_over else "open"} | signature(self._secret, now, content)
        await post(self._session, self._section.url, content, headers | self._section.headers)
