"""The overview in a real browser, for fleets of every size: true by the API and by SQL, short, and its three answers
(is anything dead, what dies next, what to change first) are in the first screen of a laptop and of a phone."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.collector.browsing import LAPTOP, PHONE, answers_of, artefacts, browsing, screens_of
from tests.collector.fleet_of import SIZES, Counted, serving_fleet
from tests.collector.odd_fleet import LONG_NODE, ODD_NAME, ODD_WRITTEN, report_odd_fleet
from tests.collector.process import Collector
from tests.collector.test_page_lists import all_of, counted, settled
from tests.e2e.chromium import Visit, chromium

pytestmark = [pytest.mark.slow, pytest.mark.servers]

_READ_FIGURES = """
() => Object.fromEntries([...document.querySelectorAll(".figures div")].map(
  one => [one.querySelector("dt").textContent, one.querySelector("dd").textContent.trim()]))
"""
_FIND_CUT_TABLES = """
() => [...document.querySelectorAll(".scroll")].filter(table => table.scrollWidth > table.clientWidth + 1)
  .map(table => table.textContent.trim().slice(0, 60))
"""
_LISTS = ("/incidents?state=all", "/certificates", "/nodes", "/history", "/search?q=zone1", f"/nodes/{LONG_NODE}")
_MOST_SCREENS = 3


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium with a fresh profile."""
    async with chromium() as one:
        yield one


def _expected_answers(fleet: Counted) -> tuple[str, str, str]:
    """Patterns of the three sentences."""
    if not fleet.nodes:
        return r"Nothing can expire: .*\.", r"No certificate is on disk, so .*\.", r"First: what is missing below\."
    many = (
        r"One certificate has expired,"
        if fleet.expired == 1
        else rf"{fleet.expired} certificates have expired, the first"
    )
    n0002 = r"The next to expire cannot be renewed: web on n0002, in \d+ min\."
    next_one = n0002 if fleet.nodes > 2 else r"The next to expire is api on n0000, in 416 d \d+ h\."
    return rf"{many} 1 h \d+ min ago: web on n0000\.", next_one, r"Change first: n0000\. [A-Z].*\."


async def _show_truly(collector: Collector, browser: Browser, name: str) -> None:
    """What every fleet's pages have to be, at both sizes of window."""
    fleet = await settled(collector)
    for size in (LAPTOP, PHONE):
        async with browsing(browser, collector, size=size) as visit:
            await visit.open("/")
            await visit.page.screenshot(path=artefacts() / f"overview-{name}-{size[0]}.png", full_page=True)
            answers = await answers_of(visit)
            assert all(answer.is_within(size) for answer in answers), answers
            for answer, pattern in zip(answers, _expected_answers(fleet), strict=True):
                assert re.fullmatch(pattern, answer.text), answer
            if fleet.incidents > 5:
                assert await screens_of(visit) <= _MOST_SCREENS
            assert await visit.judge() == []
            await _tell_the_totals(visit, collector, fleet)
            assert await visit.complaints() == []


async def _tell_the_totals(visit: Visit, collector: Collector, fleet: Counted) -> None:
    """Of the overview that is open, and of every list: as SQL and the API count them."""
    assert fleet == await counted(collector)
    listed = [incident for incident in await all_of(collector, "/v1/incidents") if incident["confirmed"]]
    at_risk = frozenset((victim["node"], victim["certificate"]) for one in listed for victim in one["victims"])
    certificates = await all_of(collector, "/v1/certificates")
    assert (len(listed), at_risk, len(certificates)) == (fleet.incidents, fleet.at_risk, fleet.certificates)
    figures = await visit.page.evaluate(_READ_FIGURES)
    assert figures == {
        "Open incidents": f"{fleet.incidents}",
        "Expired": f"{fleet.expired}",
        "Certificates at risk": f"{len(at_risk)} of {len(certificates)}",
        "Nodes connected": f"0 of {fleet.nodes}",
    }
    alarms = fleet.incidents + fleet.expired_alone
    for path in ("/", "/incidents", "/certificates", "/nodes"):
        await visit.open(path)
        assert (await visit.page.title()).startswith(f"({alarms}) ") == (alarms > 0), path
        assert ("%23b3231b" in str(await visit.page.get_attribute("#icon", "href"))) == (alarms > 0)
        assert await visit.judge() == [], path
        if path != "/" and alarms:
            tally = f"{_many(fleet.incidents, 'open incident')} · {_many(len(at_risk), 'certificate')} at risk"
            assert await visit.page.inner_text(".tally") == f"{tally} · {fleet.expired} expired"
    assert f"{fleet.nodes}" in await visit.page.inner_text(".lead")


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


@pytest.mark.parametrize(("nodes", "incidents"), SIZES)
async def test_a_fleet_is_shown_truly(tmp_path: Path, browser: Browser, nodes: int, incidents: int) -> None:
    """From nothing to three hundred nodes."""
    async with serving_fleet(tmp_path, nodes, incidents) as collector:
        await _show_truly(collector, browser, f"{nodes}-{incidents}")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("incidents", [0, 1000])
async def test_five_thousand_nodes_are_shown_truly(tmp_path: Path, browser: Browser, incidents: int) -> None:
    """The same at the largest size, healthy and not."""
    async with serving_fleet(tmp_path, 5000, incidents) as collector:
        await _show_truly(collector, browser, f"5000-{incidents}")


async def test_names_of_any_length_and_kind_fit(collector: Collector, browser: Browser) -> None:
    """Labels of sixty characters, IPv6, an international name in both forms: the answers stay in the first screen,
    and no table is cut off.
    Every page of that fleet is judged in `test_page_states.py`."""
    incidents = await report_odd_fleet(collector)
    await settled(collector)
    for size in (LAPTOP, PHONE):
        async with browsing(browser, collector, size=size) as visit:
            await visit.open("/")
            answers = await answers_of(visit)
            assert len(answers) == 3
            assert all(answer.is_within(size) for answer in answers), answers
            for path in _LISTS:
                await visit.open(path)
                assert await visit.page.evaluate(_FIND_CUT_TABLES) == [], path
            await visit.open(f"/incidents/{incidents['long']}")
            assert f"{ODD_NAME} ({ODD_WRITTEN})" in await visit.page.inner_text("main")
