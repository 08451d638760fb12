"""What is wrong with a soak, from what was written down: an empty list is a pass. Pure."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.e2e.campaign.rows import is_named
from tests.soak.incident_judge import judge_incidents
from tests.soak.meter import Sample
from tests.soak.prober import EVERY, Probe
from tests.soak.record import Record, Span, clock, instant, openings, short, spans_of, way_of

BACK_WITHIN = 20.0
"""Seconds after a trouble within which what it kept away answers again: a container's start, on a busy machine."""
_WARM = 300.0
_MOST_GROWTH = 6 * 1024  # KiB, of a process that is warm
_MOST_MEMORY = 96 * 1024  # KiB, of any
_MOST_NEW_DESCRIPTORS = 12
_LOOKS = 3
_GAP = 4 * EVERY
_DEFAULT = "TRAEFIK DEFAULT CERT"
_STARTS_TRAEFIK = {"restarted:lxc102:traefik", "stopped:lxc102"}
_STARTS_TRAEFIK |= {"fault:reach-traefik-stopped", "fault:traefik-own-acme"}
_NEVER = {"deploy.drift", "deploy.pair_mismatch", "deploy.world_readable", "cert.expired", "cert.two_owners"}
_NEVER |= {"cert.reissue_loop", "cert.renewal_impossible", "agent.reports_refused"}


def judge(record: Record) -> list[str]:
    """All complaints."""
    spans = list(spans_of(record))
    return [
        *_injector_did_its_work(record),
        *_every_fault_was_reported(record, spans),
        *_only_good_certificates_were_served(record.probes, spans),
        *_none_expired_between_two_looks(record.probes),
        *_nothing_was_away_without_a_cause(record, spans),
        *_probes_were_made(record),
        *_nothing_failed_by_itself(record, spans),
        *_kills_were_seen(record, spans),
        *_nothing_was_made_up(record),
        *judge_incidents(record, spans),
        *_no_report_was_lost(record),
        *_processes_stay_small(record.samples),
        *([f"at the end: {record.trouble}"] if record.trouble else []),
    ]


def _injector_did_its_work(record: Record) -> Iterator[str]:
    for entry in record.journal:
        if entry.event == "failed":
            yield f"{entry.way} could not be done: {entry.said}"
    if not any(entry.event == "ended" for entry in record.journal):
        yield "the injector did nothing"


def _every_fault_was_reported(record: Record, spans: Iterable[Span]) -> Iterator[str]:
    for span in spans:
        way = way_of(span.way)
        if way.expected is None or not span.was_in:
            continue
        seen = list(_concluded(record, span) if way.expected.by_collector else _reported(record, span))
        right = [one for one in seen if _has_code(one["code"], way.expected.codes)]
        if not any(_accuses(one, way.expected.culprits) for one in right):
            said = Counter((one["code"], short(one.get("culprit"))) for one in seen)
            yield (
                f"{span.way}, in from {clock(span.begun_at)} to {clock(span.ended_at)}, was not reported as"
                f" {', '.join(way.expected.codes)} of {_any_of(way.expected.culprits)}; what was: {dict(said)}"
            )


def _reported(record: Record, span: Span) -> Iterator[dict[str, Any]]:
    """The findings of reports on runs that ended while it was in, by the clock that they are dated by."""
    way = way_of(span.way)
    for report in record.reports:
        shift = way.shift if report["agent"] == way.nodes[0] else 0.0
        if span.begun_at <= instant(report["finished_at"]) - shift <= span.ended_at + 1:
            yield from report["findings"]


def _concluded(record: Record, span: Span) -> Iterator[dict[str, Any]]:
    """The incidents that opened while it was in, or right after it: the collector goes its rounds."""
    for incident in record.incidents:
        openings = (one["at"] for one in incident["transitions"] if one["kind"] in ("opened", "reopened"))
        if any(span.begun_at <= instant(at) <= span.ended_at + BACK_WITHIN for at in openings):
            yield incident


def _only_good_certificates_were_served(probes: Iterable[Probe], spans: Sequence[Span]) -> Iterator[str]:
    """But for Traefik's own, which it serves before it has read any file, where it was just started again."""
    starts = [one for one in spans if one.way in _STARTS_TRAEFIK]
    for probe in probes:
        is_starting = _DEFAULT in (probe.subject or "") and _has_cause(probe.node, probe.at, starts)
        if probe.verdict not in (None, "0 (ok)") and not is_starting:
            yield f"{probe.name} at {clock(probe.at)}: {probe.verdict} ({probe.fingerprint}, until {probe.ends})"


def _none_expired_between_two_looks(probes: Sequence[Probe]) -> Iterator[str]:
    """What was served at one look had not ended by the next one. (An endpoint that is away serves nothing.)"""
    for name in {probe.name for probe in probes}:
        for one, following in itertools.pairwise(probe for probe in probes if probe.name == name):
            if one.verdict is None or following.verdict is None or one.ends is None:
                continue
            ends_at = datetime.strptime(one.ends, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC).timestamp()
            if following.at > ends_at:
                yield f"{name}: what was served at {clock(one.at)} ended before {clock(following.at)}"


def _nothing_was_away_without_a_cause(record: Record, spans: Sequence[Span]) -> Iterator[str]:
    for probe in record.probes:
        if probe.verdict is not None:
            continue
        if not _has_cause(probe.node, probe.at, spans):
            yield f"{probe.name} did not answer at {clock(probe.at)}, and nothing was done to {probe.node} then"


def _has_cause(node: str, at: float, spans: Sequence[Span]) -> bool:
    causes = (one for one in spans if node in way_of(one.way).nodes)
    return any(one.begun_at - 1 <= at <= one.ended_at + BACK_WITHIN for one in causes)


def _nothing_failed_by_itself(record: Record, spans: Sequence[Span]) -> Iterator[str]:
    """Only a kill is somebody's, of whom was killed or starved. systemd starts it again: no other look would tell."""
    for one in record.mishaps:
        kills = [
            span for span in spans if span.way in (f"{how}:{one.node}:{one.unit}" for how in ("killed", "starved"))
        ]
        if not (one.killed and _has_cause(one.node, one.at, kills)):
            yield f"{one.unit} on {one.node} at {clock(one.at)}: {one.said}"


def _kills_were_seen(record: Record, spans: Iterable[Span]) -> Iterator[str]:
    """Who does not find those in the journals would not find any failure there."""
    for span in spans:
        kind, *victim = span.way.split(":")
        seen = (
            [one.node, one.unit] == victim and span.begun_at - 1 <= one.at <= span.ended_at for one in record.mishaps
        )
        if kind == "killed" and span.was_in and not any(seen):
            yield f"{span.way} at {clock(span.begun_at)} is not in the journal of {victim[0]}"


def _probes_were_made(record: Record) -> Iterator[str]:
    """A look that was never taken sees no expired certificate."""
    for name in {probe.name for probe in record.probes} or {"no endpoint"}:
        times = [record.began_at, *(one.at for one in record.probes if one.name == name), record.ended_at]
        longest = max(later - earlier for earlier, later in itertools.pairwise(times))
        if longest > _GAP:
            yield f"{name} was not looked at for {longest:.0f} s"


def _nothing_was_made_up(record: Record) -> Iterator[str]:
    """No way to trouble the fleet touches what is deployed, or asks for too much."""
    for incident, opened_at in openings(record):
        if incident["code"] in _NEVER:
            yield f"{incident['code']} of {short(incident['culprit'])} at {clock(opened_at)}, and nobody did that"


def _no_report_was_lost(record: Record) -> Iterator[str]:
    """An agent whose run was over, and reported, before it could forget it (its disk was full, it was killed) says of
    the same run that it was interrupted, under another number: the collector has kept what it had."""
    for agent, (before, last) in sorted(record.numbered.items()):
        reports = [report for report in record.reports if report["agent"] == agent]
        stored = Counter(report["sequence"] for report in reports)
        over = {report["id"] for report in reports if report["outcome"] != "interrupted"}
        again = len(over.intersection(record.interrupted.get(agent, ())))
        lost = [number for number in range(before + 1, last + 1) if number not in stored]
        if len(lost) > again:
            yield f"{agent} has numbered reports {before + 1} to {last}, and the collector does not have {lost[:20]}"
        if twice := [number for number, times in stored.items() if times > 1]:
            yield f"the collector has reports of {agent} more than once: {twice[:20]}"
        if record.dead.get(agent):
            yield f"{record.dead[agent]} reports of {agent} were refused"


def _processes_stay_small(samples: Sequence[Sample]) -> Iterator[str]:
    for (node, unit, pid), life in _lives(samples):
        most = max(sample.kibibytes for sample in life)
        if most > _MOST_MEMORY:
            yield f"{unit} on {node} (process {pid}) took {most / 1024:.0f} MiB"
        warm = [sample for sample in life if sample.at - life[0].at >= _WARM]
        if not warm:
            continue
        grown = warm[-1].kibibytes - warm[0].kibibytes
        if grown > _MOST_GROWTH:
            yield f"{unit} on {node} (process {pid}) grew by {grown / 1024:.1f} MiB in {warm[-1].at - warm[0].at:.0f} s"
        more = _kept_open(warm[-_LOOKS:]) - _kept_open(warm[:_LOOKS])
        if more > _MOST_NEW_DESCRIPTORS:
            yield f"{unit} on {node} (process {pid}) holds {more} more descriptors"


def _kept_open(samples: Iterable[Sample]) -> int:
    """What stays open: a moment of looking at many endpoints is no leak."""
    return min(sample.descriptors for sample in samples)


def _lives(samples: Iterable[Sample]) -> Iterator[tuple[tuple[str, str, int], list[Sample]]]:
    """Each process by itself: a number that comes again after another is another process."""
    by_unit: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        by_unit.setdefault((sample.node, sample.unit), []).append(sample)
    for (node, unit), seen in by_unit.items():
        for pid, life in itertools.groupby(seen, key=lambda sample: sample.pid):
            yield (node, unit, pid), list(life)


def _has_code(code: str, wanted: Iterable[str]) -> bool:
    return any(code == one or (one.endswith(".") and code.startswith(one)) for one in wanted)


def _accuses(finding: Mapping[str, Any], culprits: Iterable[Mapping[str, Any]]) -> bool:
    return any(is_named(finding.get("culprit") or {}, one) for one in culprits)


def _any_of(culprits: Iterable[Mapping[str, Any]]) -> str:
    return " or ".join(short(one) for one in culprits)
