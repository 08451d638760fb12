"""The documents pass proselint: no clichés, no redundant or misused words. Code in them is not looked at."""

import json
import re
import subprocess
import sys
from pathlib import Path

from deploy.reference.__main__ import PAGES as GENERATED
from tests.documents import DOCS, WRITTEN

OFF = {
    "lexical_illusions": "a heading may begin with the word that its paragraph begins with",
    "typography.symbols.curly_quotes": "Markdown and code have straight quotes",
}
"""A check of proselint's that is switched off -> why."""

_BLOCK = re.compile(r"^ *```.*?^ *```$|^ {4,}[^ ].*?$", re.DOTALL | re.MULTILINE)
_WORD = re.compile(r"``[^`]+``|`[^`]+`")
_TARGET = re.compile(r"(?<=\])\([^)\s]*\)")


def _prose_of(text: str) -> str:
    """The text without its code and the targets of its links; each line keeps its number."""
    prose = _BLOCK.sub(lambda block: "\n" * block.group().count("\n"), text)
    return _TARGET.sub("", _WORD.sub(lambda word: "code" + "\n" * word.group().count("\n"), prose))


def _complaints(texts: dict[str, str], folder: Path) -> list[str]:
    """What proselint says of the texts, by their names."""
    (folder / "config.json").write_text(json.dumps({"checks": dict.fromkeys(OFF, False)}), encoding="utf-8")
    pages = {str(folder / name.replace("/", "_")): text for name, text in texts.items()}
    for page, text in pages.items():
        Path(page).write_text(_prose_of(text), encoding="utf-8")
    words = [sys.executable, "-m", "proselint", "check", "--config", str(folder / "config.json"), *pages]
    answer = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert answer.returncode in (0, 1), answer.stderr
    return [line.removeprefix(f"{folder}/") for line in answer.stdout.splitlines() if line]


def test_the_documents_have_no_complaint(tmp_path: Path) -> None:
    """README, docs/ and what lies beside them, written and generated."""
    generated = {name: (DOCS / name).read_text(encoding="utf-8") for name in GENERATED}
    assert len(WRITTEN) > 20
    assert _complaints(WRITTEN | generated, tmp_path) == []


def test_a_mistake_is_found_in_prose_and_not_in_code(tmp_path: Path) -> None:
    """The checks that are left on are on."""
    texts = {
        "wrong.md": "# Title\n\nIt was the final outcome.\n",
        "code.md": "```text\nThe final outcome.\n```\n`final outcome`\n",
    }
    (complaint,) = _complaints(texts, tmp_path)
    assert complaint.startswith("wrong.md:3:12: redundancy.misc.")
