"""Every page in every state, in a real browser: axe-core finds nothing, neither light nor dark; nothing is wider than
its window; all of it is there without script. A picture of each is kept."""

import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser

from certagent.collector.credentials import add_user
from certagent.collector.records import TokenRole
from tests.collector.browsing import LAPTOP, PHONE, artefacts, browsing
from tests.collector.cast import now
from tests.collector.odd_fleet import PAGES, report_odd_fleet
from tests.collector.process import Collector
from tests.collector.test_page_codes import read, words_of
from tests.collector.test_page_lists import settled
from tests.e2e.chromium import Visit, chromium, visiting

pytestmark = [pytest.mark.slow, pytest.mark.servers]

_PASSWORD = "correct horse battery"
_ALSO = (
    "/login",
    "/incidents?state=acknowledged",
    "/search?q=hosts_shadow",
    "/certificates?q=nothing",
    "/nodes?q=nothing",
)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium with a fresh profile."""
    async with chromium() as one:
        yield one


async def _judge(visit: Visit, state: str, variant: str) -> None:
    """Whatever is open."""
    await visit.page.screenshot(path=artefacts() / f"{state}-{variant}.png", full_page=True)
    assert await visit.run_axe() == [], state
    assert await visit.judge() == [], state


@pytest.mark.timeout(600)
@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_every_state_is_good_for_everybody(
    collector: Collector, browser: Browser, size: tuple[int, int], colours: Any
) -> None:
    """Empty, broken in every way, not found, not allowed, not current, logged out."""
    variant = f"{size[0]}-{colours}"
    async with browsing(browser, collector, size=size, colours=colours) as visit:
        for path in ("/", "/incidents", "/certificates", "/nodes", "/audit", "/history"):
            await visit.open(path)
            await _judge(visit, f"empty{_file_name(path)}", variant)
        incidents = await report_odd_fleet(collector)
        await settled(collector)
        for path in PAGES + _ALSO[1:]:
            await visit.open(path)
            await _judge(visit, f"page{_file_name(path)}", variant)
        for state, identity in incidents.items():
            await visit.open(f"/incidents/{identity}")
            await _judge(visit, f"incident-{state}", variant)
        assert [one for one in await visit.complaints() if not re.search("40[04]", one)] == []
    add_user(collector.store, "ada", TokenRole.OPERATOR, _PASSWORD, now())
    base = f"https://127.0.0.1:{collector.port}"
    async with visiting(browser, base, size=size, colours=colours, ignore_https_errors=True) as visit:
        await _judge_entrance(visit, base, variant)
        await _judge_frozen(visit, collector, variant)


async def _judge_entrance(visit: Visit, base: str, variant: str) -> None:
    await visit.page.goto(f"{base}/login")
    await _judge(visit, "login", variant)
    for password, state in (("wrong", "login-refused"), (_PASSWORD, "overview-of-a-person")):
        await visit.page.fill("#name", "ada")
        await visit.page.fill("#password", password)
        await visit.page.click("main button")
        await visit.page.wait_for_selector("[role=alert]" if password == "wrong" else "#live.on")
        await _judge(visit, state, variant)


async def _judge_frozen(visit: Visit, collector: Collector, variant: str) -> None:
    """A collector that says nothing any more."""
    assert collector.process is not None
    collector.process.send_signal(signal.SIGSTOP)
    try:
        await visit.page.wait_for_selector("#stale:not([hidden])")
        await _judge(visit, "not-current", variant)
    finally:
        collector.process.send_signal(signal.SIGCONT)


def _file_name(path: str) -> str:
    name = re.sub(r"\W+", "-", re.sub(r"(\w)\1{9,}", r"\1", path))
    return f"{name.rstrip('-')[:60]}"


@pytest.mark.timeout(600)
async def test_every_page_is_there_without_script(collector: Collector, browser: Browser) -> None:
    """As it came from the collector: the same words, nothing that waits for a script, and when it was made. It reads
    itself again; lists are filtered and things are found by plain forms."""
    incidents = await report_odd_fleet(collector)
    await settled(collector)
    paths = (*PAGES, *(f"/incidents/{identity}" for identity in incidents.values()))
    async with browsing(browser, collector, size=PHONE, java_script_enabled=False) as visit:
        page = visit.page
        for path in paths:
            answer = await page.goto(f"https://127.0.0.1:{collector.port}{path}")
            assert answer is not None
            text = await answer.text()
            assert '<noscript><meta http-equiv="refresh" content="30"></noscript>' in text, path
            shown = await page.text_content("main")
            assert "".join((shown or "").split()) == "".join(words_of(text).split()), path
            assert await page.is_visible("h1"), path
            assert not await page.is_visible("#live"), path
            assert re.match(r"As of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", await page.inner_text("#made")), path
            assert await page.locator("button.copy").count() == 0
        await page.goto(f"https://127.0.0.1:{collector.port}/incidents")
        await page.select_option("#by-state", "resolved")
        await page.click(".filters button")
        await page.wait_for_url("**/incidents?*state=resolved*")
        assert incidents["resolved"] in await page.content()
        await page.fill("#find", "v6.zone2.test")
        await page.press("#find", "Enter")
        await page.wait_for_url("**/paths/v6.zone2.test")
        await page.goto(f"https://127.0.0.1:{collector.port}/incidents/{incidents['open']}")
        await page.click(f"#ack-{incidents['open']}")
        await page.wait_for_selector(".state.acknowledged")
    assert "Acknowledged by ops" in words_of(await read(collector, f"/incidents/{incidents['open']}"))
