"""What README and docs/ point to is there: pictures, paths, links, quoted code; and the site builds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.reference.markdown import anchor
from tests.documents import DOCS, TREE, WRITTEN, blocks_of, without_blocks

# --- pictures, paths, links -------------------------------------------------------------------------------------------


def test_the_pictures_are_there_and_small() -> None:
    """Taken by tests/e2e/screenshots/run; each has words for who cannot see it."""
    pictures = {name: re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", text) for name, text in WRITTEN.items()}
    taken = ("overview", "incident", "path", "node", "history")
    assert [path for _, path in pictures["README.md"]] == [f"docs/screenshots/{name}.webp" for name in taken]
    assert {path for _, path in pictures["docs/dashboard.md"]} == {f"screenshots/{name}.webp" for name in taken}
    for name, of_page in pictures.items():
        for words, path in of_page:
            file = TREE / Path(name).parent / path
            assert len(words) > 40
            assert file.read_bytes()[8:12] == b"WEBP"
            assert file.stat().st_size < 150_000


@pytest.mark.parametrize("name", WRITTEN)
def test_every_path_of_the_tree_that_is_named_exists(name: str) -> None:
    """A newcomer follows them."""
    paths = set(re.findall(r"(?<![\w/.-])(?:\./)?((?:deploy|tests|policies|docs|certagent)/[\w./-]+)", WRITTEN[name]))
    assert name != "README.md" or {"deploy/quickstart", "tests/run"} <= paths
    for path in paths:
        assert (TREE / path.rstrip(".")).exists(), path


@pytest.mark.parametrize("name", WRITTEN)
def test_its_links_lead_somewhere(name: str) -> None:
    """To a file of the tree, and to a heading in it; as plain Markdown, without the site."""
    for target, fragment in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", without_blocks(WRITTEN[name])):
        file = TREE / Path(name).parent / target if target else TREE / name
        assert file.is_file(), target
        if fragment:
            headings = re.findall(r"^#+ (.*)$", without_blocks(file.read_text(encoding="utf-8")), re.MULTILINE)
            assert fragment in map(anchor, headings), (target, fragment)


UPPER = r"\b(?:DESIGN|FACTS|FAULTS|NAMES|STYLE)"
SOURCES = [
    path
    for folder in ("certagent", "deploy", "tests", "policies")
    for path in (TREE / folder).rglob("*")
    if path.suffix in (".py", ".toml", ".sh", ".service", ".yml", ".html") and path.is_file()
]


def test_nothing_cites_a_document_that_is_not_there() -> None:
    """Pages by their path, decisions by their number."""
    records = {int(path.name[:2]) for path in (DOCS / "decisions").glob("[0-9]*.md")}
    assert records == set(range(1, len(records) + 1))
    for path in SOURCES:
        text = path.read_text(encoding="utf-8", errors="replace")
        for page in re.findall(r"\bdocs/[\w/-]+\.md\b", text):
            assert (TREE / page).is_file(), (path, page)
        for number in re.findall(r"\b[Dd]ecisions? (\d+)", text):
            assert int(number) in records, (path, number)
        assert not re.search(rf"{UPPER}(?:\.md\b|, (?:rule|section))|[ \n]\({UPPER}[,:)]", text), path


def test_what_is_quoted_from_the_code_is_there() -> None:
    """The worked examples: line by line, whatever the indentation."""
    sources = "\n".join(
        line.strip() for path in (TREE / "certagent").rglob("*.py") for line in path.read_text("utf-8").splitlines()
    )
    quoted = [block for text in WRITTEN.values() for block in blocks_of(text, "python")]
    assert len(quoted) >= 2
    for block in quoted:
        assert "\n".join(line.strip() for line in block.strip().splitlines()) in sources, block


# --- issues -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((TREE / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem)
def test_an_issue_form_is_well_formed(path: Path) -> None:
    """As GitHub wants it: a name, a description, and fields with an id and a label."""
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "config":
        assert form == {"blank_issues_enabled": True}
        return
    assert set(form) == {"name", "description", "labels", "body"}
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 0
    assert all(field["attributes"]["label"] for field in fields)
    assert {field["type"] for field in fields} <= {"input", "textarea", "dropdown"}


# --- the site ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    """No warning: each page is in the navigation, and each link and anchor of it leads somewhere."""
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=TREE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for page in DOCS.rglob("*.md"):
        built = tmp_path / "site" / page.relative_to(DOCS).with_suffix("")
        assert (built / "index.html").is_file() or built.with_name("index.html").is_file(), page
    loaded = re.findall(
        r'(?:src|href)="(https?://[^"]+\.(?:js|css|woff2?))"', (tmp_path / "site/index.html").read_text()
    )
    assert loaded == [], "the site loads nothing from elsewhere"
