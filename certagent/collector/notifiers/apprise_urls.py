"""Apprise (https://appriseit.com): its URLs lead to most services that notify people. Needs `certagent[notify]`."""

import asyncio
import logging

import aiohttp

from certagent.collector.incident_text import Message
from certagent.config import ChannelSection
from certagent.domain.incidents import IncidentState
from certagent.system.webhook import PermanentFailure, TransientFailure

log = logging.getLogger(__name__)


class AppriseNotifier:
    """Implements `Notifier`. Apprise says only whether it worked, so any failure but an unknown URL is transient."""

    def __init__(self, section: ChannelSection, _: aiohttp.ClientSession) -> None:
        import apprise  # an extra, and slow to import

        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it would log parts of URLs, which hold passwords
        self._kinds = {True: apprise.NotifyType.SUCCESS, False: apprise.NotifyType.FAILURE}
        self._apprise = apprise.Apprise()
        self._is_known = bool(self._apprise.add(section.url))

    async def deliver(self, message: Message) -> None:
        """See `Notifier`."""
        if not self._is_known:
            raise PermanentFailure("Apprise does not know this kind of URL")
        kind = self._kinds[message.incident.state is IncidentState.RESOLVED]
        text = f"{message.body}\n\n{message.click}"
        if not await asyncio.to_thread(self._apprise.notify, body=text, title=message.title, notify_type=kind):
            raise TransientFailure("Apprise could not deliver it")
