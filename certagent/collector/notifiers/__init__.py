"""Notifiers: what delivers alerts to a channel, one small module each kind. A new kind is one file and one line."""

from collections.abc import Callable

import aiohttp

from certagent.collector.incident_text import Message
from certagent.collector.notifiers import alertmanager, apprise_urls, webhook
from certagent.collector.notifiers.notifier import AlertRepeater, Notifier
from certagent.config import ChannelSection

__all__ = ["NOTIFIERS", "Notifier", "AlertRepeater", "Message"]

NOTIFIERS: dict[str, Callable[[ChannelSection, aiohttp.ClientSession], Notifier]] = {
    "webhook": webhook.WebhookNotifier,
    "alertmanager": alertmanager.AlertmanagerNotifier,
    "apprise": apprise_urls.AppriseNotifier,
}
