"""Alertmanager, API v2: an incident is an alert with labels; it is told again as long as the incident stands.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml: alerts are replaced by their labels, and one
whose `endsAt` has passed is resolved. Alertmanager keeps none over its own restart.
"""

from collections.abc import Sequence
from datetime import timedelta

import aiohttp
import msgspec

from certagent.collector.formatting import place_of
from certagent.collector.notifiers.alert_text import Message
from certagent.config import ChannelSection
from certagent.domain.incidents import IncidentState
from certagent.system.webhook import post

JSON = {"Content-Type": "application/json"}

STANDS_FOR = timedelta(minutes=30)
"""Without another word from us an alert ends then: the collector is long dead, and the heartbeat has said so."""


class Alertmanager:
    """Implements `Deliverer` and `AlertReminder`. When an incident's labels change, the alert with the
    old ones is ended.
    """

    def __init__(self, section: ChannelSection, session: aiohttp.ClientSession) -> None:
        self._url = alerts_url(section.url)
        self._headers = JSON | section.headers
        self._session = session
        self._told: dict[str, dict[str, object]] = {}

    async def deliver(self, message: Message) -> None:
        """See `Deliverer`."""
        await self._tell([message])

    async def keep_up(self, messages: Sequence[Message]) -> None:
        """See `AlertReminder`."""
        standing = {message.incident.id for message in messages}
        self._told = {identity: alert for identity, alert in self._told.items() if identity in standing}
        if messages:
            await self._tell(messages)

    async def _tell(self, messages: Sequence[Message]) -> None:
        alerts = {message.incident.id: alert_of(message) for message in messages}
        ended = [
            self._told[identity] | {"endsAt": messages[0].sent_at}
            for identity, alert in alerts.items()
            if identity in self._told and self._told[identity]["labels"] != alert["labels"]
        ]
        await post(self._session, self._url, msgspec.json.encode([*ended, *alerts.values()]), self._headers)
        self._told |= alerts


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
    ends_at = incident.resolved_at if incident.state is IncidentState.RESOLVED else message.sent_at + STANDS_FOR
    return {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {"summary": place_of(incident), "description": message.body, "fix": incident.fix or ""},
        "startsAt": incident.opened_at,
        "endsAt": ends_at or message.sent_at,
        "generatorURL": message.click,
    }
