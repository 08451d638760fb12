"""The lists at any size: filtered and sorted by their address, walked in both ways, and true by the API and by SQL."""

import asyncio
import html
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from certagent.domain.findings import Culprit
from tests.collector.fleet_of import LONG_NAME, ODD_NAME, SIZES, Counted, count_by_sql, opened, serving_fleet
from tests.collector.process import Collector, eventually
from tests.collector.test_page_codes import read, words_of
from tests.evidence import shadow

pytestmark = pytest.mark.slow

_ROW = {
    "/incidents": r'<td data-of="Culprit"><a class="mono" href="/incidents/([^"]+)"',
    "/certificates": r'<td data-of="Certificate"><a href="/nodes/([^"]+)"',
    "/nodes": r'<td data-of="Node"><a href="/nodes/([^"]+)"',
}


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Collector]:
    """300 nodes, 62 of which cannot renew."""
    async with serving_fleet(tmp_path, 300, 62) as collector:
        await settled(collector)
        yield collector


def rows_of(page: str, path: str) -> list[str]:
    """What the page lists, by the addresses of its rows."""
    return re.findall(_ROW[path.partition("?")[0]], page)


def way_of(page: str, rel: str) -> str | None:
    """The address of the page after it, or before it."""
    found = re.search(rf'href="([^"]+)" rel="{rel}"', page)
    return html.unescape(found[1]) if found else None


async def all_rows(collector: Collector, path: str) -> list[str]:
    """The rows of all pages."""
    return [row for page in await walk(collector, path) for row in page]


async def walk(collector: Collector, path: str) -> list[list[str]]:
    """The rows of every page of the list; the way back has shown the same."""
    address, pages, last = path, [], path
    while address:
        page, last = await read(collector, address), address
        pages.append(rows_of(page, path))
        address = way_of(page, "next") or ""
    for before in reversed(pages[:-1]):
        last = way_of(await read(collector, last), "prev") or ""
        assert rows_of(await read(collector, last), path) == before, last
    assert way_of(await read(collector, last), "prev") is None
    return pages


async def all_of(collector: Collector, path: str) -> list[dict[str, Any]]:
    """Everything that the API lists there."""
    items, cursor = [], ""
    while cursor is not None:
        _, page = await collector.get(path, params={"cursor": cursor} if cursor else {})
        items += page["items"]
        cursor = page["next"]
    return items


async def settled(collector: Collector) -> Counted:
    """By SQL, once the collector has found the certificates that are late, too."""

    async def unchanged() -> Counted | None:
        before = await counted(collector)
        await asyncio.sleep(2)
        return before if before == await counted(collector) else None

    found: Counted = await eventually(unchanged)
    return found


async def counted(collector: Collector) -> Counted:
    """By SQL, beside the running collector."""
    async with opened(collector.store) as store:
        return await store.read(count_by_sql)


async def test_every_order_is_walked_in_both_ways_and_holds_each_row_once(fleet: Collector) -> None:
    """The same rows on the way back; none twice, none left out."""
    certificates = await all_of(fleet, "/v1/certificates")
    assert len(certificates) == 600
    keys: dict[str, Any] = {
        "expiry": lambda one: (datetime.fromisoformat(one["on_disk"]["not_after"]), one["node"], one["name"]),
        "name": lambda one: (one["name"], one["node"]),
        "node": lambda one: (one["node"], one["name"]),
    }
    for sort, key in keys.items():
        pages = await walk(fleet, f"/certificates?sort={sort}")
        assert [len(page) for page in pages] == [100] * 6
        expected = [f"{one['node']}/certificates/{one['name']}" for one in sorted(certificates, key=key)]
        assert [row for page in pages for row in page] == expected, sort
    names = sorted(one["name"] for one in await all_of(fleet, "/v1/agents"))
    assert await all_rows(fleet, "/nodes?sort=name") == names
    assert sorted(await all_rows(fleet, "/nodes")) == names
    known = {one["id"]: one for one in await all_of(fleet, "/v1/incidents")}
    for address in ("/incidents", "/incidents?state=all", "/incidents?sort=opened"):
        assert sorted(await all_rows(fleet, address)) == sorted(known), address
    ends = [
        min(victim["expires_at"] for victim in known[one]["victims"]) for one in (await walk(fleet, "/incidents"))[0]
    ]
    assert ends == sorted(ends)


async def test_filters_choose_what_the_api_says_and_stay_in_the_address(fleet: Collector) -> None:
    """State, severity, zone, code, node, any part; the form shows what was chosen, the way on keeps it."""
    known = await all_of(fleet, "/v1/incidents")

    def having(part: Any) -> set[str]:
        return {one["id"] for one in known if part(one)}

    def is_in(zone: str) -> Any:
        return lambda one: any(victim["identifier"].endswith(f".{zone}") for victim in one["victims"])

    chosen = {
        "zone=zone3.test": having(is_in("zone3.test")),
        "zone=test": having(is_in("test")),
        "zone=one3.test": set(),
        "node=n0007": having(lambda one: any(victim["node"] == "n0007" for victim in one["victims"])),
        "code=net.refused": having(lambda one: one["code"] == "net.refused"),
        "code=dns": set(),
        "severity=fatal": having(lambda one: one["severity"] == "fatal"),
        "severity=error": having(lambda one: one["severity"] == "error"),
        "state=acknowledged": set(),
        "state=unconfirmed": having(lambda one: not one["confirmed"]),
        "q=B4.ZONE": having(lambda one: any("b4.zone" in victim["identifier"] for victim in one["victims"])),
        "zone=zone3.test&node=n0013": having(lambda one: any(victim["node"] == "n0013" for victim in one["victims"])),
    }
    assert [len(chosen[query]) for query in ("zone=zone3.test", "q=B4.ZONE")] == [7, 2]
    for query, ids in chosen.items():
        page = await read(fleet, f"/incidents?{query}")
        assert set(rows_of(page, "/incidents")) == ids, query
        for name, value in (pair.split("=") for pair in query.split("&")):
            field = (
                rf'<option value="{value}" selected'
                if name in ("state", "severity")
                else rf'name="{name}" value="{value}"'
            )
            assert field in page, query
    page = await read(fleet, "/certificates?zone=other.test&sort=node")
    assert len(rows_of(page, "/certificates")) == 100
    assert (way_of(page, "next") or "").startswith("/certificates?zone=other.test&sort=node&cursor=")
    counts = {
        "state=expired": 2,
        "state=at_risk": len((await counted(fleet)).at_risk),
        "state=missing": 0,
        "zone=zone3.test": 30,
        "node=n0009": 2,
    }
    for query, count in counts.items():
        assert len(await all_rows(fleet, f"/certificates?{query}")) == count, query
    assert len(await all_rows(fleet, "/certificates?state=valid")) == 598
    for query, count in {"state=connected": 0, "q=n029": 10, "q=10.1.0.7": 11}.items():
        assert len(await all_rows(fleet, f"/nodes?{query}")) == count, query
    for wrong in ("/incidents?state=gone", "/certificates?sort=up", "/nodes?state=x", "/nodes?before=zz"):
        assert "Bad Request" in await read(fleet, wrong, 400)


async def test_one_search_finds_nodes_certificates_identifiers_and_codes(fleet: Collector) -> None:
    """By any part of the name; what alone is called so is opened at once; international names in both forms."""
    page = words_of(await read(fleet, "/search?q=N0012"))
    assert "Path to n0012" in page or "n0012" in page
    found = await read(fleet, "/search?q=zone3")
    assert len(re.findall(r'<td data-of="Identifier">', found)) == 20
    assert '<a href="/certificates?q=zone3">All of them</a>' in found
    assert len(rows_of(await read(fleet, "/certificates?q=zone3"), "/certificates")) == 30
    found = await read(fleet, "/search?q=hosts_sha")
    assert 'href="/findings/dns.hosts_shadow.authority"' in found
    places = {
        "N0007": "/nodes/n0007",
        "b7.zone7.test.": "/paths/b7.zone7.test",
        "net.refused": "/findings/net.refused",
        "bücher.zone1.test": f"/paths/{ODD_NAME}",
    }
    async with fleet.session("ops") as session:
        for name, place in places.items():
            async with session.get("/search", params={"q": name}, allow_redirects=False) as response:
                assert (response.status, response.headers.get("Location")) == (303, place), name
    assert "bücher.zone1.test" in await read(fleet, "/search?q=xn--b")
    assert "No name contains it." in await read(fleet, "/search?q=%25_nothing")
    assert "Bad Request" in await read(fleet, f"/search?q={'a' * 257}", 400)
    for path in ("/certificates?q=xn--b", "/nodes/n0000/certificates/web", "/incidents?q=xn--b"):
        if path.startswith("/incidents"):
            path = f"/incidents/{rows_of(await read(fleet, path), '/incidents')[0]}"
        assert f"{ODD_NAME} (bücher.zone1.test)" in await read(fleet, path), path
    assert LONG_NAME in await read(fleet, "/nodes/n0001")


@pytest.mark.parametrize(("nodes", "incidents"), SIZES)
async def test_the_figures_are_those_of_the_api_and_of_the_database(tmp_path: Path, nodes: int, incidents: int) -> None:
    """For fleets of every size; the overview shows the first of many, and where the others are."""
    async with serving_fleet(tmp_path, nodes, incidents) as collector:
        expected = await settled(collector)
        page = await read(collector, "/")
        listed = [one for one in await all_of(collector, "/v1/incidents") if one["confirmed"]]
        certificates = await all_of(collector, "/v1/certificates")
    shown = dict(re.findall(r"<dt>([^<]+)</dt><dd>(\d+)", page))
    at_risk = frozenset((victim["node"], victim["certificate"]) for one in listed for victim in one["victims"])
    assert (int(shown["Open incidents"]), int(shown["Expired"])) == (expected.incidents, expected.expired)
    assert (len(listed), at_risk) == (expected.incidents, expected.at_risk)
    assert int(shown["Certificates at risk"]) == len(at_risk) >= incidents
    assert len(certificates) == expected.certificates == 2 * nodes
    assert f"<small>of {2 * nodes}</small>" in page
    answers = re.findall(r"(?s)<li[^>]*>(.*?)</li>", page.partition('<ul class="answers">')[2].partition("</ul>")[0])
    assert len(answers) == 3, answers
    assert ("expired" in answers[0].lower()) == (nodes > 0)
    assert ("The next to expire" in answers[1]) == (nodes > 0)
    assert ("Change first" in answers[2]) == (expected.incidents > 0)
    cards = len(re.findall(r"<article", page))
    assert cards == (expected.incidents if expected.incidents <= 5 else 1)
    if expected.incidents > 5:
        assert len(rows_of(page.partition('id="further"')[2].partition("</table>")[0], "/incidents")) == 5
        assert f"All {expected.incidents} open incidents" in page


async def test_a_culprit_of_many_lines_is_cut_at_five(collector: Collector) -> None:
    """The rest is there to open, without any script."""
    await collector.introduce()
    culprit = shadow().culprit
    assert culprit is not None
    lines = [
        msgspec.structs.replace(
            shadow(f"v{number}.test"),
            culprit=Culprit(
                node="lxc103", file="/etc/hosts", line=number, text=f"10.0.0.153 v{number}.test", address="10.0.0.153"
            ),
        )
        for number in range(1, 301)
    ]
    await collector.report(collector.cast.authority.watch(*lines))
    (incident,) = await collector.incidents()
    for path in ("/", f"/incidents/{incident['id']}"):
        page = (await read(collector, path)).partition('<div class="lines"')[2].partition("</div>")[0]
        first, summary, rest = page.partition("<details")
        assert summary
        assert first.count("<li>") == 5, path
        assert f"<summary>all {len(incident['lines'])}</summary>" in rest
        assert first.count("<li>") + rest.count("<li>") == len(incident["lines"]) == 300
