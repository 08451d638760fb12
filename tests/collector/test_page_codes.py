"""From what a page shows to why: codes lead to their pages, incidents are named by sentences, times are absolute."""

import html
import re
from typing import Any

import pytest

from certagent.commands.explain import explain_all
from certagent.domain.catalogue.entries import CATALOGUE
from tests.collector.process import Collector
from tests.evidence import shadow

pytestmark = pytest.mark.slow

PAGES = ("/", "/incidents", "/nodes/lxc103", "/findings")
TEXT_HTML = {"Accept": "text/html"}


async def read(collector: Collector, path: str, status: int = 200) -> str:
    """The page, as an operator sees it."""
    async with collector.session("ops") as session, session.get(path, headers=TEXT_HTML) as response:
        assert (response.status, response.content_type) == (status, "text/html"), path
        return await response.text()


def words_of(page: str) -> str:
    """What a person reads, without the tags."""
    main = page.partition("<main")[2].partition(">")[2].partition("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())


async def _break(collector: Collector) -> str:
    await collector.introduce()
    await collector.report(collector.cast.authority.watch(shadow()))
    return str((await collector.incidents())[0]["id"])


async def test_the_page_of_a_code_says_what_explain_says(collector: Collector) -> None:
    """Every code: meaning, cause, fix, severity and example; the list has each with its meaning."""
    listed = words_of(await read(collector, "/findings"))
    for told in explain_all()["findings"]:
        page = words_of(await read(collector, f"/findings/{told['code']}"))
        severity: Any = told["severity"]
        grades = severity.values() if isinstance(severity, dict) else [severity]
        for words in (told["meaning"], told["cause"], told["fix"], *map(str, grades)):
            assert " ".join(words.split()) in page, told["code"]
        assert f"certagent explain {told['code']}" in page
        assert f"{told['code']} {' '.join(told['meaning'].split())}" in listed


async def test_every_code_that_a_page_shows_leads_to_its_page(collector: Collector) -> None:
    """One click, wherever it stands; a code of a newer agent has no page, and says so."""
    identity = await _break(collector)
    for path in (*PAGES, f"/incidents/{identity}"):
        page = await read(collector, path)
        shown = set(re.findall(r"<code>([a-z0-9]+\.[a-z0-9_.]+)</code>", page)) & set(CATALOGUE)
        for code in shown:
            assert re.search(rf'<a class="quiet" href="/findings/{re.escape(code)}"[^>]*><code>', page), (path, code)
    assert "dns.hosts_shadow.authority" in re.findall(r'href="/findings/([^"]+)"', await read(collector, "/incidents"))
    assert "no finding of this release has the code" in words_of(await read(collector, "/findings/dns.new", 404))


async def test_an_incident_is_named_by_a_sentence_in_every_place(collector: Collector) -> None:
    identity = await _break(collector)
    sentence = "A line in the CA's hosts file overrides DNS, so the CA connects to the wrong address."
    for path in ("/", "/incidents", "/nodes/lxc103", f"/incidents/{identity}"):
        assert sentence in words_of(await read(collector, path)), path
    page = await read(collector, f"/incidents/{identity}")
    assert f'<h1 class="name">{html.escape(sentence, quote=False).replace(chr(39), "&#39;")}</h1>' in page


async def test_every_time_is_an_instant_in_utc_and_a_distance(collector: Collector) -> None:
    """The instant stands in the element, and in words beside the distance or as its title."""
    identity = await _break(collector)
    paths = ("/", "/incidents", "/nodes/lxc103", f"/incidents/{identity}", "/nodes/lxc102/certificates/traefik")
    for path in paths:
        page = await read(collector, path)
        assert not re.search(
            r"(?<!>)\b\d+ (?:s|min|h) ago", re.sub(r"<time.*?</time>|<span class=\"distance\".*?</span>", "", page)
        ), path
        for element in re.findall(r"<time [^>]*>[^<]*</time>", page):
            assert re.fullmatch(
                r'<time datetime="20\d\d-[^"]+\+00:00"(?: title="20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC">[^<]+'
                r"|>20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC)</time>",
                element,
            ), (path, element)
    history = (await read(collector, f"/incidents/{identity}")).partition("History")[2]
    assert re.search(r"<time [^>]+>[^<]+UTC</time> <span class=\"distance\">\d+ s ago</span>", history)


@pytest.mark.parametrize("path", ["/nothing", "/incidents/a/b", "/metrics/x"])
async def test_an_address_that_nothing_has_is_a_page_for_people_alone(collector: Collector, path: str) -> None:
    """With ways on; programs and agents get the document that they had before, strangers the login."""
    page = await read(collector, path, 404)
    assert "Not Found" in page
    assert all(f'href="{way}"' in page for way in ("/", "/incidents", "/certificates", "/nodes", "/findings"))
    status, document = await collector.get(path)
    assert (status, document["title"]) == (404, "Not Found")
    async with collector.session("lxc102") as session, session.get(path, headers=TEXT_HTML) as response:
        assert (response.status, response.content_type) == (404, "application/problem+json")
    async with (
        collector.session(None) as session,
        session.get(path, headers=TEXT_HTML, allow_redirects=False) as response,
    ):
        assert response.status == 303
        assert response.headers["Location"].startswith("/login?next=")


async def test_the_footer_says_which_version_this_is(collector: Collector) -> None:
    _, document = await collector.get("/openapi.json")
    for path in ("/", "/findings", "/nothing"):
        page = await read(collector, path, 404 if path == "/nothing" else 200)
        footer = page.partition("<footer")[2]
        assert f"certagent {document['info']['version']}" in footer
        assert 'href="/findings"' in footer
