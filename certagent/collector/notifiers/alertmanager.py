"""Alertmanager, API v2: an incident is an alert with labels; it is sent again until the incident is resolved.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml: alerts are replaced by their labels, and one
whose `endsAt` has passed is resolved. Alertmanager keeps none over its own restart.
"""

from collections.abc import Sequence
from datetime import timedelta

import aiohttp
import msgspec

from certagent.collector.incident_text import Message, place_of
from certagent.config import ChannelSection
from certagent.domain.incidents import IncidentState
from certagent.system.webhook import post

JSON = {"Content-Type": "application/json"}

_VALID_FOR = timedelta(minutes=30)  # without a repetition; by then the collector is long dead, and its heartbeat missed


class AlertmanagerNotifier:
    """Implements `Notifier` and `AlertRepeater`. When an incident's labels change, the alert with the old ones ends."""

    def __init__(self, section: ChannelSection, session: aiohttp.ClientSession) -> None:
        self._url = alerts_url(section.url)
        self._headers = JSON | section.headers
        self._session = session
        self._sent: dict[str, dict[str, object]] = {}

    async def deliver(self, message: Message) -> None:
        """See `Notifier`."""
        await self._send([message])

    async def repeat(self, messages: Sequence[Message]) -> None:
        """See `AlertRepeater`."""
        unresolved = {message.incident.id for message in messages}
        self._sent = {identity: alert for identity, alert in self._sent.items() if identity in unresolved}
        if messages:
            await self._send(messages)

    async def _send(self, messages: Sequence[Message]) -> None:
        alerts = {message.incident.id: alert_of(message) for message in messages}
        ended = [
            self._sent[identity] | {"endsAt": messages[0].sent_at}
            for identity, alert in alerts.items()
            if identity in self._sent and self._sent[identity]["labels"] != alert["labels"]
        ]
        await post(self._session, self._url, msgspec.json.encode([*ended, *alerts.values()]), self._headers)
        self._sent |= alerts


def alerts_url(url: str) -> str:
    """Where an Alertmanager at `url` takes alerts."""
    return f"{url.rstrip('/')}/api/v2/alerts"


def alert_of(message: Message) -> dict[str, object]:
    """The incident as an alert."""
    incident = message.incident
    labels = {
        "alertname": incident.code,
        "severity": str(incident.severity),
        "incident": incident.id,
        "node": incident.culprit.node or "",
        "file": incident.culprit.file or "",
        "source": "certagent",
    }
    ends_at = incident.resolved_at if incident.state is IncidentState.RESOLVED else message.sent_at + _VALID_FOR
    return {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {"summary": place_of(incident), "description": message.body, "fix": incident.fix or ""},
        "startsAt": incident.opened_at,
        "endsAt": ends_at or message.sent_at,
        "generatorURL": message.click,
    }
