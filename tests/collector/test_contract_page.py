"""docs/several-collectors.md: each sentence names a test that there is."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "several-collectors.md"


def test_every_sentence_of_the_contract_has_its_test() -> None:
    """Each row of the tables; `…` stands for the file that was named before, and `system/` for `tests/system/`."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "| test, in" not in line]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`((?:\w+/)?test_\w+\.py|…)::(test_\w+)`", row.rsplit("|", 2)[1])
        assert named, row
        file = ""
        for place, name in named:
            file = file if place == "…" else place
            folder = Path(__file__).parents[1] if "/" in file else Path(__file__).parent
            assert f"def {name}(" in (folder / file).read_text(), f"{file}::{name}"
