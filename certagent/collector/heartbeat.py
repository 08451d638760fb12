"""The dead man's signal: sent as long as the collector does its work. Who misses it raises the alarm, not we."""

import logging
from datetime import datetime, timedelta

import aiohttp
import msgspec

from certagent.collector.notifiers.alertmanager import JSON, alerts_url
from certagent.config import HeartbeatSection
from certagent.system.webhook import PermanentFailure, TransientFailure, post

log = logging.getLogger(__name__)


class Heartbeat:
    """Beats no more often than `every`, and only when asked to: whoever asks has just seen that all is well."""

    def __init__(self, section: HeartbeatSection, session: aiohttp.ClientSession, every: timedelta) -> None:
        self._section = section
        self._session = session
        self._every = every
        self._next: datetime | None = None

    async def beat(self, now: datetime) -> None:
        """Send it if it is time. A failure is logged: the receiver notices by itself."""
        if self._next is not None and now < self._next:
            return
        self._next = now + self._every
        try:
            await self._send(now)
        except (PermanentFailure, TransientFailure) as failure:
            log.warning("heartbeat: %s", failure)

    async def _send(self, now: datetime) -> None:
        section = self._section
        if section.kind == "ping":
            await post(self._session, section.url, b"", section.headers)
            return
        alert = {
            "labels": {"alertname": "CertagentAlive", "severity": "none", "source": "certagent"},
            "annotations": {"summary": "The collector works. When this alert ends, it does not."},
            "endsAt": now + 3 * self._every,
        }
        await post(self._session, alerts_url(section.url), msgspec.json.encode([alert]), JSON | section.headers)
