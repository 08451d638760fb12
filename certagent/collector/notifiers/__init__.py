"""Ways to a person, one small module each. `KINDS` is the table: a new kind is one file and one line."""

from collections.abc import Callable

import aiohttp

from certagent.collector.notifiers import alertmanager, apprise_urls, webhook
from certagent.collector.notifiers.alert_text import AlertReminder, Deliverer, Message
from certagent.config import ChannelSection

__all__ = ["KINDS", "Deliverer", "AlertReminder", "Message"]

KINDS: dict[str, Callable[[ChannelSection, aiohttp.ClientSession], Deliverer]] = {
    "webhook": webhook.Webhook,
    "alertmanager": alertmanager.Alertmanager,
    "apprise": apprise_urls.AppriseChannel,
}
