"""Incidents in words: the messages that channels deliver, and the times and places that the page shows likewise.

Wording only; sends nothing.
"""

from datetime import datetime, timedelta

import msgspec

from certagent.collector.records import Delivery, MessageSum
from certagent.domain.catalogue import explain_command, meaning_of
from certagent.domain.catalogue.templates import name_words, path_words, without_links
from certagent.domain.diagnosis.written_lines import PROVISIONING
from certagent.domain.findings import Culprit, TargetState
from certagent.domain.incidents import Incident, SourceLine, TransitionKind
from certagent.domain.rehearsals import describe_owner
from certagent.domain.resolution.file_formats import parse_address

_MOST_VICTIMS = 12
_MOST_LINES = 8
_LONGEST_LINE = 200  # characters of a file's line
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
    """`lxc103:/etc/hosts:7`, or as much of it as is known; `line 16 of lxc103.sh in the provisioning code`."""
    return _place(incident.culprit)


def sentence_of(incident: Incident) -> str:
    """What happened, as the incident's name: `The name does not exist in DNS.`"""
    meaning = meaning_of(incident.code)
    node = f" on {incident.culprit.node}" if meaning == incident.code and incident.culprit.node else ""
    return f"{meaning[0].upper()}{meaning[1:]}{node}."


def _place(culprit: Culprit) -> str:
    if culprit.node == PROVISIONING and culprit.file is not None:
        return f"line {culprit.line} of {name_words(culprit.file)} in the provisioning code"
    parts = [culprit.node or "unknown node", *([path_words(culprit.file)] if culprit.file else [])]
    return ":".join([*parts, *([str(culprit.line)] if culprit.file and culprit.line is not None else [])])


def line_words(text: str | None) -> str:
    """A file's line as a message quotes it: bounded, printable, and no link."""
    shown = without_links((text or "")[:_LONGEST_LINE])
    return "".join(character if character.isprintable() else " " for character in shown)


def compose_message(incident: Incident, kind: TransitionKind, url: str, now: datetime, delivery: str = "") -> Message:
    """The message about that transition; `url` is the collector's own."""
    resolved = kind is TransitionKind.RESOLVED
    return Message(
        title=_title(incident, kind, now),
        body=_bounded(_resolved_body(incident) if resolved else _open_body(incident, now)),
        priority=_priority(incident, resolved, now),
        tags=("white_check_mark" if resolved else "rotating_light", incident.code),
        click=f"{url.rstrip('/')}/incidents/{incident.id}",
        incident=incident,
        delivery=delivery,
        sent_at=now,
    )


def compose_sum(delivery: Delivery, total: MessageSum, url: str, now: datetime) -> Message:
    """The message that says how many more incidents of one node there are."""
    worst = [f"- {place_of(incident)}: {incident.code}" for incident in total.worst]
    more = total.opened - len(worst)
    named = ["", "The worst of them:", *worst, *([f"- and {more} more"] if more > 0 else [])] if worst else []
    lines = [
        f"Too many messages about {total.node} to send them one by one; this message covers the rest.",
        f"Open: {total.opened}. Resolved: {total.resolved}.",
        *named,
        "",
        "The page lists all of them; certagent explain CODE says what a code means.",
    ]
    count = total.opened + total.resolved
    is_over = not total.opened
    return Message(
        title=f"{count} further incident{'s' * (count != 1)} of {total.node}" + " resolved" * is_over,
        body=_bounded("\n".join(lines)),
        priority=max((_priority(incident, False, now) for incident in total.worst), default=3),
        tags=("white_check_mark" if is_over else "rotating_light", "sum"),
        click=f"{url.rstrip('/')}/incidents",
        incident=delivery.incident if is_over or not total.worst else total.worst[0],
        delivery=str(delivery.number),
        sent_at=now,
    )


def _title(incident: Incident, kind: TransitionKind, now: datetime) -> str:
    """Which certificates, where, and what dies when."""
    if kind is TransitionKind.RESOLVED:
        return f"Resolved: {_subject(incident) or place_of(incident)}"
    prefix = {TransitionKind.REMINDED: "Still: ", TransitionKind.REOPENED: "Again: "}.get(kind, "")
    subject = _subject(incident)
    if subject is not None and incident.target is not None:
        said = [meaning_of(incident.code), *_state_words(incident.target, now)]
        return f"{prefix}{subject}: {'; '.join(said)}"
    certificates = _certificates_of(incident)
    if incident.culprit.node == PROVISIONING:
        return f"{prefix}{_source_title(incident)}"
    if not certificates:
        return f"{prefix}{place_of(incident)}: {meaning_of(incident.code).partition(';')[0]}"
    (node, name), *others = certificates
    first = f"{name_words(name)} on {node} {remaining(certificates[node, name], now)}"
    more = f", and {len(others)} more" if others else ""
    risk = f"puts {len(certificates)} certificate{'s' if others else ''} at risk"
    address = incident.culprit.address if incident.culprit.file is None else None
    where = f"{place_of(incident)} ({name_words(address)})" if address is not None else place_of(incident)
    return f"{prefix}{where} {risk}: {first}{more}"


def _source_title(incident: Incident) -> str:
    """`The next run of lxc103.sh (line 16) makes the CA look for a.example.org at 10.0.0.153`: what it does to whom."""
    culprit = incident.culprit
    if incident.code == "source.line_returns":
        return f"Line {culprit.line} of {name_words(culprit.file or '')} in the provisioning code brings the fault back"
    address, *names = (culprit.text or "").partition("#")[0].split() or [""]
    code = f"The next run of {name_words(culprit.file or '')} (line {culprit.line})"
    first = name_words(names[0]) if names else "a name of the fleet"
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    place = name_words(address) if parse_address(address) is not None else "another address"
    if incident.code == "source.hosts_pinned.authority":
        return f"{code} makes the CA look for {first}{more} at {place}: no certificate is issued or renewed"
    return f"{code} sends clients of {first}{more} to {place}"


def _certificates_of(incident: Incident) -> dict[tuple[str, str], datetime | None]:
    """Node and name -> when it ends; the one that dies first on top."""
    found: dict[tuple[str, str], datetime | None] = {}
    for victim in incident.victims:
        found.setdefault((victim.node, victim.certificate), victim.expires_at)
    return found


def _subject(incident: Incident) -> str | None:
    """`certificate shop on lxc101`, `12 certificates on lxc101`; None where it is about no target."""
    target = incident.target
    if target is None:
        return None
    count = len({victim.certificate for victim in incident.victims})
    what = f"certificate {name_words(target.certificate)}" if count < 2 else f"{count} certificates"
    return f"{what} on {incident.culprit.node or 'unknown node'}"


def _state_words(target: TargetState, now: datetime) -> list[str]:
    """What is served now and until when, and when the deployment is tried again."""
    ends = f"{target.served_until:%Y-%m-%d %H:%M} UTC" if target.served_until is not None else None
    served = [f"the served certificate expires {ends}"] if ends is not None else []
    if target.is_served is False:
        served = [f"served at some addresses, until {ends}" if ends is not None else "nothing is served"]
    if target.served_until is not None and target.served_until <= now:
        served = [f"the served certificate expired {ends}"]
    again = [f"next attempt by {target.retry_at:%H:%M:%S} UTC"] if target.retry_at is not None else []
    return [*served, *again]


def _open_body(incident: Incident, now: datetime) -> str:
    culprit, lines = incident.culprit, [incident.explanation, "", f"Culprit: {place_of(incident)}"]
    if incident.suspected is not None:
        suspected = _place(incident.suspected)
        lines = [incident.explanation, "", f"Fails on: {place_of(incident)}", f"Suspected: {suspected}"]
    lines += [
        f"    {line.line}: {line_words(line.text)}" if line.line is not None else f"    {line_words(line.text)}"
        for line in incident.lines
    ]
    if culprit.address is not None:
        owner = incident.owners.get(culprit.address)
        lines.append(f"Address: {culprit.address}" + (f" ({describe_owner(owner)})" if owner else ""))
    lines += [f"Fix: {incident.fix}"] if incident.fix else []
    lines.append(_code_words(incident.code))
    lines += [source_words(line) for line in incident.written_by]
    lines += _preceding_change(incident)
    if incident.victims:
        lines += ["", "Cannot be renewed:" if incident.target is None else "Concerned:"]
        lines += [
            f"- {victim.identifier} on {victim.node} (certificate {victim.certificate}): "
            f"{remaining(victim.expires_at, now)}"
            for victim in incident.victims[:_MOST_VICTIMS]
        ]
        more = len(incident.victims) - _MOST_VICTIMS
        lines += [f"- and {more} more"] if more > 0 else []
    return "\n".join(lines)


def source_words(line: SourceLine) -> str:
    """`Written by scripts/lxc103.sh:14 (commit 3f2a91c0b7d4, 2026-11-24): the line will come back.`"""
    place = f"{name_words(line.file)}:{line.line}"
    return f"Written by {place} (commit {line.commit[:12]}, {line.committed_at:%Y-%m-%d}): the line will come back."


def _preceding_change(incident: Incident) -> list[str]:
    """What changed on the culprit's node before, unless that is only the line that is named already."""
    change = incident.change
    if change is None or (not change.removed and {line.text for line in incident.lines} >= set(change.added)):
        return []
    shown = [
        *(f"    - {line_words(line)}" for line in change.removed),
        *(f"    + {line_words(line)}" for line in change.added),
    ]
    where = f"{change.node}:{path_words(change.file)}"
    return [f"Before: {where} changed at {change.at:%Y-%m-%d %H:%M:%S} UTC", *shown[:_MOST_LINES]]


def _resolved_body(incident: Incident) -> str:
    opened, resolved = incident.opened_at, incident.resolved_at
    lasted = f" It lasted {span(resolved - opened)}." if resolved is not None else ""
    names = ", ".join(dict.fromkeys(victim.identifier for victim in incident.victims[:_MOST_VICTIMS]))
    freed = f"\nCan be renewed again: {names}" if names and incident.target is None else ""
    fixed = f"{place_of(incident)} is fixed: no findings remain."
    return f"{fixed}{lasted}{freed}\nIt was: {incident.explanation}\n{_code_words(incident.code)}"


def _code_words(code: str) -> str:
    """`Code: dns.nxdomain (certagent explain dns.nxdomain)`."""
    command = explain_command(code)
    return f"Code: {name_words(code)}" + (f" ({command})" if command else "")


def _priority(incident: Incident, resolved: bool, now: datetime) -> int:
    if resolved:
        return 3
    ends = [victim.expires_at for victim in incident.victims if victim.expires_at is not None]
    return 5 if ends and min(ends) - now < _URGENT_BELOW else 4


def _bounded(text: str) -> str:
    raw = text.encode()
    return text if len(raw) <= _LONGEST_BODY else raw[:_LONGEST_BODY].decode(errors="ignore") + " ..."
