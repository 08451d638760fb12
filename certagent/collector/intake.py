"""POST /v1/reports: from the body to the store. Bodies are bounded, each report is checked by itself."""

import asyncio
import logging
import math
import re
from collections import Counter
from collections.abc import Iterator, MutableMapping, Sequence
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client import Counter as MetricCounter

from certagent import __version__
from certagent.collector.access import HttpProblem, caller_of, encode, json_response
from certagent.collector.admission import Admission
from certagent.collector.bodies import Bodies, try_later
from certagent.collector.records import Acceptance, Caller, Overloaded, StoreFailed
from certagent.collector.store import Store
from certagent.domain.findings import Finding, may_hold_secret, redact
from certagent.domain.ports import Clock
from certagent.domain.rate_limiter import RateLimiter
from certagent.domain.reports import Inventory, Report
from certagent.system.pinned_http import VERSION_HEADER

log = logging.getLogger(__name__)

_LONGEST_BATCH = 1_000
_KIBIBYTES_AT_ONCE, _KIBIBYTES_PER_HOUR = 256 * 1024, 128 * 1024  # of one agent: nobody fills the disk in a day
_EVERY_KIBIBYTE = timedelta(hours=1) / _KIBIBYTES_PER_HOUR
_KIBIBYTES_OF_WORK = 4  # of incidents, transitions and messages for a finding that came or went
_MOST_AGENTS = 100_000
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
    "place": 300,
    "target": 1_000,
    "root": 64,
}
_MOST_ENTRIES = 1_000
_MICROSECOND = timedelta(microseconds=1)
_VERSION = {VERSION_HEADER: __version__}  # an agent sends again what an older collector refused
_LARGEST_FINDING = 256 * 1024  # bytes
_DEEPEST = 16  # lists and objects within one another in what a finding brings as evidence

_CODE = re.compile(r"[a-z][a-z0-9]*(\.[a-z][a-z0-9_]*)+")
"""What a finding's code looks like, also one of a newer agent: people read it where its own words are not known."""

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

    def __init__(
        self, store: Store, bodies: Bodies, admission: Admission, registry: CollectorRegistry, clock: Clock
    ) -> None:
        self._store = store
        self._kept = RateLimiter(clock, burst=_KIBIBYTES_AT_ONCE, every=_EVERY_KIBIBYTE, most_keys=_MOST_AGENTS)
        self._dues: Counter[str] = Counter()  # KiB of each agent that the other collectors are to count as well
        self._clock = clock
        self._complaints = RateLimiter(clock, burst=1, every=timedelta(hours=1), most_keys=_MOST_AGENTS)
        self._turns: MutableMapping[str, asyncio.Lock] = WeakValueDictionary()
        self.bodies = bodies
        self.admission = admission
        self._reports = MetricCounter("certagent_reports", "Reports received.", ["result"], registry=registry)
        self._verdicts = MetricCounter(
            "certagent_preflight_verdicts",
            "Orders by whether the preceding verdict agreed.",
            ["fate"],
            registry=registry,
        )
        for fate in _VERDICTS.values():
            self._verdicts.labels(fate)

    async def post_reports(self, request: web.Request) -> web.Response:
        """Reports of the agent itself; answered once they are on disk."""
        caller = caller_of(request)
        await self.admission.admit(request)
        async with self.bodies.body_of(request, caller.name) as body:
            if not body:
                raise HttpProblem(400, "Bad Request", "the body contains no report")
            reports, refused = read_reports(body, caller.name)
            size = math.ceil(len(body) / 1024)
            async with self._turns.setdefault(caller.name, asyncio.Lock()):
                answer = await self._accept(caller, reports, size)
        self.count(Acceptance(0, 0), (), len(refused))
        counts = {"accepted": answer.accepted, "duplicates": answer.duplicates}
        if refused:
            detail = f"{len(refused)} refused"
            raise HttpProblem(422, "Unprocessable Content", detail, headers=_VERSION, **counts, refused=refused)
        return json_response(counts, _VERSION)

    async def _accept(self, caller: Caller, reports: Sequence[Report], size: int) -> Acceptance:
        """Store the reports of one post of `size` KiB: as many at once as let others have their turn in between. Raises
        `HttpProblem` 429; what is stored then is a duplicate when it comes again."""
        accepted = duplicates = 0
        for piece in _pieces(reports):
            if (wait := self._kept.wait_for(caller.name, size)) > 0:
                if self._complaints.take(caller.name) == 0.0:
                    log.warning("%s reports more than %d MiB an hour", caller.name, _KIBIBYTES_PER_HOUR >> 10)
                raise try_later(f"{caller.name} reports more data than the collector stores per hour", math.ceil(wait))
            try:
                answer = await self._store_piece(caller, piece)
            except Overloaded as error:
                raise try_later(str(error)) from None
            if answer.accepted:
                self._charge(caller.name, size + _KIBIBYTES_OF_WORK * answer.work)
                size = 0
            self.count(answer, piece)
            accepted += answer.accepted
            duplicates += answer.duplicates
        return Acceptance(accepted, duplicates)

    async def _store_piece(self, caller: Caller, piece: Sequence[Report]) -> Acceptance:
        """With what the agent owes for the pieces before; learns what it owes for what other collectors stored."""
        dues = min(
            self._dues.pop(caller.name, 0), math.ceil(self._kept.full_in(caller.name) / _EVERY_KIBIBYTE.total_seconds())
        )
        try:
            answer = await self._store.accept(caller, piece, dues * (_EVERY_KIBIBYTE // _MICROSECOND))
        except (Overloaded, StoreFailed):
            self._dues[caller.name] += dues
            raise
        if answer.kept_until is not None:
            self._kept.learn(caller.name, (answer.kept_until - self._clock.now()).total_seconds())
        return answer

    def _charge(self, name: str, kibibytes: int) -> None:
        """Here at once; the other collectors learn of it with the agent's next post."""
        self._kept.charge(name, kibibytes)
        self._dues[name] += kibibytes

    def count(self, answer: Acceptance, reports: Sequence[Report], refused: int = 0) -> None:
        """Count what was stored at once, and the reports that show whether the verdict before an order was right."""
        for result, count in (("accepted", answer.accepted), ("duplicate", answer.duplicates), ("refused", refused)):
            if count:
                self._reports.labels(result).inc(count)
        for report in reports if answer.accepted else ():
            for finding in report.findings:
                if finding.code in _VERDICTS:
                    self._verdicts.labels(_VERDICTS[finding.code]).inc()


def _pieces(reports: Sequence[Report]) -> Iterator[Sequence[Report]]:
    """The reports in order, cut where a piece has enough findings; at least one piece."""
    piece: list[Report] = []
    findings = 0
    for report in reports:
        if piece and findings + len(report.findings) > _MOST_ENTRIES:
            yield piece
            piece, findings = [], 0
        piece.append(report)
        findings += len(report.findings)
    yield piece


def read_reports(body: bytes, agent: str) -> tuple[list[Report], list[ReportRefusal]]:
    """The reports that the agent may make, and those it may not. Raises `HttpProblem` if it is no list of documents."""
    accepted: list[Report] = []
    refused: list[ReportRefusal] = []
    is_plain = not may_hold_secret(body.decode(errors="replace"))
    for raw in _split(body):
        try:  # an older agent may not have redacted it
            report = _decode_report(raw if is_plain else redact(bytes(raw).decode()))
            complaint = next(_complaints(report, agent), None) or _complaint_of_size(report, raw)
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
        yield f"the token is {agent}'s, the report {report.agent!r}'s: an agent may only report as itself"
    if report.inventory is not None:
        yield from _complaints_of_inventory(report.inventory, agent)
    if not 0 <= report.sequence < 2**63:
        yield "sequence: out of range"
    if max(map(len, (report.findings, report.scopes, report.changes, report.fixes))) > _MOST_ENTRIES:
        yield f"more than {_MOST_ENTRIES} findings, scopes, changes or fixes"
    if report.findings:
        yield from _complaints_of_findings(report.findings)
    for kind, name in _names(report):
        if not name or len(name) > _LONGEST_NAME[kind] or not name.isprintable():
            yield f"{kind}: empty, too long, or not printable"
    for moment in _moments(report):
        if moment is not None and moment.tzinfo is None:
            yield "a time has no time zone"


def _complaints_of_findings(findings: Sequence[Finding]) -> Iterator[str]:
    if any(_is_deeper(value, _DEEPEST) for finding in findings for value in (finding.detail, finding.facts)):
        yield f"detail, facts: nested more than {_DEEPEST} deep"
    if any(_CODE.fullmatch(finding.code) is None for finding in findings):
        yield "code: must be lower-case words separated by dots"


def _complaints_of_inventory(inventory: Inventory, agent: str) -> Iterator[str]:
    if inventory.node != agent:
        yield f"the inventory belongs to {inventory.node!r}"
    if len(inventory.addresses) > _MOST_ENTRIES:
        yield f"more than {_MOST_ENTRIES} addresses"


def _complaint_of_size(report: Report, raw: msgspec.Raw) -> str | None:
    """Whether a finding of the report is too large to be shown; `raw` is the report as it came."""
    is_small = memoryview(raw).nbytes <= _LARGEST_FINDING
    if is_small or all(len(encode(finding)) <= _LARGEST_FINDING for finding in report.findings):
        return None
    return f"a finding of more than {_LARGEST_FINDING} bytes"


def _is_deeper(value: object, levels: int) -> bool:
    """Whether lists and objects are in one another more often than that."""
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    else:
        return False
    return levels == 0 or any(_is_deeper(one, levels - 1) for one in inner)


def _names(report: Report) -> Iterator[tuple[str, str]]:
    yield "id", report.id
    yield from (("scope", scope) for scope in report.scopes)
    yield from (("file", file) for file in report.other_files or ())
    yield from (("identifier", rehearsal.identifier) for rehearsal in report.rehearsals)
    if report.certificate is not None:
        yield "certificate", report.certificate
    yield from (("file", change.file) for change in report.changes)
    for fix in report.fixes:
        yield from (("id", fix.id), *(("file", file) for file in fix.files))
        yield from (("node", word) for word in (fix.incident, fix.by) if word is not None)
    for finding in report.findings:
        yield from _names_in(finding)
    if report.inventory is not None:
        yield from (("address", address) for address in report.inventory.addresses)
        yield from (("root", root) for root in report.inventory.roots)
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
    if finding.culprit is not None and finding.culprit.address is not None:
        yield "place", finding.culprit.address
    if finding.target is not None:
        yield "certificate", finding.target.certificate
        yield "target", finding.target.name


def _moments(report: Report) -> Iterator[datetime | None]:
    yield report.started_at
    yield report.finished_at
    for fix in report.fixes:
        yield fix.at
    for rehearsal in report.rehearsals:
        yield rehearsal.at
        yield rehearsal.settles_at
    for finding in report.findings:
        if finding.impact is not None:
            yield from (finding.impact.due_at, finding.impact.expires_at)
        if finding.target is not None:
            yield from (finding.target.served_until, finding.target.retry_at)
    for certificate in report.inventory.certificates if report.inventory is not None else ():
        yield from (certificate.due_at, certificate.last_outcome_at)
        if certificate.on_disk is not None:
            on_disk = certificate.on_disk
            yield from (on_disk.not_before, on_disk.not_after, on_disk.chain_ends_at)
