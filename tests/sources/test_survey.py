"""The table: what is found of what the snippets write, family by family; the part that is kept apart counts as well."""

from pathlib import Path

import pytest

from certagent.domain.sources.survey import survey
from tests.sources.truth import FAMILIES, KEPT_APART, SNIPPETS, UNKNOWN, Snippet, read_snippets

Line = tuple[object, ...]


def _found(snippet: Snippet) -> set[Line]:
    files = {str(path.relative_to(snippet.folder)): path.read_text(encoding="utf-8") for path in snippet.files()}
    result = survey(files)
    assert result.notes == ()
    return {
        (write.node, write.file, write.text, *write.place, str(write.sureness), str(write.mode), write.guarded)
        for write in result.writes
    }


def _expected(snippet: Snippet) -> set[Line]:
    return {
        (one.node, one.file, one.text, one.source, one.line, one.sure, one.mode, one.guarded)
        for one in snippet.truth.write
    }


@pytest.mark.parametrize("root", [SNIPPETS, KEPT_APART], ids=["shown", "kept apart"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_found_and_nothing_else(family: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At least 90 % of the lines, each with its node, file, text, sureness and the exact line; and no false one."""
    snippets = read_snippets(root, family)
    expected = {(snippet.name, *line) for snippet in snippets for line in _expected(snippet)}
    found = {(snippet.name, *line) for snippet in snippets for line in _found(snippet)}
    unknown = sum(UNKNOWN in str(line[3]) for line in found)
    with capsys.disabled():
        print(f"\n{family} ({root.name}): {len(found & expected)} of {len(expected)} lines found,", end=" ")
        print(f"{len(found - expected)} false, {unknown} with unknown parts")
    assert found - expected == set()
    assert len(found & expected) >= 0.9 * len(expected)


def _silent() -> tuple[Snippet, ...]:
    snippets = read_snippets(SNIPPETS) + read_snippets(KEPT_APART)
    return tuple(snippet for snippet in snippets if not snippet.truth.write)


@pytest.mark.parametrize("snippet", _silent(), ids=lambda snippet: snippet.name)
def test_code_that_writes_nothing_has_no_find(snippet: Snippet) -> None:
    """Comments, messages, dead code, other files."""
    assert _found(snippet) == set()
