"""Change sets: what became of watched files, decided by content. Pure.

Costs time in proportion to the files, whatever is in them: a minimal difference of hostile lines takes minutes.
"""

from collections import Counter
from collections.abc import Mapping

from certagent.domain.reports import FileChange

Contents = Mapping[str, bytes | None]
"""Path -> content; None for a file that does not exist or cannot be read."""

MOST_LINES = 200  # of each kind in one change; who edits by hand changes few
_LONGEST_LINE = 500


def compare(before: Contents, after: Contents) -> tuple[FileChange, ...]:
    """The files whose content (or existence) differs, in the order of `after`."""
    return tuple(
        _describe(path, before.get(path), content) for path, content in after.items() if before.get(path) != content
    )


def _describe(path: str, before: bytes | None, after: bytes | None) -> FileChange:
    old, new = _between_ends(_lines(before), _lines(after))
    removed, added = _beyond(old, new), _beyond(new, old)
    if not removed and not added:  # the same lines in another order
        removed, added = old, new
    return FileChange(
        file=path,
        exists=after is not None,
        removed=tuple(line[:_LONGEST_LINE] for line in removed[:MOST_LINES]),
        added=tuple(line[:_LONGEST_LINE] for line in added[:MOST_LINES]),
        left_out=_left_out(removed) + _left_out(added),
    )


def _between_ends(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """Both without the lines that they begin and end with alike."""
    shorter = min(len(old), len(new))
    head = next((at for at in range(shorter) if old[at] != new[at]), shorter)
    tail = next((at for at in range(shorter - head) if old[-1 - at] != new[-1 - at]), shorter - head)
    return old[head : len(old) - tail], new[head : len(new) - tail]


def _beyond(lines: list[str], others: list[str]) -> list[str]:
    """What is in `lines` more often than in `others`, in its order."""
    left = Counter(lines)
    left.subtract(others)
    beyond = []
    for line in lines:
        if left[line] > 0:
            left[line] -= 1
            beyond.append(line)
    return beyond


def _left_out(lines: list[str]) -> int:
    """How many lines are not shown, or not whole."""
    too_long = sum(len(line) > _LONGEST_LINE for line in lines[:MOST_LINES])
    return max(0, len(lines) - MOST_LINES) + too_long


def _lines(content: bytes | None) -> list[str]:
    return [] if content is None else content.decode("utf-8", "replace").splitlines()
