"""Times and places in words, the same in messages and on the page."""

from datetime import datetime, timedelta

from certagent.domain.incidents import Incident


def remaining(expires_at: datetime | None, now: datetime) -> str:
    """`expires in 3 h 40 min`, `expired 5 min ago`, or that there is none."""
    if expires_at is None:
        return "no certificate on disk"
    left = expires_at - now
    return f"expires in {span(left)}" if left > timedelta(0) else f"expired {span(-left)} ago"


def span(length: timedelta) -> str:
    """`12 d 3 h`, `3 h 40 min`, `5 min`, `20 s`."""
    seconds = int(length.total_seconds())
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def place_of(incident: Incident) -> str:
    """`lxc103:/etc/hosts:7`, or as much of it as is known."""
    culprit = incident.culprit
    parts = [culprit.node or "unknown node", *([culprit.file] if culprit.file else [])]
    return ":".join([*parts, *([str(culprit.line)] if culprit.file and culprit.line is not None else [])])
