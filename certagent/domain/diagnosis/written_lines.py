"""Conclusions from live lines and provisioning code together: which line of the code wrote a line that led the CA or a
client astray. Matched by content; pure."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from certagent.domain import catalogue
from certagent.domain.catalogue import Fact
from certagent.domain.findings import Culprit, Finding, Vantage, redact
from certagent.domain.incidents import SourceLine
from certagent.domain.resolution.file_formats import HOSTS_FILE, parse_address
from certagent.domain.sources.writes import SHOWN_UNKNOWN, CodePlace, Write, code_lines

PROVISIONING = "provisioning"
"""The node under which the provisioning code's own incidents stand: it is on none of the fleet's."""
_OF_AUTHORITY = "dns.hosts_shadow.authority"


class LiveLine(msgspec.Struct, frozen=True):
    """A line of an incident, whether or not the incident is over. `code`: the incident's."""

    node: str
    file: str
    text: str
    code: str


class ProvisioningCode(msgspec.Struct, frozen=True, kw_only=True):
    """What the code of a commit writes. `lines`: the code itself; `has_gaps`: not all of it could be read, so that it
    may write more."""

    commit: str
    committed_at: datetime
    writes: tuple[Write, ...]
    lines: Mapping[CodePlace, str] = {}
    has_gaps: bool = False


def is_written_by(write: Write, file: str, text: str) -> bool:
    """Whether the code writes that line: the same fields, whatever is between them; what the code does not tell fits
    anything, as long as it tells a name; outside of hosts files the code has to tell all of it."""
    told, live = write.text.partition("#")[0].split(), text.partition("#")[0].split()
    if write.file != file or len(told) != len(live):
        return False
    if file != HOSTS_FILE:
        return bool(told) and told == live and SHOWN_UNKNOWN not in write.text
    known = [field for field in told if SHOWN_UNKNOWN not in field]
    fits = all(SHOWN_UNKNOWN in field or field == other for field, other in zip(told, live, strict=True))
    return fits and any(field in live[1:] for field in known)


def lines_come_back(code: ProvisioningCode, live: Iterable[LiveLine]) -> Iterator[Finding]:
    """source.hosts_pinned.*, and source.line_returns for a line of another file: a line of the code wrote what is, or
    was, an incident; the next run writes it again."""
    kept: dict[str, list[Write]] = {}
    for write in code.writes:
        kept.setdefault(write.file, []).append(write)
    met: dict[Write, list[LiveLine]] = {}
    for line in live:
        for write in kept.get(line.file, ()):
            if is_written_by(write, line.file, line.text):
                met.setdefault(write, []).append(line)
    seen = set()
    for write, lines in met.items():
        if (write.place, write.text) not in seen:
            seen.add((write.place, write.text))
            yield _pinned(write, lines, code) if write.file == HOSTS_FILE else _returning(write, lines, code)


def _pinned(write: Write, lines: list[LiveLine], code: ProvisioningCode) -> Finding:
    by_ca = any(line.code == _OF_AUTHORITY for line in lines)
    return _finding(
        "source.hosts_pinned.authority" if by_ca else "source.hosts_pinned.client",
        write,
        lines,
        code,
        met=_OF_AUTHORITY if by_ca else "",
        variant="live",
        address=next(filter(None, map(_address_of, lines)), None),
    )


def _returning(write: Write, lines: list[LiveLine], code: ProvisioningCode) -> Finding:
    met = min(line.code for line in lines)
    return _finding("source.line_returns", write, lines, code, met=met, found=met)


def _finding(
    told: str,
    write: Write,
    lines: list[LiveLine],
    code: ProvisioningCode,
    *,
    met: str,
    variant: str = "",
    **facts: Fact,
) -> Finding:
    place, nodes = write.place, sorted({line.node for line in lines})
    return catalogue.finding(
        told,
        vantage=Vantage.STATIC,
        reporter=PROVISIONING,
        culprit=Culprit(node=PROVISIONING, file=place.source, line=place.line, text=write.text),
        variant=variant,
        detail={
            "commit": code.commit,
            "committed_at": code.committed_at.isoformat(),
            "code": code.lines.get(place),
            "written_to": write.file,
            "nodes": nodes,
            "met": met,
        },
        **facts,
        target=write.file,
        others=nodes,
        word=code.commit[:12],
        changed_at=f"{code.committed_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        origin=f"{write.caller.source}:{write.caller.line}" if write.caller is not None else None,
    )


def _address_of(line: LiveLine) -> str | None:
    """The address that the live line gives its names."""
    words = line.text.split()
    return words[0] if words and parse_address(words[0]) is not None else None


def is_undecided(finding: Finding, code: ProvisioningCode, text: str | None) -> bool:
    """Whether such a finding, not met again, may still hold. `text`: its file's, None where that could not be read
    whole. Its line is gone, or now writes something else: then it is over. It is there, and nobody knows what it writes
    (a template whose playbook could not be read): then it stays."""
    if text is None:
        return True
    quoted, file = finding.detail.get("code"), finding.culprit.file if finding.culprit is not None else None
    if not code.has_gaps or not text:
        return False
    if not isinstance(quoted, str):  # found by a certagent that kept no such line
        return True
    lines = {number: redact(line) for number, line in enumerate(code_lines(text), 1)}
    written = {write.place.line for write in code.writes if write.place.source == file}
    return quoted in lines.values() and not any(lines.get(number) == quoted for number in written)


def source_line_of(finding: Finding) -> SourceLine | None:
    """The line of the code that such a finding is about; None for any other finding."""
    culprit, commit = finding.culprit, finding.detail.get("commit")
    if culprit is None or culprit.file is None or culprit.line is None or not isinstance(commit, str):
        return None
    return SourceLine(
        file=culprit.file,
        line=culprit.line,
        text=culprit.text or "",
        commit=commit,
        committed_at=datetime.fromisoformat(str(finding.detail.get("committed_at"))),
        code=str(finding.detail["code"]) if finding.detail.get("code") else None,
    )


def lines_met(finding: Finding) -> list[LiveLine]:
    """The lines that such a finding was concluded from."""
    text = finding.culprit.text if finding.culprit is not None else None
    nodes, code = finding.detail.get("nodes"), str(finding.detail.get("met"))
    if text is None or not isinstance(nodes, list):
        return []
    return [LiveLine(str(node), str(finding.detail.get("written_to")), text, code) for node in nodes]
