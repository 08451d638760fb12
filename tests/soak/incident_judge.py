"""What is wrong with a soak's incidents, by the rules for what is said (decisions 16 to 19). Pure."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tests.soak import ways
from tests.soak.prober import EVERY
from tests.soak.record import Record, Span, clock, culprits_of, instant, openings, short, way_of

_OURS = ("/etc/traefik/dynamic/certagent-", "/etc/certagent/", "/usr/", "/opt/certagent/")
"""Files that certagent or its installer wrote, and that no way to trouble the fleet touches: how their paths begin."""
_MOST_PER_CAUSE, _BESIDE = 1.2, 2  # two more: of the few causes of a short soak one is soon a fifth
_TWO_SIDED = ("partition", "stopped")
_AROUND = 120.0
"""Seconds after a trouble within which what it broke may still be found: by a retry, or by the collector's rounds."""
_MENDING = 8.0
"""Seconds that taking a fault out may take: what ends then has ended with it."""


def judge_incidents(record: Record, spans: Sequence[Span]) -> list[str]:
    """All complaints."""
    return [
        *_no_file_of_ours_was_accused(record, spans),
        *_every_incident_has_a_cause(record, spans),
        *_what_is_said_to_be_served_is(record),
        *_none_ended_before_its_cause(record, spans),
        *_a_cause_is_told_once(record, spans),
    ]


def _no_file_of_ours_was_accused(record: Record, spans: Sequence[Span]) -> Iterator[str]:
    """Rule 16: certagent's own correct files are never the culprit; but for those that the trouble itself is about."""
    meant = {one["file"] for span in spans for one in culprits_of(span) if "file" in one}
    for incident, opened_at in openings(record):
        file = incident["culprit"].get("file") or ""
        if file.startswith(_OURS) and file not in meant:
            yield f"{incident['code']} accused {file} at {clock(opened_at)}, which is certagent's own"


def _every_incident_has_a_cause(record: Record, spans: Sequence[Span]) -> Iterator[str]:
    """Rule 16: what is named is what happened. Some trouble was at the culprit's node, the suspected one's, a victim's,
    or who reports."""
    for incident, opened_at in openings(record):
        victims = {one["node"] for one in incident.get("victims", ())}
        suspected = (incident.get("suspected") or {}).get("node")
        nodes = {incident["culprit"].get("node"), suspected, *incident.get("reporters", ()), *victims} - {None}
        near = [span for span in spans if span.begun_at - 1 <= opened_at <= span.ended_at + _AROUND]
        troubled: set[object] = {node for span in near for node in way_of(span.way).nodes}
        troubled |= {one.get("node") for span in near for one in culprits_of(span)}
        if not nodes & troubled:
            culprit = short(incident["culprit"])
            yield f"{incident['code']} of {culprit} at {clock(opened_at)}, and nothing was done there"


def _what_is_said_to_be_served_is(record: Record) -> Iterator[str]:
    """Rule 17: what a node says that it serves, openssl saw too, whenever it looked before the node said something
    else; and took it."""
    for node, name in {(probe.node, probe.name) for probe in record.probes}:
        said = list(_said_of(record, node, name))
        for (since, fingerprint), (until, _) in itertools.pairwise([*said, (record.ended_at, "")]):
            seen = [one for one in record.probes if one.name == name and one.node == node and one.verdict is not None]
            seen = [one for one in seen if since + EVERY <= one.at <= until - EVERY]
            took = {(one.fingerprint or "").replace(":", "").lower() for one in seen if one.verdict == "0 (ok)"}
            if seen and fingerprint not in took:
                yield f"{node} said at {clock(since)} that it serves {fingerprint[:8]} for {name}; openssl took {took}"


def _said_of(record: Record, node: str, name: str) -> Iterator[tuple[float, str]]:
    """When the node began to say that it serves which certificate for the name."""
    last = ""
    for report in sorted(record.reports, key=lambda one: str(one["finished_at"])):
        inventory = report.get("inventory") or {}
        for certificate in inventory.get("certificates", ()) if report["agent"] == node else ():
            served = {one for one in certificate["served"].values() if one is not None}
            if name in certificate["identifiers"] and len(served) == 1 and served != {last}:
                (last,) = served
                yield instant(report["finished_at"]), last


def _none_ended_before_its_cause(record: Record, spans: Iterable[Span]) -> Iterator[str]:
    """Rule 18: while the line that is blamed stands in its file, nobody's word resolves its incident."""
    for span in spans:
        files = [(one["node"], one["file"]) for one in culprits_of(span) if "file" in one and "node" in one]
        for incident in record.incidents:
            if (incident["culprit"].get("node"), incident["culprit"].get("file")) not in files:
                continue
            ends = (instant(one["at"]) for one in incident["transitions"] if one["kind"] == "resolved")
            if early := [one for one in ends if span.was_in and span.begun_at + 1 < one < span.ended_at - _MENDING]:
                yield f"{incident['code']} was resolved at {clock(early[0])}, and {span.way} was in"


def _a_cause_is_told_once(record: Record, spans: Iterable[Span]) -> Iterator[str]:
    """Rule 19: over all of them. What is over so soon that nobody is told has left no incident. What two nodes see of
    each other, or of one that is gone, has two sides, and each is told."""
    kinds = [span.way.partition(":")[0] for span in spans if span.was_in and span.way in ways.big()]
    causes = len(kinds) + sum(kind in _TWO_SIDED for kind in kinds)
    told = [incident["code"] for incident, _ in openings(record) if incident.get("confirmed")]
    if kinds and len(told) > _MOST_PER_CAUSE * causes + _BESIDE:
        yield f"{causes} causes were told {len(told)} times: {dict(Counter(told))}"
