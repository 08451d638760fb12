"""A newer agent says what this collector does not know: it is kept, and what is known of it is used."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certagent.domain.findings import Severity, Vantage
from certagent.domain.policy import read_policy
from tests.collector.process import Collector
from tests.evidence import shadow

pytestmark = pytest.mark.slow

NEWER = (
    ("kind", "audit"),
    ("trigger", "a newer reason"),
    ("outcome", "deferred"),
    ("findings.0.severity", "critical"),
    ("findings.0.vantage", "satellite"),
)


def newer(report: Any, place: str, value: str) -> dict[str, Any]:
    """The report as JSON, with a word that nobody knows, and one finding more that everybody knows."""
    document = dict(msgspec.json.decode(msgspec.json.encode(report)))
    document["findings"].insert(0, dict(document["findings"][0], code="newer.code", culprit=None))
    inner = document
    *path, last = place.split(".")
    for key in path:
        inner = inner[int(key)] if key.isdecimal() else inner[key]
    inner[last] = value
    return document


@pytest.mark.parametrize(("place", "value"), NEWER)
async def test_words_of_a_newer_agent_are_kept_and_the_known_finding_makes_its_incident(
    collector: Collector, place: str, value: str
) -> None:
    await collector.introduce()
    report = newer(collector.cast.authority.watch(shadow()), place, value)
    status, answer = await collector.post("/v1/reports", [report], "lxc103")
    assert (status, answer["accepted"]) == (200, 1), answer
    incidents = (await collector.get("/v1/incidents"))[1]["items"]
    assert "dns.hosts_shadow.authority" in {incident["code"] for incident in incidents}
    kept = next(one for one in (await collector.get("/v1/reports"))[1]["items"] if one["id"] == report["id"])
    assert value in msgspec.json.encode(kept).decode()
    for path in ("/", "/incidents", "/agents/lxc103"):
        async with collector.session("ops") as session, session.get(path) as response:
            assert response.status in (200, 303, 404), path


def test_an_unknown_severity_counts_as_an_error() -> None:
    unknown = Severity("critical")
    assert unknown.at_least(Severity.ERROR)
    assert not unknown.at_least(Severity.FATAL)
    assert (str(unknown), unknown.is_known, Severity.WARN.is_known) == ("critical", False, True)


@pytest.mark.parametrize("value", ["", "x" * 65, "two\nlines", 7])
def test_a_word_is_short_and_one_line(value: Any) -> None:
    with pytest.raises(ValueError, match="Vantage"):
        Vantage(value)


def test_a_policy_names_known_severities_only() -> None:
    document = tomllib.loads((Path(__file__).parents[2] / "policies" / "default.toml").read_text())
    for wrong in ("critical", {"satellite": "warn"}, {"wire": "critical"}):
        with pytest.raises(msgspec.ValidationError, match=r"critical|satellite"):
            read_policy({**document, "severity": {"dns.nxdomain": wrong}})
