"""What an agent did, and what each side says of a name: in words for the pages. Wording only."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import msgspec

from certagent.domain.findings import worst_first
from certagent.domain.rehearsals import AddressOwner, Rehearsal, ResolvedAddress, addresses_in_dns, describe_owner
from certagent.domain.reports import Outcome, Report, RunKind, Trigger
from certagent.domain.resolver_agreement import verdicts

_DEEDS = {
    (RunKind.RENEWAL, Outcome.DONE): "Renewed, deployed, proven served",
    (RunKind.RENEWAL, Outcome.FOUND): "Renewed, with findings",
    (RunKind.RENEWAL, Outcome.BLOCKED): "Renewal withheld before any order",
    (RunKind.RENEWAL, Outcome.FAILED): "Renewal failed",
    (RunKind.PREFLIGHT, Outcome.DONE): "Preflight: the way is free",
    (RunKind.PREFLIGHT, Outcome.FOUND): "Preflight: the way is free, with remarks",
    (RunKind.PREFLIGHT, Outcome.BLOCKED): "Preflight: the way is blocked",
    (RunKind.PREFLIGHT, Outcome.FAILED): "Preflight failed",
}
_TRIGGERS = {
    Trigger.START: "at the agent's start",
    Trigger.FILE: "because a file changed",
    Trigger.TIMER: "by the timer",
    Trigger.REQUEST: "because somebody asked",
    Trigger.JUDGE_AGAIN: "because another node's facts changed",
}
_SIGNS = {Outcome.DONE: "good", Outcome.FOUND: "good", Outcome.INTERRUPTED: "none"}


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One run as a line of the timeline; `sign`: "good", "bad" or "none"."""

    at: datetime
    took: timedelta
    sign: str
    what: str
    why: str
    remark: str | None
    count: int


def timeline_entry(report: Report) -> TimelineEntry:
    """The report as a line."""
    named = _DEEDS.get((report.kind, report.outcome), f"{str(report.kind).capitalize()}: {report.outcome}")
    worst = next(iter(worst_first(list(report.findings))), None)
    return TimelineEntry(
        at=report.finished_at,
        took=report.finished_at - report.started_at,
        sign=_SIGNS.get(report.outcome, "bad"),
        what=named,
        why=_TRIGGERS[report.trigger],
        remark=worst.explanation if worst is not None else None,
        count=report.count,
    )


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What one side says of a name, where that leads, and what to think of it."""

    who: str
    says: str
    leads_to: str | None
    is_right: bool
    verdict: str


def sides_of(rehearsal: Rehearsal, owners: Mapping[str, AddressOwner]) -> list[Side]:
    """Hosts lines, every nameserver, and where the CA goes and what it meets there: to be read side by side."""
    return [*_hosts_sides(rehearsal, owners), *_dns_sides(rehearsal, owners), *_fetch_sides(rehearsal, owners)]


def _hosts_sides(rehearsal: Rehearsal, owners: Mapping[str, AddressOwner]) -> Iterator[Side]:
    resolution = rehearsal.resolution
    used = resolution.addresses[:1] if resolution is not None else ()
    told = addresses_in_dns(resolution) if resolution is not None else set()
    for line in resolution.hosts if resolution is not None else ():
        yield Side(
            who=f"{line.origin.file}, line {line.origin.line}, on {rehearsal.node}",
            says=line.address,
            leads_to=_owner(line.address, owners),
            is_right=not told or line.address in told,
            verdict=_verdict(not told or line.address in told, line in used),
        )


def _dns_sides(rehearsal: Rehearsal, owners: Mapping[str, AddressOwner]) -> Iterator[Side]:
    resolution = rehearsal.resolution
    used: tuple[ResolvedAddress, ...] = resolution.addresses[:1] if resolution is not None else ()
    for server, (status, addresses) in (verdicts(resolution) if resolution is not None else {}).items():
        yield Side(
            who=f"nameserver {server}",
            says=", ".join(addresses) or status,
            leads_to=", ".join(filter(None, (_owner(address, owners) for address in addresses))) or None,
            is_right=bool(addresses),
            verdict=_verdict(bool(addresses), bool({one.origin.nameserver for one in used} & {server})),
        )


def _fetch_sides(rehearsal: Rehearsal, owners: Mapping[str, AddressOwner]) -> Iterator[Side]:
    for attempt in rehearsal.attempts:
        for hop in attempt.hops[-1:]:
            said = "the token" if attempt.matched else hop.error or f"{hop.status}, not the token"
            yield Side(
                who=f"asked as the CA asks, on port {hop.port}",
                says=f"{said} from {hop.address}" if hop.address else said,
                leads_to=_owner(hop.address, owners),
                is_right=attempt.matched,
                verdict="gets through" if attempt.matched else "does not get through",
            )


def _verdict(is_right: bool, decides: bool) -> str:
    if is_right:
        return "decides, and is right" if decides else "is right"
    return "decides, and is wrong" if decides else "disagrees"


def _owner(address: str | None, owners: Mapping[str, AddressOwner]) -> str | None:
    owner = owners.get(address or "")
    return describe_owner(owner) if owner is not None else None
