"""The threat model's tables line by line: each line of an attack names tests, and these exist."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs" / "security.md"
MUST_HOLD = (
    "SSRF by name",
    "SSRF by redirect",
    "SSRF by rebinding, live",
    "SSRF by IPv4-mapped addresses",
    "SSRF by scoped addresses",
    "CSRF by a session",
    "The Host header",
    "cookie flags",
    "session after logout",
    "session after a password change",
    "keys never readable",
    "exactly once over 30 kills",
    "PostgreSQL stopped under load",
)


class Line:
    """A row of one of the tables of attacks."""

    def __init__(self, row: str) -> None:
        self.attack, self.defence, shown = (cell.strip() for cell in row.strip().strip("|").split("|"))
        self.tests = re.findall(r"`([^`]+)`", shown)


def _lines() -> Iterator[Line]:
    is_of_attacks = False
    for row in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if not row.startswith("|"):
            is_of_attacks = False
        elif row.replace(" ", "") == "|attack|whatstopsit|shownby|":
            is_of_attacks = True
        elif is_of_attacks and not row.startswith("|---"):
            yield Line(row)


LINES = list(_lines())


@cache
def _tests_in(path: Path) -> frozenset[str]:
    """The test functions of that file, those of classes as `Class::name`."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        before = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {
            before + one.name
            for one in inner
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name.startswith("test_")
        }
    return frozenset(found)


def test_there_are_tables() -> None:
    """So that no other heading empties them."""
    assert len(LINES) >= 60


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.attack[:60])
def test_each_line_names_tests_that_exist(line: Line) -> None:
    """By file and name; and what stops the attack is said."""
    assert line.defence
    assert line.tests, f"no test shows: {line.attack}"
    for named in line.tests:
        file, _, test = named.partition("::")
        assert file.startswith("tests/")
        assert (REPOSITORY / file).is_file(), f"there is no {file}"
        assert test in _tests_in(REPOSITORY / file), f"{file} has no {test}"


@pytest.mark.parametrize("words", MUST_HOLD)
def test_what_must_hold_is_a_line(words: str) -> None:
    """What withstood the attack on the first collector, and has to go on."""
    assert [line for line in LINES if words in line.attack]


def test_the_tests_of_this_folder_are_in_the_document() -> None:
    """Each file of attacks is named by a line at least."""
    named = {test.partition("::")[0] for line in LINES for test in line.tests}
    files = {f"tests/security/{path.name}" for path in Path(__file__).parent.glob("test_*.py")}
    assert files - {"tests/security/test_threat_model.py"} <= named
