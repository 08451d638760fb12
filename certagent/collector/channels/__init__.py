"""Ways to a person, one small module each. `KINDS` is the table: a new kind is one file and one line."""

from collections.abc import Callable

import aiohttp

from certagent.collector.channels import alertmanager, notify, webhook
from certagent.collector.channels.message import Deliverer, Keeper, Message
from certagent.config import ChannelSection

__all__ = ["KINDS", "Deliverer", "Keeper", "Message"]

KINDS: dict[str, Callable[[ChannelSection, aiohttp.ClientSession], Deliverer]] = {
    "webhook": webhook.Webhook,
    "alertmanager": alertmanager.Alertmanager,
    "apprise": notify.AppriseChannel,
}
