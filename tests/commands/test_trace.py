"""`certagent trace` as a person and a chart see it, and its exit status."""

from typing import Any

import msgspec
import pytest

from certagent.commands.trace import Source, exit_status, render, render_mermaid
from certagent.domain.findings import Vantage
from certagent.domain.path_trace import PathFacts, trace
from certagent.domain.rehearsals import RehearsalOutcome
from tests.evidence import LINE, TRAEFIK, rehearse_traefik, shadow

COLLECTOR = Source(kind="collector", collector="https://collector.lan:8843")


def _document(source: Source = COLLECTOR, **facts: object) -> dict[str, Any]:
    path = trace(PathFacts(identifier=TRAEFIK, authority="lxc103", responder="lxc102", **facts))  # type: ignore[arg-type]
    return {**msgspec.to_builtins(path), "source": msgspec.to_builtins(source)}


BROKEN = _document(rehearsal=rehearse_traefik(RehearsalOutcome.FAILED, poisoned=True), findings=(shadow(),))
HEALTHY = _document(rehearsal=rehearse_traefik(RehearsalOutcome.PASSED))


def test_a_person_sees_where_it_breaks_and_what_to_change() -> None:
    """The verdict first, then both ways, then the culprit with its line."""
    lines = render(BROKEN).splitlines()
    assert lines[0] == f"{TRAEFIK}: BROKEN at step 2 of 4"
    assert lines[1] == "  as the collector knows it (collector.lan:8843)"
    assert lines.index("intended") < lines.index("actual")
    (marked,) = (line for line in lines[lines.index("actual") :] if "2 CULPRIT" in line)
    assert f"/etc/hosts:7  (lxc103, 10.0.0.153) {LINE}" in marked
    assert any(line.startswith("  3 BROKEN") for line in lines)
    assert lines[-1].startswith(f"CULPRIT  lxc103:/etc/hosts:7: {LINE}")


def test_a_nodes_own_view_says_that_it_is_one_and_why() -> None:
    """Never taken for the CA's."""
    own = Source(kind="node", node="lxc102", vantage=Vantage.CLIENT, reason="no collector is configured")
    text = render(HEALTHY | {"source": msgspec.to_builtins(own)})
    assert "as lxc102 sees it by itself: this node's own view, not the CA's (vantage client)" in text
    assert "because no collector is configured" in text
    chart = render_mermaid(HEALTHY | {"source": msgspec.to_builtins(own)})
    assert chart.startswith("%% as lxc102 sees it by itself")
    assert "\n%% because no collector is configured\nflowchart LR\n" in chart


def test_the_chart_marks_the_culprit() -> None:
    """In words and by class."""
    assert 'CULPRIT"]:::culprit' in render_mermaid(BROKEN)


@pytest.mark.parametrize(("document", "status"), [(HEALTHY, 0), (BROKEN, 4), (_document(), 3)])
def test_the_exit_status_says_how_much_is_proven(document: dict[str, Any], status: int) -> None:
    """0 seen to its end, 4 broken, 3 where nobody has looked."""
    assert exit_status(document) == status


def test_a_path_that_nobody_has_looked_at_is_said_to_be_one() -> None:
    """With the command that looks."""
    assert render(_document()).splitlines()[0].startswith(f"{TRAEFIK}: not checked yet (run `certagent check`")


def test_a_culprit_without_a_name_is_told_by_its_address() -> None:
    """Nobody of the fleet has it."""
    unknown = BROKEN | {"culprit": {"address": "10.0.0.99"}}
    assert render(unknown).endswith("CULPRIT  whatever is at 10.0.0.99")
