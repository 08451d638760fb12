"""POST /v1/reports: from the body to the store. Bodies are bounded, each report is checked by itself."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client import Counter as MetricCounter

from certagent.collector.access import HttpProblem, caller_of, json_response
from certagent.collector.bodies import Bodies, try_later
from certagent.collector.records import Acceptance, Overloaded
from certagent.collector.store import Store
from certagent.domain.findings import Finding, redact
from certagent.domain.reports import Report

_LONGEST_BATCH = 1_000
_LONGEST_NAME = {  # no longer than the store's columns
    "id": 128,
    "identifier": 253,
    "certificate": 253,
    "scope": 1_000,
    "file": 1_000,
    "node": 128,
    "role": 128,
    "code": 128,
    "address": 64,
}
_MOST_ENTRIES = 1_000

_VERDICTS = {"preflight.agreed": "agreed", "preflight.disagreed": "disagreed"}

_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_lines = msgspec.json.Decoder(msgspec.Raw).decode_lines
_decode_report = msgspec.json.Decoder(Report).decode


class _Named(msgspec.Struct):
    id: str = ""


class ReportRefusal(msgspec.Struct, frozen=True):
    """A report that will not be taken, however often it is sent."""

    id: str
    reason: str


_decode_named = msgspec.json.Decoder(_Named).decode


class Intake:
    """Takes what agents report, and counts it for the metrics in `registry`."""

    def __init__(self, store: Store, bodies: Bodies, registry: CollectorRegistry) -> None:
        self._store = store
        self.bodies = bodies
        self._reports = MetricCounter("certagent_reports", "Reports received.", ["result"], registry=registry)
        self._verdicts = MetricCounter(
            "certagent_preflight_verdicts",
            "Orders by whether the verdict before agreed.",
            ["fate"],
            registry=registry,
        )
        for fate in _VERDICTS.values():
            self._verdicts.labels(fate)

    async def post_reports(self, request: web.Request) -> web.Response:
        """Reports of the agent itself; answered once they are on disk."""
        caller = caller_of(request)
        async with self.bodies.body_of(request, caller.name) as body:
            if not body:
                raise HttpProblem(400, "Bad Request", "there is no report")
            reports, refused = read_reports(body, caller.name)
            try:
                answer = await self._store.accept(caller, reports)
            except Overloaded as error:
                raise try_later(str(error)) from None
        self.count(answer, reports, len(refused))
        counts = msgspec.structs.asdict(answer)
        if refused:
            raise HttpProblem(422, "Unprocessable Content", f"{len(refused)} refused", **counts, refused=refused)
        return json_response(counts)

    def count(self, answer: Acceptance, reports: Sequence[Report], refused: int) -> None:
        """Count one post: its reports, and those of them that show whether the verdict before an order was right."""
        for result, count in (("accepted", answer.accepted), ("duplicate", answer.duplicates), ("refused", refused)):
            if count:
                self._reports.labels(result).inc(count)
        for report in reports if answer.accepted else ():
            for finding in report.findings:
                if finding.code in _VERDICTS:
                    self._verdicts.labels(_VERDICTS[finding.code]).inc()


def read_reports(body: bytes, agent: str) -> tuple[list[Report], list[ReportRefusal]]:
    """The reports that the agent may make, and those it may not. Raises `HttpProblem` if it is no list of documents."""
    accepted: list[Report] = []
    refused: list[ReportRefusal] = []
    for raw in _split(body):
        try:
            report = _decode_report(redact(bytes(raw).decode()))  # an older agent may not have redacted it
            complaint = next(_complaints(report, agent), None)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            refused.append(ReportRefusal(_identity(raw), str(error)))
            continue
        if complaint is None:
            accepted.append(report)
        else:
            refused.append(ReportRefusal(report.id, complaint))
    return accepted, refused


def _split(body: bytes) -> Sequence[msgspec.Raw]:
    try:
        pieces = _decode_array(body) if body.lstrip()[:1] == b"[" else _decode_lines(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise HttpProblem(
            400, "Bad Request", f"neither a JSON array nor one JSON document per line: {error}"
        ) from error
    if len(pieces) > _LONGEST_BATCH:
        raise HttpProblem(413, "Content Too Large", f"more than {_LONGEST_BATCH} reports at once")
    return pieces


def _identity(raw: msgspec.Raw) -> str:
    try:
        return _decode_named(raw).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _complaints(report: Report, agent: str) -> Iterator[str]:
    """What the types do not say. Worst first."""
    if report.agent != agent:
        yield f"the token is {agent}'s, the report {report.agent!r}'s: an agent speaks only as itself"
    if report.inventory is not None and report.inventory.node != agent:
        yield f"the inventory is of {report.inventory.node!r}"
    if not 0 <= report.sequence < 2**63:
        yield "sequence: out of range"
    if max(len(report.findings), len(report.scopes), len(report.changes)) > _MOST_ENTRIES:
        yield f"more than {_MOST_ENTRIES} findings, scopes or changes"
    for kind, name in _names(report):
        if not name or len(name) > _LONGEST_NAME[kind] or not name.isprintable():
            yield f"{kind}: empty, too long, or not printable"
    if any(moment is not None and moment.tzinfo is None for moment in _moments(report)):
        yield "a time has no zone"


def _names(report: Report) -> Iterator[tuple[str, str]]:
    yield "id", report.id
    yield from (("scope", scope) for scope in report.scopes)
    yield from (("identifier", rehearsal.identifier) for rehearsal in report.rehearsals)
    if report.certificate is not None:
        yield "certificate", report.certificate
    yield from (("file", change.file) for change in report.changes)
    for finding in report.findings:
        yield from _names_in(finding)
    if report.inventory is not None:
        yield from (("address", address) for address in report.inventory.addresses)
        if report.inventory.role is not None:
            yield "role", report.inventory.role
        for certificate in report.inventory.certificates:
            yield "certificate", certificate.name
            yield from (("identifier", identifier) for identifier in certificate.identifiers)


def _names_in(finding: Finding) -> Iterator[tuple[str, str]]:
    yield "code", finding.code
    if finding.identifier is not None:
        yield "identifier", finding.identifier
    if finding.culprit is not None and finding.culprit.file is not None:
        yield "file", finding.culprit.file
    if finding.culprit is not None and finding.culprit.node is not None:
        yield "node", finding.culprit.node


def _moments(report: Report) -> Iterator[datetime | None]:
    yield from (report.started_at, report.finished_at)
    for rehearsal in report.rehearsals:
        yield from (rehearsal.at, rehearsal.settles_at)
    for finding in report.findings:
        if finding.impact is not None:
            yield from (finding.impact.due_at, finding.impact.expires_at)
    for certificate in report.inventory.certificates if report.inventory is not None else ():
        yield from (certificate.due_at, certificate.last_outcome_at)
        if certificate.on_disk is not None:
            on_disk = certificate.on_disk
            yield from (on_disk.not_before, on_disk.not_after, on_disk.chain_ends_at)
