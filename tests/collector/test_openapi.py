"""The API does what its description says, whatever is sent: Schemathesis against the running server, bounded."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.collector.process import Collector
from tests.evidence import shadow
from tests.tiers import Tiers

pytestmark = pytest.mark.slow

_GENERATOR_WARNINGS = "too_slow,data_too_large"  # a report is a large document; nothing of the answers is let pass
_NEVER_END = ("/v1/events", "/v1/channel")
# A cursor is opaque and an id is one of ours, so that what the types allow may still be refused.
_NOT_CHECKED = "positive_data_acceptance"


@pytest.fixture
def examples(tiers: Tiers) -> str:
    """Made-up requests for each operation, beside those that cover its parameters' edges."""
    return str(round(tiers.amount("tests/collector/test_openapi.py")))


async def _prove(collector: Collector, folder: Path, name: str, examples: str, *choice: str) -> None:
    root = folder / "root.crt"
    collector.authority.write_root(root)
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("st")),
        *("run", f"https://127.0.0.1:{collector.port}/openapi.json", "--tls-verify", str(root)),
        *("--header", f"Authorization: Bearer {collector.tokens[name]}", "--exclude-checks", _NOT_CHECKED),
        *(
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            examples,
            "--generation-deterministic",
            "--suppress-health-check",
            _GENERATOR_WARNINGS,
        ),
        *("--no-color", "--warnings", "off", *choice),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"COLUMNS": "160"},
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()


async def test_an_operator_gets_what_is_described(collector: Collector, tmp_path: Path, examples: str) -> None:
    """Every operation that ends, with facts in the store."""
    await collector.introduce()
    await collector.report(collector.cast.authority.watch(shadow()))
    excluded = [word for path in _NEVER_END for word in ("--exclude-path", path)]
    await _prove(collector, tmp_path, "ops", examples, *excluded)
    assert "Traceback" not in collector.log()


async def test_an_agent_gets_what_is_described(collector: Collector, tmp_path: Path, examples: str) -> None:
    """Reports and rehearsals of every kind of nonsense: a problem document, nothing stored twice, nobody disturbed."""
    await collector.introduce()
    paths = ("--include-path", "/v1/reports", "--include-path", "/v1/rehearsals")
    await _prove(collector, tmp_path, "lxc102", examples, *paths)
    assert "Traceback" not in collector.log()
    assert (await collector.get("/v1/agents"))[0] == 200
