"""The pictures show what was seen: green for nothing else, red for all that has expired or cannot be renewed."""

import re
from datetime import timedelta
from itertools import pairwise

import pytest

from certagent.collector.dashboard.survival_chart import draw_survival
from certagent.domain.rehearsals import RehearsalOutcome
from tests.collector.cast import certificate, now
from tests.collector.process import Collector, eventually
from tests.collector.test_page_codes import read, words_of
from tests.evidence import TRAEFIK, refused, rehearse_traefik

pytestmark = pytest.mark.slow

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SEEN = "M-4.5 0.5 L-1.5 3.5 L4.5 -3.5"
"""The sign of a hop that does its part."""


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ((3 * HOUR,), ("1 h", "2 h", "3 h")),
        ((2 * HOUR, 90 * DAY), ("1 h", "6 h", "1 d", "7 d", "90 d")),
        ((20 * HOUR, 400 * DAY), ("1 h", "6 h", "30 d", "365 d")),
    ],
)
def test_the_axis_shows_hours_and_months(left: tuple[timedelta, ...], words: tuple[str, ...]) -> None:
    """In one picture, with room between the words, the first hours as wide as the last months."""
    at = now()
    picture = str(draw_survival([at + length for length in left], [], at))
    ticks = re.findall(r'<text class="tick" x="(\d+)" y="\d+">([^<]+)<', picture)
    assert set(words) <= {text for _, text in ticks}, ticks
    places = [int(x) for x, _ in ticks]
    assert places == sorted(places)
    assert all(after - before >= 30 for before, after in pairwise(places)), ticks


def test_each_renewal_that_is_due_is_marked_at_its_time() -> None:
    """Halfway on the axis if it is due halfway; what is due already at the beginning; two at one time are one mark."""
    at = now()
    dues = [at - HOUR, at + 6 * HOUR, at + 6 * HOUR]
    picture = str(draw_survival([at + 12 * HOUR] * 3, dues, at))
    marks = re.search(r'class="due" d="([^"]*)"', picture)
    assert marks is not None
    begin, halfway = (int(x) for x in re.findall(r"M(\d+) ", marks[1]))
    end = int(re.findall(r"H(\d+) V", picture)[-1])
    assert abs((halfway - begin) - (end - begin) / 2) <= 1
    assert "the next renewal is due now" in picture
    later = str(draw_survival([at + 12 * HOUR], [at + 6 * HOUR], at))
    assert "the next renewal is due in 6 h" in later
    assert 'class="due"' not in str(draw_survival([at + 12 * HOUR], [], at))


async def test_green_is_only_what_was_seen(collector: Collector) -> None:
    """The intended way is a plan; the actual one has its signs once a rehearsal went through, and not before."""
    await collector.introduce()
    lanes = await _lanes(collector)
    assert [SEEN in lane for lane in lanes] == [False, False]
    assert "not known" in lanes[1]
    passed = rehearse_traefik(RehearsalOutcome.PASSED)
    for agent in (collector.cast.traefik, collector.cast.authority):
        await collector.report(agent.preflight(rehearsals=(passed,), verdicts={TRAEFIK: "proceed"}))
    lanes = await _lanes(collector)
    assert [lane.count(SEEN) for lane in lanes] == [0, lanes[1].count('class="hop')]


async def _lanes(collector: Collector) -> list[str]:
    """The wide picture's two lanes."""
    picture = (await read(collector, f"/paths/{TRAEFIK}")).partition('<svg class="path wide"')[2].partition("</svg>")[0]
    intended, _, actual = picture.partition('<g class="lane actual')
    return [intended, actual]


async def _is_open(collector: Collector, code: str) -> bool:
    return code in {one["code"] for one in await collector.incidents("open")}


async def test_what_has_expired_or_cannot_be_renewed_has_no_green_bar(collector: Collector) -> None:
    """In the lists and on the pages of the node and of the certificate; a node shows when its certificates end."""
    agent = collector.cast.traefik
    states = (
        certificate("dead", "dead.test", left=-30 * HOUR),
        certificate("stuck", "stuck.test", left=23 * HOUR),
        certificate("well", "well.test", left=22 * HOUR),
    )
    await collector.report(agent.inventory("10.0.0.12", "traefik", *states))
    await collector.report(agent.preflight(refused("10.0.0.12", agent.name, "stuck.test"), identifier="stuck.test"))
    await eventually(lambda: _is_open(collector, "cert.expired"))
    for path in ("/certificates", "/nodes/lxc102", "/"):
        page = await read(collector, path)
        rows = re.findall(r'(?s)/certificates/(\w+)">\w+</a><span class="sub">.*?<svg class="(bar[^"]*)"', page)
        bars = dict(rows)
        assert bars == {"dead": "bar bad", "stuck": "bar bad", "well": "bar"}, path
        assert re.search(r'<span class="late"><time [^>]+>expired 1 d 6 h ago', page), path
    for name, kind in (("dead", "left bad"), ("stuck", "left bad"), ("well", "left")):
        page = await read(collector, f"/nodes/lxc102/certificates/{name}")
        assert f'<rect class="{kind}"' in page, name
        assert bool(re.search(r"<h2>Lifetime <small[^>]*>cannot be renewed", page)) == (name == "stuck"), page
    words = words_of(await read(collector, "/nodes/lxc102"))
    assert "If none of them is renewed the first expires in 21 h 59 min , the last in 22 h 59 min" in words
    assert "1 has expired already." in words
