"""`python -m deploy.reference` writes the reference pages into docs/.

`python -m deploy.reference FOLDER` makes FOLDER/man/man1/*.1 and FOLDER/completion/{bash,zsh,fish}/*, for packages.
"""

import sys
from pathlib import Path

from deploy.reference import command_page, completions, configuration_page, finding_page, man_pages

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    "configuration.md": configuration_page.make,
    "commands.md": command_page.make,
    "findings.md": finding_page.make,
}
"""Name in docs/ -> what makes it."""


def write_pages() -> None:
    """All of `PAGES`."""
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")


def write_for_packages(folder: Path) -> None:
    """Manual pages and completions, as a package installs them."""
    for path, text in (man_pages.make() | completions.make()).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_for_packages(Path(sys.argv[1])) if sys.argv[1:] else write_pages()
