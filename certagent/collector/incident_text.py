"""Incidents in words: the messages that channels deliver, and the times and places that the page shows likewise.

Wording only; sends nothing.
"""

from datetime import datetime, timedelta

import msgspec

from certagent.domain.incidents import Incident, TransitionKind
from certagent.domain.rehearsals import describe_owner

_MOST_VICTIMS = 12
_MOST_LINES = 8
_LONGEST_BODY = 3_800  # bytes; ntfy turns more than 4,096 into an attachment
_URGENT_BELOW = timedelta(hours=4)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One transition as a text. `priority` is 1 to 5, as ntfy counts.

    `delivery` is the same when it is sent again, so that a receiver can tell.
    """

    title: str
    body: str
    priority: int
    tags: tuple[str, ...]
    click: str
    incident: Incident
    delivery: str
    sent_at: datetime


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


def compose_message(incident: Incident, kind: TransitionKind, url: str, now: datetime, delivery: str = "") -> Message:
    """The message about that transition; `url` is the collector's own."""
    resolved = kind is TransitionKind.RESOLVED
    return Message(
        title=_title(incident, kind),
        body=_bounded(_resolved_body(incident) if resolved else _open_body(incident, now)),
        priority=_priority(incident, resolved, now),
        tags=("white_check_mark" if resolved else "rotating_light", incident.code),
        click=f"{url.rstrip('/')}/incidents/{incident.id}",
        incident=incident,
        delivery=delivery,
        sent_at=now,
    )


def _title(incident: Incident, kind: TransitionKind) -> str:
    if kind is TransitionKind.RESOLVED:
        return f"Resolved: {place_of(incident)}"
    count = len({(victim.node, victim.certificate) for victim in incident.victims})
    risk = f" puts {count} certificate{'s' if count > 1 else ''} at risk" if count else ""
    prefix = {TransitionKind.REMINDED: "Still: ", TransitionKind.REOPENED: "Again: "}.get(kind, "")
    return f"{prefix}{place_of(incident)}{risk or ': ' + incident.code}"


def _open_body(incident: Incident, now: datetime) -> str:
    culprit, lines = incident.culprit, [incident.explanation, "", f"Culprit: {place_of(incident)}"]
    lines += [
        f"    {line.line}: {line.text}" if line.line is not None else f"    {line.text}" for line in incident.lines
    ]
    if culprit.address is not None:
        owner = incident.owners.get(culprit.address)
        lines.append(f"Address: {culprit.address}" + (f" ({describe_owner(owner)})" if owner else ""))
    lines += [f"Fix: {incident.fix}"] if incident.fix else []
    lines += _preceding_change(incident)
    if incident.victims:
        lines += ["", "Cannot be renewed:"]
        lines += [
            f"- {victim.identifier} on {victim.node} (certificate {victim.certificate}): "
            f"{remaining(victim.expires_at, now)}"
            for victim in incident.victims[:_MOST_VICTIMS]
        ]
        more = len(incident.victims) - _MOST_VICTIMS
        lines += [f"- and {more} more"] if more > 0 else []
    return "\n".join(lines)


def _preceding_change(incident: Incident) -> list[str]:
    """What changed on the culprit's node before, unless that is only the line that is named already."""
    change = incident.change
    if change is None or (not change.removed and {line.text for line in incident.lines} >= set(change.added)):
        return []
    shown = [*(f"    - {line}" for line in change.removed), *(f"    + {line}" for line in change.added)]
    return [f"Before: {change.node}:{change.file} changed at {change.at:%Y-%m-%d %H:%M:%S} UTC", *shown[:_MOST_LINES]]


def _resolved_body(incident: Incident) -> str:
    opened, resolved = incident.opened_at, incident.resolved_at
    lasted = f" It lasted {span(resolved - opened)}." if resolved is not None else ""
    names = ", ".join(dict.fromkeys(victim.identifier for victim in incident.victims[:_MOST_VICTIMS]))
    freed = f"\nCan be renewed again: {names}" if names else ""
    fixed = f"{place_of(incident)} is fixed: no findings remain."
    return f"{fixed}{lasted}{freed}\nIt was: {incident.explanation}"


def _priority(incident: Incident, resolved: bool, now: datetime) -> int:
    if resolved:
        return 3
    ends = [victim.expires_at for victim in incident.victims if victim.expires_at is not None]
    return 5 if ends and min(ends) - now < _URGENT_BELOW else 4


def _bounded(text: str) -> str:
    raw = text.encode()
    return text if len(raw) <= _LONGEST_BODY else raw[:_LONGEST_BODY].decode(errors="ignore") + " ..."
