"""Preflight against the real CA: the latest campaign that is kept. It takes hours of a lab; nothing is run here."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.bench.rows import Row, of

_KEPT = Path(__file__).parents[1] / "e2e" / "campaign"


def measure() -> Iterator[Row]:
    """What it says at its top."""
    table = max(_KEPT.glob("*.md"))
    told = dict(re.findall(r"^- ([a-z ]+): ([0-9.]+)%?$", table.read_text(), re.MULTILINE))
    inside = f"the campaign of {table.stem}: every fault, compositions of two, a fresh process of the CA for each"
    yield of("preflight against the CA, pairs", "", [float(told["pairs"])], inside, bar=300, at_least=True)
    yield of("preflight against the CA, agreement", "%", [float(told["agreement"])], inside, bar=99, at_least=True)
    yield of("preflight against the CA, false blocks", "", [float(told["false blocks"])], inside, bar=0)
    accuracy = [float(told["culprit accuracy"])]
    yield of("preflight against the CA, first culprit right", "%", accuracy, inside, bar=95, at_least=True)
