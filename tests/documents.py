"""The documents that are written by hand, as values: README, docs/ and what lies beside them; their blocks, tables."""

import re
from pathlib import Path

from deploy.reference.__main__ import PAGES as GENERATED

TREE = Path(__file__).parents[1]
DOCS = TREE / "docs"
README = (TREE / "README.md").read_text(encoding="utf-8")
WRITTEN = {
    str(path.relative_to(TREE)): path.read_text(encoding="utf-8")
    for path in (*TREE.glob("*.md"), *DOCS.rglob("*.md"))
    if path.name not in GENERATED and path.name != "CHANGELOG.md" and not path.is_symlink()
}
"""Page -> its text; the generated ones are held by test_reference.py."""


def page_text(name: str) -> str:
    """The text of a page of docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def section_of(text: str, heading: str) -> str:
    """What stands below that heading, up to the next one of its level."""
    assert f"\n{heading}\n" in text, heading
    level = heading.partition(" ")[0]
    return re.split(rf"^{level} ", text.partition(f"\n{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def blocks_of(text: str, language: str) -> list[str]:
    """What stands in blocks of that language, without the indentation of lists."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def rows_of(text: str) -> list[list[str]]:
    """The cells of each line of a table; a bar that is escaped stays in its cell."""
    lines = (line for line in text.splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def without_blocks(text: str) -> str:
    """Prose, tables and headings alone."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
