"""`certagent channel test NAME`: one message to one channel, sent from the collector's node; the audit has it."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import aiohttp

from certagent.collector.incident_text import Message
from certagent.collector.notifiers import NOTIFIERS
from certagent.collector.records import AuditAction, StoreFailed
from certagent.collector.sql.audit_queries import append_entry, local_author
from certagent.collector.sql.database import writing
from certagent.config import ChannelSection, CollectorSettings
from certagent.domain.findings import Culprit, Severity
from certagent.domain.incidents import Incident, IncidentState
from certagent.system.webhook import PermanentFailure, TransientFailure


def test(settings: CollectorSettings, name: str) -> dict[str, Any]:
    """`{"channel", "kind", "delivered", "failure", "permanent", "recorded"}`; `recorded`: in the collector's audit.

    Raises ValueError: there is no such channel."""
    section = next((channel for channel in settings.channel if channel.name == name), None)
    if section is None:
        known = ", ".join(channel.name for channel in settings.channel) or "none"
        raise ValueError(f"there is no channel {name!r} in the configuration; there is: {known}")
    failure, permanent = asyncio.run(_deliver(section, settings.url or ""))
    return {
        "channel": name,
        "kind": section.kind,
        "delivered": failure is None,
        "failure": failure,
        "permanent": permanent,
        "recorded": _record(settings.store.url, name, failure),
    }


def exit_status(document: dict[str, Any]) -> int:
    """1 when it did not get through."""
    return 0 if document["delivered"] else 1


def render(document: dict[str, Any]) -> str:
    """For a person."""
    where = f"{document['channel']} ({document['kind']})"
    if document["delivered"]:
        return f"{where}: delivered; check that it arrived"
    advice = "a retry would fail, too" if document["permanent"] else "a retry may succeed"
    return f"{where}: not delivered: {document['failure']}; {advice}"


def _record(url: str, channel: str, failure: str | None) -> bool:
    try:
        with writing(url) as connection:
            action, now = AuditAction.CHANNEL_TESTED, datetime.now(UTC)
            append_entry(connection, now, local_author(), action, channel, failure=failure)
    except StoreFailed:
        return False
    return True


async def _deliver(section: ChannelSection, url: str) -> tuple[str | None, bool]:
    async with aiohttp.ClientSession() as session:
        try:
            await NOTIFIERS[section.kind](section, session).deliver(_message(url, datetime.now(UTC)))
        except PermanentFailure as failure:
            return str(failure), True
        except TransientFailure as failure:
            return str(failure), False
    return None, False


def _message(url: str, now: datetime) -> Message:
    said = "This is a test of certagent's collector. Nothing is wrong."
    incident = Incident(
        id="test",
        state=IncidentState.OPEN,
        code="certagent.test",
        severity=Severity.INFO,
        culprit=Culprit(),
        lines=(),
        victims=(),
        explanation=said,
        fix=None,
        confirmed=True,
        reporters=(),
        opened_at=now,
    )
    return Message(
        title="certagent: a test",
        body=said,
        priority=2,
        tags=("test_tube",),
        click=url,
        incident=incident,
        delivery="test",
        sent_at=now,
    )
