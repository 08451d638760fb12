"""Change sets: what became of watched files, decided by content. Pure."""

from collections.abc import Mapping
from difflib import SequenceMatcher

from certagent.domain.reports import FileChange

Contents = Mapping[str, bytes | None]
"""Path -> content; None for a file that does not exist or cannot be read."""


def compare(before: Contents, after: Contents) -> tuple[FileChange, ...]:
    """The files whose content (or existence) differs, in the order of `after`."""
    return tuple(
        _describe(path, before.get(path), content) for path, content in after.items() if before.get(path) != content
    )


def _describe(path: str, before: bytes | None, after: bytes | None) -> FileChange:
    old, new = _lines(before), _lines(after)
    removed: list[str] = []
    added: list[str] = []
    for tag, old_from, old_to, new_from, new_to in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            removed += old[old_from:old_to]
            added += new[new_from:new_to]
    return FileChange(file=path, exists=after is not None, removed=tuple(removed), added=tuple(added))


def _lines(content: bytes | None) -> list[str]:
    return [] if content is None else content.decode("utf-8", "replace").splitlines()
