"""An agent brings as much evidence as it is let: no page grows with it, and nobody waits for the one who looks."""

import time

import msgspec
import pytest

from certagent.collector.dashboard.rendering import shown_evidence
from certagent.domain.findings import Culprit
from tests.collector.process import Collector
from tests.evidence import refused

ENDLESS: dict[str, dict[str, object]] = {
    "one long word": {"x": "y" * 200_000},
    "many names": {str(number): 1 for number in range(20_000)},
    "one long name": {"n" * 200_000: "value"},
    "a long list": {"list": ["word"] * 30_000},
    "a table of tables": {"table": {str(number): {"a": 1} for number in range(9_000)}},
    "lists in lists": {"lists": [[["w"] * 20] * 20] * 50},
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_is_shown_of_one_finding_is_bounded(kind: str) -> None:
    """Soon, and the beginning of it."""
    began_at = time.process_time()
    shown = shown_evidence(ENDLESS[kind])
    assert time.process_time() - began_at < 0.1
    assert 0 < sum(len(one.name) + len(one.text) for one in shown) < 8_200
    assert shown[0].text[:1] in ("y", "1", "v", "w", "0")


def test_little_evidence_is_shown_whole() -> None:
    """Names in words, tables folded, nothing for what is not there."""
    shown = shown_evidence(
        {"a_b": ["x", "y"], "gone": None, "is": True, "t": {"k": [1, None]}, "l": [{"m": 1}, {"m": 2}]}
    )
    assert [(one.name, one.text, one.parts) for one in shown] == [
        ("a b", "x, y", None),
        ("is", "yes", None),
        ("t", "k: 1, none", 1),
        ("l", "m: 1, m: 2", 2),
    ]


@pytest.mark.slow
async def test_the_pages_stay_small_and_a_finding_without_end_is_refused(collector: Collector) -> None:
    """Two hundred findings of 200 kB each: incident and node are shown, in a few seconds, and others are answered."""
    await collector.introduce()
    culprit = Culprit(node="lxc102")
    large = [
        msgspec.structs.replace(refused(node="lxc102"), culprit=culprit, detail={str(number): "y" * 200_000})
        for number in range(4)
    ]
    for number in range(50):
        report = collector.cast.traefik.preflight(*large, identifier=f"n{number}.x")
        await collector.report(msgspec.structs.replace(report, scopes=(f"identifier:n{number}.x",)))
    (incident,) = await collector.incidents("open")
    for path in (f"/incidents/{incident['id']}", "/nodes/lxc102", "/"):
        async with collector.session("ops") as session, session.get(path) as response:
            assert response.status == 200, path
            assert len(await response.read()) < 3_000_000, path
    async with collector.session("ops") as session, session.get(f"/v1/incidents/{incident['id']}") as response:
        assert 200_000 < len(await response.read()) < 9_000_000
    endless = msgspec.structs.replace(large[0], detail={"x": "y" * 300_000})
    status, answer = await collector.post("/v1/reports", [collector.cast.traefik.preflight(endless)], "lxc102")
    assert (status, [one["reason"] for one in answer["refused"]]) == (422, ["a finding of more than 262144 bytes"])
