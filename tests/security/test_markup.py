"""Names and words with markup: nothing of them acts, in no diagram and in no answer."""

import re

import pytest

from certagent.domain.mermaid import to_mermaid
from certagent.domain.path_trace import Path, PathHop
from tests.collector.process import Collector

EVIL = (
    'a"] --> b["x',
    'x"\n  click a0 href "javascript:alert(1)"',
    "<svg onload=alert(1)>",
    "%%{init: {'securityLevel': 'loose'}}%%",
    "#quot;]; click a0 call x()",
    "`**b**`",
    "line\r\nend\u2028x",
)


@pytest.mark.parametrize("text", EVIL)
def test_nothing_in_a_diagram_leaves_its_quotes(text: str) -> None:
    hop = PathHop(kind="server", label=text, node=text, role=text, address=text, detail=text, state="ok")  # type: ignore[arg-type]
    plain = PathHop(kind="server", label="x", node="x", role="x", address="x", detail="x", state="ok")  # type: ignore[arg-type]
    drawn = to_mermaid(Path(identifier=text, intended=(hop, hop), actual=(hop,), broken=False))
    harmless = to_mermaid(Path(identifier="x", intended=(plain, plain), actual=(plain,), broken=False))
    assert _outside_of_quotes(drawn) == _outside_of_quotes(harmless)
    assert not re.search(r"%%|`|<(?!br/>)|[^\x20-\x7e\n]", drawn)


def _outside_of_quotes(diagram: str) -> str:
    return re.sub(r'"[^"\n]*"', '""', diagram)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["/v1/agents", "/metrics", "/nope", "/v1/incidents/x", "/healthz", "/openapi.json", "/"]
)
async def test_no_cache_keeps_an_answer_and_no_browser_guesses_what_it_is(collector: Collector, path: str) -> None:
    for name in ("ops", "lxc101", None):
        async with collector.session(name) as session, session.get(path, allow_redirects=False) as response:
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
