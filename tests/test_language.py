"""What a person reads is plain English: turns of phrase that readers stumbled over stand nowhere any more.

Looked at is every string of the program but its docstrings, the pages' templates, the default policy, the README and
the other documents beside it, and docs/. What is quoted from a record of measurements stays as it was recorded.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import HOUSE, MODULES, nodes_of

ROOT = HOUSE.parent
TEXTS = (
    *HOUSE.rglob("*.html"),
    ROOT / "policies/default.toml",
    *(path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"),
    *(path for path in (ROOT / "docs").rglob("*.md") if not path.is_symlink()),
    *ROOT.glob("deploy/prometheus/*"),
)

RECORDED = {
    line
    for record in ROOT.glob("tests/bench/results/*.md")
    for line in record.read_text(encoding="utf-8").splitlines()
    if line.startswith("|")
}
"""The rows of measurements."""

INSTEAD = {
    r"nobody could look": "No agent next to the CA could run the check.",
    r"way (?:here|there) is open": "reachability is unverified",
    r"\b(?:cannot|not to|could not) be had\b": "is unavailable",
    r"\bnone of this\b": "is not configured on this node",
    r"\bmend(?:s|ed|ing)?\b": "fixed",
    r"speaks? against it": "no findings remain",
    r"\b[Ss]ee to [A-Z{]": "Check F",
    r"is what has to answer": "it must serve the challenge",
    r"waits? to be written": "Write queue full.",
    r"\bways? to a person\b": "notification channels",
    r"flatters?\b": "Worst results",
    r"\bonce more\.$": "say what is counted",
    r"\btakes? its \w+ along\b": "resolves its incidents",
    r"\bthe soonest\b": "expiring first",
    r"\bto die first\b": "expiring first",
    r"\bnot been heard since\b": "has not been heard from since",
    r"\b[Ss]peak(?:s|ing)? as\b": "authenticates as, connects as",
    r"\bcounts? for nothing\b": "is ignored",
    r"\btr(?:y|ies) again by itself\b": "retries automatically",
    r"\banew\b": "again, or a verb with re-",
    r"\bany more\b": "no longer",
    r"\bis no (?:table|file|directory|list|mode|port|URL|commit|address|regular|program|template)\b": "is not a",
    r"\bis no (?:domain|renewal|YAML|failure|clone)\b": "is not a",
    r"\bhas not the\b": "does not have the, or is malformed",
    r"\bis none of\b": "is not one of",
    r"\bnone that can\b": "cannot be used as",
    r"\b(?:is|are|was|has|have) put back\b": "is restored",
    r"\bputs? it back\b": "restores it",
    r"\bbehind the one that\b": "after the certificate that",
    r"\bchain behind\b": "its chain",
    r"\bswung\b": "switched",
    r"\bunopened\b": "without terminating TLS",
    r"\bnobody looks? after\b": "no agent watches or renews",
    r"\bnobody has looked\b": "not checked yet",
    r"\bnobody can look\b": "no check is possible now",
    r"\bnobody fill(?:s|ed)\b": "that was not filled in",
    r"\bnobody renews\b": "nothing renews it",
    r"\bnobody is told\b": "no alert is sent",
    r"\b(?:is|are) told (?:of|what|to know)\b": "is notified of",
    r"\bto be removed again\b": "to remove it later",
    r"\bone direction pass\b": "allows one direction only",
    r"\bothers than\b": "users other than",
    r"\blet only root\b": "make it writable by root only",
    r"\bexchanged (?:while|meanwhile|for)\b": "replaced",
    r"\bcannot be unpacked\b": "cannot be decompressed",
    r"\bonce more\b": "again",
    r"\bunder way\b": "in progress",
    r"\blaid over\b": "overrides",
    r"\bsigns? of life\b": "not heard from; heartbeat",
    r"\b(?:file|domain) of \w+'s\b": "of the fleet, of dnsmasq",
    r"\bwhat (?:came|became) of\b": "the result of",
    r"\ball the same\b": "anyway",
    r"\b[Ww]hoever (?:renews|writes|looks|orders|shows)\b": "the program that",
    r"\bstands alone\b": "cannot be combined with",
    r"\bis not there\b": "does not exist",
    r"\b(?:another|other) \w+ than\b": "a ... other than",
    r"\b(?:some|any|no)thing else than\b": "something other than",
    r"\bthe latest first\b": "latest first",
    r"\bis like that\b": "matches",
    r"\bnothing (?:is|could be) heard\b": "no contact with",
    r"\btaken? away\b": "removed",
    r"\bgo(?:es)? (?:together )?with (?:--|\w+\.)": "requires",
    r"\bby chance\b": "at random",
    r"\bbreaks off\b": "is cut off",
    r"\bmore than is\b": "more than certagent evaluates, than the collector stores",
    r"\btoo much of it\b": "expands to too much data",
    r"\blies? (?:in|on|outside|there|where)\b": "is in",
    r"\bin the place of\b": "in place of",
    r"\bin a namespace of its own\b": "in a separate namespace",
    r"\bdies? (?:in|within|when)\b": "expires",
    r"\bare dead\b": "have expired",
    r"\bunseen\b": "unchecked, not noticed",
    r"\bnot honest\b": "dishonest",
    r"\bnoted down\b": "recorded",
    r"\blives? \{": "is valid for",
    r"\bpoints at\b": "refers to",
    r"\blistens nowhere\b": "has no listener",
    r"\bnot what was kept\b": "was changed since",
    r"\bnothing but\b": "only",
    r"\bfrom then on\b": "after that",
    r"\b[Ee]nds? before\b": "expires before",
    r"\bended with status\b": "exited with status",
    r"\bgo(?:es)? by DNS\b": "uses the DNS answer",
    r"\bstands? (?:in|there|without|behind|alone)\b": "is in",
    r"\bcannot be followed\b": "cannot be evaluated",
    r"\bmade again\b": "recreated",
    r"\bnot told how\b": "say which setting is missing",
    r"\bof before\b": "the earlier",
    r"\bat hand\b": "available",
    r"\bthe way back\b": "to go back",
}
"""A pattern -> what to write."""


def _strings(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string but docstrings; of a composed one its fixed parts, with braces in between."""
    left_out, composed = set(), []
    for node in nodes_of(path):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            composed.append(node)
            left_out |= {id(part) for part in ast.walk(node)}
    for whole in composed:
        parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in whole.values)
        yield whole.lineno, "".join(map(str, parts))
    for node in nodes_of(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.lineno, node.value


def _read() -> Iterator[tuple[str, str]]:
    """(place, text) of all that is looked at."""
    for path in MODULES:
        yield from ((f"{path.relative_to(ROOT)}:{line}", text) for line, text in _strings(path))
    for path in TEXTS:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line not in RECORDED:
                yield f"{path.relative_to(ROOT)}:{number}", line


EVERYTHING = tuple(_read())


def test_strings_are_found() -> None:
    """Messages, findings and pages; no docstring."""
    texts = [text for _, text in EVERYTHING]
    assert "interrupted" in texts
    assert any("overrides DNS, so the CA connects to the wrong address" in text for text in texts)
    assert not any(text.startswith("The command line: wiring and rendering.") for text in texts)


@pytest.mark.parametrize(("pattern", "instead"), INSTEAD.items(), ids=list(INSTEAD))
def test_a_turn_of_phrase_is_gone(pattern: str, instead: str) -> None:
    """The place that still has it is named; `INSTEAD` says what to write."""
    found = {place: text.strip() for place, text in EVERYTHING if re.search(pattern, text, re.MULTILINE)}
    assert found == {}, f"write: {instead}"
