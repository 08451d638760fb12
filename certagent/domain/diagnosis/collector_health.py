"""Conclusions of an agent about its own way to the collector, said on the node itself: nobody else may know. Pure."""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from certagent.domain.findings import Culprit, Finding, Vantage

_MOST_SKEW_SECONDS = 60.0  # as at the CA


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """The collector takes nothing: since when, and what came of the last try."""

    since: datetime
    reason: str


class CollectorContact(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the way to the collector at `url`. `silence` is null as long as it is there; `dead`: how many
    reports were given up and lie in the folder `dead_folder`; `ahead_seconds`: by how much its clock is ahead."""

    url: str
    silence: Silence | None
    waiting: int
    dead: int
    dead_folder: str
    ahead_seconds: float | None = None


def conclude_contact(node: str, contact: CollectorContact) -> Iterator[Finding]:
    """agent.collector_gone, agent.spool_backlog, agent.reports_refused, agent.clock."""
    if contact.silence is not None:
        yield _gone(node, contact.url, contact.silence)
        if contact.waiting:
            yield _backlog(node, contact.waiting, contact.silence)
    if contact.dead:
        yield _refused(node, contact)
    if contact.ahead_seconds is not None and abs(contact.ahead_seconds) > _MOST_SKEW_SECONDS:
        yield _clocks_differ(node, contact.url, contact.ahead_seconds)


def _gone(node: str, url: str, silence: Silence) -> Finding:
    return Finding(
        code="agent.collector_gone",
        vantage=Vantage.CLIENT,
        reporter=node,
        explanation=f"The collector at {url} takes nothing from {node} since {_clock(silence)}: {silence.reason}.",
        detail={"since": silence.since.isoformat(), "reason": silence.reason},
        culprit=Culprit(role="collector"),
        fix="On the collector's node: systemctl status certagent-collector; from here: its name, its port, the token.",
    )


def _backlog(node: str, waiting: int, silence: Silence) -> Finding:
    return Finding(
        code="agent.spool_backlog",
        vantage=Vantage.CLIENT,
        reporter=node,
        explanation=f"{waiting} reports wait on {node} for the collector; they are delivered when it is back.",
        detail={"waiting": waiting, "since": silence.since.isoformat()},
        culprit=Culprit(role="collector"),
        fix="Mend the way to the collector; the reports follow by themselves.",
    )


def _refused(node: str, contact: CollectorContact) -> Finding:
    return Finding(
        code="agent.reports_refused",
        vantage=Vantage.CLIENT,
        reporter=node,
        explanation=f"{contact.dead} reports of {node} were given up: the collector refused them, or too many waited.",
        detail={"dead": contact.dead, "folder": contact.dead_folder},
        culprit=Culprit(node=node, file=contact.dead_folder),
        fix=f"The agent's journal says why; remove what lies in {contact.dead_folder} once it was read.",
    )


def _clocks_differ(node: str, url: str, ahead: float) -> Finding:
    return Finding(
        code="agent.clock",
        vantage=Vantage.CLIENT,
        reporter=node,
        explanation=f"The clocks of {node} and of the collector at {url} are {abs(ahead):.0f} s apart;"
        f" {'the collector' if ahead > 0 else node} is ahead: what is told when, and what is due when, is wrong there.",
        detail={"ahead_seconds": round(ahead)},
        culprit=Culprit(node=node),
        fix="See which of the two keeps time (timedatectl), and mend the other.",
    )


def _clock(silence: Silence) -> str:
    return silence.since.strftime("%Y-%m-%d %H:%M:%S UTC")
