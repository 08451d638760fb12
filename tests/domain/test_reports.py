"""Change sets by content: whole lines, bounded for whatever the files hold."""

import time

import pytest

from certagent.domain.reports import MOST_LINES, FileChange, compare


def changed(before: bytes | None, after: bytes | None) -> FileChange:
    """The one change."""
    (change,) = compare({"hosts": before}, {"hosts": after})
    return change


@pytest.mark.parametrize(
    ("before", "after", "removed", "added"),
    [
        (b"a\nb\nc\n", b"a\nB\nc\n", ("b",), ("B",)),
        (b"a\nc\n", b"a\nb\nc\n", (), ("b",)),
        (b"a\nb\na\n", b"a\n", ("b", "a"), ()),
        (b"a\na\n", b"a\na\na\n", (), ("a",)),
        (b"x\na\nb\ny\n", b"x\nb\na\ny\n", ("a", "b"), ("b", "a")),
        (b"a\nb", b"a\nb\n", (), ()),
        (b"a\n", None, ("a",), ()),
        (None, b"a\xff\n", (), ("a\ufffd",)),
    ],
    ids=["replaced", "inserted", "removed", "repeated", "moved", "line-end", "gone", "come"],
)
def test_lines_that_went_and_came(
    before: bytes | None, after: bytes | None, removed: tuple[str, ...], added: tuple[str, ...]
) -> None:
    """In their order; what only changed places counts as both."""
    change = changed(before, after)
    assert (change.removed, change.added, change.exists) == (removed, added, after is not None)


def test_the_same_content_is_no_change() -> None:
    """Whatever the events said."""
    assert compare({"hosts": b"a\n"}, {"hosts": b"a\n"}) == ()


def test_a_very_large_change_is_cut_and_says_so() -> None:
    """200 lines of each kind, 500 characters of each line."""
    change = changed(b"", b"x" * 600 + b"\n" + b"line\n" * 10_000)
    assert (len(change.added), len(change.added[0])) == (MOST_LINES, 500)
    assert change.left_out == 10_001 - MOST_LINES + 1


def test_hostile_lines_cost_no_more_than_others() -> None:
    """Half of them alike, half of them not: a minimal difference of 4,000 such lines took 450 s."""
    lines = 100_000
    before = b"x\n" * lines
    after = b"".join(b"x\n" if number % 2 else b"%d\n" % number for number in range(lines))
    began_at = time.process_time()
    assert changed(before, after).left_out > 0
    assert time.process_time() - began_at < 5
