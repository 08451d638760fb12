"""The bench's table: what is met, what is not, and what flatters us least."""

from pathlib import Path

import msgspec
import pytest

from tests.bench.rows import IN_SHORT, Row, against, as_document, as_markdown, least_flattering, of, quantile


def row(ours: float, **more: object) -> Row:
    """One figure."""
    return of("a thing", "s", [ours], "all of it", **more)


@pytest.mark.parametrize(
    ("ours", "bar", "at_least", "met"),
    [(0.5, 0.5, False, True), (0.51, 0.5, False, False), (3_000, 3_000, True, True), (2_999, 3_000, True, False),
     (0, 0, False, True), (1, 0, False, False), (0, 10, True, False)],
)  # fmt: skip
def test_a_bar_is_met_or_not(ours: float, bar: float, at_least: bool, met: bool) -> None:
    """On either side, and at nought."""
    assert row(ours, bar=bar, at_least=at_least).met is met


def test_a_bar_may_be_for_the_ratio() -> None:
    """Half of the peer's, by the medians."""
    beside = against(row(0.06), "lego", [0.2, 0.1, 0.12], "its process", 0.5)
    assert beside.peer == 0.12
    assert beside.ratio == 0.5
    assert beside.met is True
    assert against(row(0.07), "lego", [0.12], "its process", 0.5).met is False


def test_without_a_bar_nothing_is_met() -> None:
    """It is a figure, and no claim."""
    assert row(1).met is None
    assert against(row(1), "lego", [2.0], "its process").met is None


def test_several_runs_are_their_median_and_their_spread() -> None:
    """Both in the table."""
    told = of("a thing", "s", [1.0, 9.0, 2.0], "all of it")
    assert told.ours == 2.0
    assert "2 s (1-9, n=3)" in as_markdown([told], "Bench", [], [])


@pytest.mark.parametrize(("share", "value"), [(0.5, 51), (0.99, 100), (1.0, 100)])
def test_a_quantile_is_one_of_the_values(share: float, value: int) -> None:
    """Of few values the largest."""
    assert quantile(list(range(1, 101)), share) == value
    assert quantile([7.0], share) == 7.0


def test_of_two_bars_both_have_to_be_met() -> None:
    """The table has both."""
    one = against(row(7, bar=8), "lego", [9.0], "it", 0.4)
    assert one.met is False
    assert one.strain == pytest.approx(7 / 9 / 0.4)
    assert "| <= 8 s, <= 0.4 x lego | **NO** |" in as_markdown([one], "Bench", [], [])


def test_what_flatters_least_is_printed_too() -> None:
    """The bar that is used up most, and the peer that is nearest; what has neither is not asked."""
    near, far, beside, plain = row(9, bar=10), row(1, bar=10), against(row(3), "uacme", [1.0], "it"), row(5)
    assert least_flattering([far, near, plain, beside]) == [near, beside]
    assert least_flattering([plain]) == []
    assert "a thing: 9 s, 90% of its bar" in as_markdown([far, near], "Bench", [], [])


def test_what_could_not_be_measured_is_in_the_table() -> None:
    """At its top, and what was not met in bold."""
    told = as_markdown([row(2, bar=1)], "Bench", ["a machine"], ["idle: it broke"])
    assert "- idle: it broke" in told
    assert "| **NO** |" in told


def test_the_document_says_ratio_and_verdict() -> None:
    """For programs that do not compute."""
    document = as_document(against(row(1), "lego", [2.0], "it", 0.4))
    assert (document["ratio"], document["met"]) == (0.5, False)
    assert msgspec.json.encode(document)


def test_the_documentation_quotes_the_latest_table() -> None:
    """Every figure and the machine, as they were measured; and what flatters us least."""
    here = Path(__file__)
    page = (here.parents[2] / "docs" / "measurements.md").read_text().splitlines()
    latest = max((here.parent / "results").glob("*.md")).read_text()
    told = [line for line in latest.partition("## What is inside")[0].splitlines() if line.startswith(("|", "-"))]
    assert len(told) > 20
    assert [line for line in told if line not in page] == []


def test_the_readme_has_the_rows_that_matter_as_they_were_measured_last() -> None:
    """All of them, the worst first."""
    here = Path(__file__)
    latest = max((here.parent / "results").glob("*.md")).read_text()
    short = latest.partition("## In short\n\n")[2].partition("\n\n")[0]
    assert len(short.splitlines()) == 2 + len(IN_SHORT)
    assert short in (here.parents[2] / "README.md").read_text()
