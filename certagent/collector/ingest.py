"""Reading posted reports: bounded, decoded, each judged by itself. Stores nothing."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from certagent.collector.problems import Problem
from certagent.domain.reports import Report

LARGEST_BODY = 8 * 1024 * 1024  # bytes, once unpacked
_LONGEST_BATCH = 1_000
_LONGEST_NAME = {"id": 128, "identifier": 253, "scope": 1_000, "culprit": 1_000}
_MOST_ENTRIES = 1_000

_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_lines = msgspec.json.Decoder(msgspec.Raw).decode_lines
_decode_report = msgspec.json.Decoder(Report).decode


class _Named(msgspec.Struct):
    id: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """A report that will not be taken, however often it is sent."""

    id: str
    reason: str


_decode_named = msgspec.json.Decoder(_Named).decode


def read_reports(body: bytes, agent: str) -> tuple[list[Report], list[Refusal]]:
    """The reports that the agent may make, and those it may not. Raises `Problem` if it is no list of documents."""
    good: list[Report] = []
    refused: list[Refusal] = []
    for raw in _split(body):
        try:
            report = _decode_report(raw)
            complaint = next(_complaints(report, agent), None)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            refused.append(Refusal(_identity(raw), str(error)))
            continue
        if complaint is None:
            good.append(report)
        else:
            refused.append(Refusal(report.id, complaint))
    return good, refused


def _split(body: bytes) -> Sequence[msgspec.Raw]:
    try:
        pieces = _decode_array(body) if body.lstrip()[:1] == b"[" else _decode_lines(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem(400, "Bad Request", f"neither a JSON array nor one JSON document per line: {error}") from error
    if len(pieces) > _LONGEST_BATCH:
        raise Problem(413, "Content Too Large", f"more than {_LONGEST_BATCH} reports at once")
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
    if len(report.findings) > _MOST_ENTRIES or len(report.scopes) > _MOST_ENTRIES:
        yield f"more than {_MOST_ENTRIES} findings or scopes"
    for kind, name in _names(report):
        if not name or len(name) > _LONGEST_NAME[kind] or not name.isprintable():
            yield f"{kind}: empty, too long, or not printable"
    if any(moment.tzinfo is None for moment in _moments(report)):
        yield "a time has no zone"


def _names(report: Report) -> Iterator[tuple[str, str]]:
    yield "id", report.id
    yield from (("scope", scope) for scope in report.scopes)
    yield from (("identifier", one.identifier) for one in report.rehearsals)
    for finding in report.findings:
        if finding.identifier is not None:
            yield "identifier", finding.identifier
        if finding.culprit is not None and finding.culprit.file is not None:
            yield "culprit", finding.culprit.file
    for certificate in report.inventory.certificates if report.inventory is not None else ():
        yield "identifier", certificate.name
        yield from (("identifier", identifier) for identifier in certificate.identifiers)


def _moments(report: Report) -> Iterator[datetime]:
    yield from (report.started_at, report.finished_at)
    yield from (rehearsal.at for rehearsal in report.rehearsals)
    for certificate in report.inventory.certificates if report.inventory is not None else ():
        if certificate.on_disk is not None:
            yield from (certificate.on_disk.not_before, certificate.on_disk.not_after)
