"""Conclusions of an agent about its own connection to the collector, reported on the node itself, because no other
node may know. Pure."""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from certagent.domain import catalogue
from certagent.domain.catalogue import Fact
from certagent.domain.findings import Culprit, Finding, Vantage

_MOST_SKEW_SECONDS = 60.0  # the same as for the CA


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """The collector accepts nothing: since when, and the result of the last attempt."""

    since: datetime
    reason: str


class CollectorContact(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the connection to the collector at `url`. `silence` is null while it answers; `dead`: how
    many reports were given up and are in the folder `dead_folder`; `ahead_seconds`: how far its clock is ahead."""

    url: str
    silence: Silence | None
    waiting: int
    dead: int
    dead_folder: str
    ahead_seconds: float | None = None


def conclude_contact(node: str, contact: CollectorContact) -> Iterator[Finding]:
    """Return agent.collector_gone, agent.spool_backlog, agent.reports_refused and agent.clock, as far as they apply."""
    if contact.silence is not None:
        yield _gone(node, contact.url, contact.silence)
        if contact.waiting:
            yield _backlog(node, contact.waiting, contact.silence)
    if contact.dead:
        yield _refused(node, contact)
    if contact.ahead_seconds is not None and abs(contact.ahead_seconds) > _MOST_SKEW_SECONDS:
        yield _clocks_differ(node, contact.url, contact.ahead_seconds)


def works_alone(node: str, *, is_beside_ca: bool) -> Finding:
    """agent.alone: there is no collector; what this agent sees, and what it does not see."""
    return catalogue.finding(
        "agent.alone",
        vantage=Vantage.CLIENT,
        reporter=node,
        culprit=None,
        variant="beside_ca" if is_beside_ca else "",
    )


def _gone(node: str, url: str, silence: Silence) -> Finding:
    return _finding(
        "agent.collector_gone",
        node,
        Culprit(role="collector"),
        {"since": silence.since.isoformat(), "reason": silence.reason},
        url=url,
        since=_clock(silence),
        said=silence.reason,
    )


def _backlog(node: str, waiting: int, silence: Silence) -> Finding:
    detail = {"waiting": waiting, "since": silence.since.isoformat()}
    return _finding("agent.spool_backlog", node, Culprit(role="collector"), detail, count=waiting)


def _refused(node: str, contact: CollectorContact) -> Finding:
    return _finding(
        "agent.reports_refused",
        node,
        Culprit(node=node, file=contact.dead_folder),
        {"dead": contact.dead, "folder": contact.dead_folder},
        count=contact.dead,
        folder=contact.dead_folder,
    )


def _clocks_differ(node: str, url: str, ahead: float) -> Finding:
    return _finding(
        "agent.clock",
        node,
        Culprit(node=node),
        {"ahead_seconds": round(ahead)},
        url=url,
        seconds=round(abs(ahead)),
        is_ahead=ahead > 0,
    )


def _finding(code: str, node: str, culprit: Culprit, detail: dict[str, object], **facts: Fact) -> Finding:
    return catalogue.finding(code, vantage=Vantage.CLIENT, reporter=node, culprit=culprit, detail=detail, **facts)


def _clock(silence: Silence) -> str:
    return silence.since.strftime("%Y-%m-%d %H:%M:%S UTC")
