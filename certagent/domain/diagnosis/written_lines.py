"""Conclusions from live lines and provisioning code together: which line of the code wrote a line that led the CA or a
client astray. Matched by content; pure."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from certagent.domain import catalogue
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.incidents import SourceLine
from certagent.domain.resolution.file_formats import HOSTS_FILE, parse_address
from certagent.domain.sources.writes import SHOWN_UNKNOWN, Write

PROVISIONING = "provisioning"
"""The node under which the provisioning code's own incidents stand: it is on none of the fleet's."""
_OF_AUTHORITY = "dns.hosts_shadow.authority"


class LiveLine(msgspec.Struct, frozen=True):
    """A line of an incident, whether or not the incident is over. `code`: the incident's."""

    node: str
    file: str
    text: str
    code: str


def is_written_by(write: Write, file: str, text: str) -> bool:
    """Whether the code writes that line: the same fields, whatever is between them; what the code does not tell fits
    anything, as long as it tells a name."""
    told, live = write.text.partition("#")[0].split(), text.partition("#")[0].split()
    if write.file != file or len(told) != len(live) or len(told) < 2:
        return False
    known = [field for field in told if SHOWN_UNKNOWN not in field]
    fits = all(SHOWN_UNKNOWN in field or field == other for field, other in zip(told, live, strict=True))
    return fits and any(field in live[1:] for field in known)


def lines_come_back(
    writes: Iterable[Write], live: Iterable[LiveLine], commit: str, committed_at: datetime
) -> Iterator[Finding]:
    """source.hosts_pinned.*: a line of the code wrote what is, or was, an incident; the next run writes it again."""
    kept = [write for write in writes if write.file == HOSTS_FILE]
    met: dict[Write, list[LiveLine]] = {}
    for line in live:
        for write in kept:
            if is_written_by(write, line.file, line.text):
                met.setdefault(write, []).append(line)
    seen = set()
    for write, lines in met.items():
        if (write.place, write.text) not in seen:
            seen.add((write.place, write.text))
            yield _finding(write, lines, commit, committed_at)


def _finding(write: Write, lines: list[LiveLine], commit: str, committed_at: datetime) -> Finding:
    by_ca = any(line.code == _OF_AUTHORITY for line in lines)
    place, nodes = write.place, sorted({line.node for line in lines})
    return catalogue.finding(
        "source.hosts_pinned.authority" if by_ca else "source.hosts_pinned.client",
        vantage=Vantage.STATIC,
        reporter=PROVISIONING,
        culprit=Culprit(node=PROVISIONING, file=place.source, line=place.line, text=write.text),
        variant="live",
        detail={
            "commit": commit,
            "committed_at": committed_at.isoformat(),
            "written_to": write.file,
            "nodes": nodes,
            "met": _OF_AUTHORITY if by_ca else "",
        },
        target=write.file,
        address=next(filter(None, map(_address_of, lines)), None),
        others=nodes,
        word=commit[:12],
        changed_at=f"{committed_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        origin=f"{write.caller.source}:{write.caller.line}" if write.caller is not None else None,
    )


def _address_of(line: LiveLine) -> str | None:
    """The address that the live line gives its names."""
    words = line.text.split()
    return words[0] if words and parse_address(words[0]) is not None else None


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
    )


def lines_met(finding: Finding) -> list[LiveLine]:
    """The lines that such a finding was concluded from."""
    text = finding.culprit.text if finding.culprit is not None else None
    nodes, code = finding.detail.get("nodes"), str(finding.detail.get("met"))
    if text is None or not isinstance(nodes, list):
        return []
    return [LiveLine(str(node), str(finding.detail.get("written_to")), text, code) for node in nodes]
