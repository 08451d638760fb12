"""Runs of an agent, and answers for a name, as texts for the pages. Wording only."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import msgspec

from certagent.domain.catalogue import retell
from certagent.domain.policy import worst_first
from certagent.domain.rehearsals import AddressOwner, Rehearsal, ResolvedAddress, addresses_in_dns, describe_owner
from certagent.domain.reports import Outcome, Report, RunKind, Trigger
from certagent.domain.resolver_agreement import verdicts

_RUNS = {
    (RunKind.RENEWAL, Outcome.DONE): "Renewed, deployed, proven served",
    (RunKind.RENEWAL, Outcome.FOUND): "Renewed, with findings",
    (RunKind.RENEWAL, Outcome.BLOCKED): "Renewal withheld before any order",
    (RunKind.RENEWAL, Outcome.FAILED): "Renewal failed",
    (RunKind.PREFLIGHT, Outcome.DONE): "Preflight passed",
    (RunKind.PREFLIGHT, Outcome.FOUND): "Preflight passed, with findings",
    (RunKind.PREFLIGHT, Outcome.BLOCKED): "Preflight blocked",
    (RunKind.PREFLIGHT, Outcome.FAILED): "Preflight failed",
}
_TRIGGERS = {
    Trigger.START: "at the agent's start",
    Trigger.FILE: "because a file changed",
    Trigger.TIMER: "by schedule",
    Trigger.REQUEST: "on request",
    Trigger.JUDGE_AGAIN: "because findings of another node changed",
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
    named = _RUNS.get((report.kind, report.outcome), f"{str(report.kind).capitalize()}: {report.outcome}")
    worst = next(iter(worst_first(list(report.findings))), None)
    return TimelineEntry(
        at=report.finished_at,
        took=report.finished_at - report.started_at,
        sign=_SIGNS.get(report.outcome, "bad"),
        what=named,
        why=_TRIGGERS.get(report.trigger, str(report.trigger)),
        remark=retell(worst, report.agent)[0] if worst is not None else None,
        count=report.count,
    )


class NameAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a hosts line, a nameserver or the connection itself answers for a name, where that leads, and whether it is
    right."""

    source: str
    answer: str
    leads_to: str | None
    is_right: bool
    verdict: str


def name_answers(rehearsal: Rehearsal, owners: Mapping[str, AddressOwner]) -> list[NameAnswer]:
    """Hosts lines, every nameserver, and where the CA goes and what it meets there: to be read side by side."""
    return [*_hosts_lines(rehearsal, owners), *_dns_answers(rehearsal, owners), *_fetches(rehearsal, owners)]


def _hosts_lines(rehearsal: Rehearsal, owners: Mapping[str, AddressOwner]) -> Iterator[NameAnswer]:
    resolution = rehearsal.resolution
    used = resolution.addresses[:1] if resolution is not None else ()
    by_dns = addresses_in_dns(resolution) if resolution is not None else set()
    for line in resolution.hosts if resolution is not None else ():
        yield NameAnswer(
            source=f"{line.origin.file}, line {line.origin.line}, on {rehearsal.node}",
            answer=line.address,
            leads_to=_owner(line.address, owners),
            is_right=not by_dns or line.address in by_dns,
            verdict=_verdict(not by_dns or line.address in by_dns, line in used),
        )


def _dns_answers(rehearsal: Rehearsal, owners: Mapping[str, AddressOwner]) -> Iterator[NameAnswer]:
    resolution = rehearsal.resolution
    used: tuple[ResolvedAddress, ...] = resolution.addresses[:1] if resolution is not None else ()
    for server, (status, addresses) in (verdicts(resolution) if resolution is not None else {}).items():
        yield NameAnswer(
            source=f"nameserver {server}",
            answer=", ".join(addresses) or status,
            leads_to=", ".join(filter(None, (_owner(address, owners) for address in addresses))) or None,
            is_right=bool(addresses),
            verdict=_verdict(bool(addresses), bool({address.origin.nameserver for address in used} & {server})),
        )


def _fetches(rehearsal: Rehearsal, owners: Mapping[str, AddressOwner]) -> Iterator[NameAnswer]:
    for attempt in rehearsal.attempts:
        for hop in attempt.hops[-1:]:
            fetched = "the token" if attempt.matched else hop.error or f"{hop.status}, not the token"
            yield NameAnswer(
                source=f"asked as the CA asks, on port {hop.port}",
                answer=f"{fetched} from {hop.address}" if hop.address else fetched,
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
