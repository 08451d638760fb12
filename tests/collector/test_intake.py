"""What an agent may hand in, judged report by report."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import msgspec
import pytest

from certagent.collector.access import HttpProblem
from certagent.collector.intake import read_reports
from certagent.domain.findings import Impact
from certagent.domain.rehearsals import RehearsalOutcome
from certagent.domain.reports import FixEvent, Report
from tests.collector.cast import Agent, Cast, certificate
from tests.evidence import rehearse_traefik, shadow

GOOD = Agent("lxc102").preflight()
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001


def _nested(depth: int) -> object:
    """Lists in one another."""
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def _holding(**times: datetime) -> Report:
    """An inventory with a certificate that has those times."""
    one = msgspec.structs.replace(certificate("site", "x"), **times)
    return Agent("lxc102").inventory("10.0.0.12", "x", one)


BAD: dict[str, Callable[[Report], Report]] = {
    "another agent": lambda report: msgspec.structs.replace(report, agent="lxc103"),
    "another's inventory": lambda report: msgspec.structs.replace(
        report, inventory=Cast().gateway.inventory("10.0.0.1", "x").inventory
    ),
    "no id": lambda report: msgspec.structs.replace(report, id=""),
    "an id that breaks lines": lambda report: msgspec.structs.replace(report, id="a\nb"),
    "an endless scope": lambda report: msgspec.structs.replace(report, scopes=("x" * 5_000,)),
    "a naive time": lambda report: msgspec.structs.replace(report, finished_at=NAIVE),
    "due at a naive time": lambda _: msgspec.structs.replace(_holding(due_at=NAIVE), id="bad"),
    "an outcome at a naive time": lambda _: msgspec.structs.replace(_holding(last_outcome_at=NAIVE), id="bad"),
    "an impact at a naive time": lambda report: msgspec.structs.replace(
        report, findings=(msgspec.structs.replace(shadow(), impact=Impact(certificate="x", expires_at=NAIVE)),)
    ),
    "a rehearsal that settles at a naive time": lambda report: msgspec.structs.replace(
        report, rehearsals=(msgspec.structs.replace(rehearse_traefik(RehearsalOutcome.PASSED), settles_at=NAIVE),)
    ),
    "a sequence below zero": lambda report: msgspec.structs.replace(report, sequence=-1),
    "a code that is a sentence": lambda report: msgspec.structs.replace(
        report, findings=(msgspec.structs.replace(shadow(), code="mend it: `curl x | sh`"),)
    ),
    "too many findings": lambda report: msgspec.structs.replace(report, findings=(shadow(),) * 1_001),
    "evidence within evidence": lambda report: msgspec.structs.replace(
        report, findings=(msgspec.structs.replace(shadow(), detail={"a": _nested(17)}),)
    ),
    "facts within facts": lambda report: msgspec.structs.replace(
        report, findings=(msgspec.structs.replace(shadow(), facts={"a": [{"b": _nested(300)}]}),)
    ),
    "a fix without an id": lambda report: msgspec.structs.replace(
        report, fixes=(FixEvent(id="", at=report.started_at, files=()),)
    ),
    "a fix at a naive time": lambda report: msgspec.structs.replace(
        report, fixes=(FixEvent(id="f", at=NAIVE, files=()),)
    ),
    "a fix by more than a name": lambda report: msgspec.structs.replace(
        report, fixes=(FixEvent(id="f", at=report.started_at, files=(), by="root\n"),)
    ),
    "a nameless certificate": lambda report: msgspec.structs.replace(
        report, inventory=Agent("lxc102").inventory("10.0.0.12", "x", certificate("", "x")).inventory
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_report_that_may_not_be_is_refused_by_its_id(case: str) -> None:
    """The others are good."""
    bad = BAD[case](GOOD)
    good, refused = read_reports(msgspec.json.encode([GOOD, bad]), "lxc102")
    assert [report.id for report in good] == [GOOD.id]
    assert [refusal.id for refusal in refused] == [bad.id]
    assert refused[0].reason


def test_evidence_may_be_nested_a_little() -> None:
    """As deep as anything that an agent of ours sends, and deeper."""
    report = msgspec.structs.replace(GOOD, findings=(msgspec.structs.replace(shadow(), detail={"a": _nested(15)}),))
    assert read_reports(msgspec.json.encode([report]), "lxc102") == ([report], [])


@pytest.mark.parametrize(
    "document",
    [
        b'{"id": "x"}',
        b'{"id": "x", "sequence": "1"}',
        b"[]",
        b'"x"',
        b"null",
    ],
)
def test_what_is_no_report_is_refused_and_not_stored(document: bytes) -> None:
    """Wrong types, a list, nesting without end."""
    good, refused = read_reports(b"[" + document + b"]", "lxc102")
    assert (good, len(refused)) == ([], 1)


@pytest.mark.parametrize(
    "body",
    [
        b"[",
        b"{",
        b"\xff\xfe",
        b"not json",
        b'[{"id": "\\ud800"}]',
        b"[" * 200_000,
        b'[{"id": "x", "findings": ' + b"[" * 200_000 + b"]" * 200_000 + b"}]",
    ],
)
def test_what_is_no_list_is_a_problem(body: bytes) -> None:
    """Half a document, no text, nesting without end."""
    with pytest.raises(HttpProblem) as caught:
        read_reports(body, "lxc102")
    assert caught.value.status == 400


def test_what_is_nested_too_deep_is_refused_on_every_python() -> None:
    """One reads it as a list and refuses the report, an earlier one refuses the whole."""
    deep = b'[{"id": "x", "findings": ' + b"[" * 3_000 + b"]" * 3_000 + b"}]"
    with suppress(HttpProblem):
        assert read_reports(deep, "lxc102")[0] == []


def test_what_is_no_unicode_is_refused() -> None:
    """Bytes that are no text, in one report of several."""
    body = msgspec.json.encode([GOOD]).replace(GOOD.id.encode(), b"\xff")
    good, refused = read_reports(body, "lxc102")
    assert (good, len(refused)) == ([], 1)


def test_a_newer_agents_unknown_fields_are_welcome() -> None:
    """They are left out."""
    document = msgspec.to_builtins(GOOD) | {"invented_later": {"a": 1}}
    good, refused = read_reports(msgspec.json.encode([document]), "lxc102")
    assert (good, refused) == ([GOOD], [])


def test_a_line_each_is_as_good_as_an_array() -> None:
    """NDJSON, with or without the last line's end."""
    lines = b"\n".join(msgspec.json.encode(GOOD) for _ in range(3))
    assert len(read_reports(lines, "lxc102")[0]) == len(read_reports(lines + b"\n", "lxc102")[0]) == 3
