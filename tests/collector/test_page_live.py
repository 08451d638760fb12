"""The page while somebody looks at it, in a real browser: commands are copied, what is not current says so and is over
by itself, and a print has the content alone."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route

from tests.collector.browsing import browsing
from tests.collector.process import Collector, running
from tests.collector.test_page_lists import settled
from tests.e2e.chromium import chromium
from tests.evidence import shadow

pytestmark = [pytest.mark.slow, pytest.mark.servers]

_NO_CLIPBOARD = 'Object.defineProperty(navigator, "clipboard", { value: undefined });'
_NOTHING_COPIES = "document.execCommand = () => false;"
_STALE, _FRESH = "#stale:not([hidden])", "#stale[hidden]"
_COLOURS = """
() => ["h1", ".figures dd"].map(one => getComputedStyle(document.querySelector(one)).color)
  .concat(getComputedStyle(document.querySelector("main")).filter)
"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium with a fresh profile."""
    async with chromium() as one:
        yield one


async def _keep(page: Page) -> None:
    """The page does not read itself again, which would put other buttons in the place of these."""

    async def answer(route: Route) -> None:
        await (route.abort() if route.request.resource_type == "fetch" else route.continue_())

    await page.route("**/", answer)


async def _pasted(page: Page) -> str:
    """What a person gets who pastes, in the page's own field."""
    await page.fill("#find", "")
    await page.focus("#find")
    await page.keyboard.press("Control+V")
    return await page.input_value("#find")


@pytest.mark.parametrize("script", ["", _NO_CLIPBOARD], ids=["clipboard", "plain http"])
async def test_a_command_is_copied_as_it_stands(collector: Collector, browser: Browser, script: str) -> None:
    """Each of the beginning's, by its button; and said to whoever cannot see the button."""
    async with browsing(browser, collector, permissions=["clipboard-read", "clipboard-write"]) as visit:
        page = visit.page
        await page.add_init_script(script)
        await _keep(page)
        await visit.open("/")
        commands = [text.strip() for text in await page.locator(".command > code").all_inner_texts()]
        assert len(commands) >= 2
        for number, command in enumerate(commands):
            button = page.locator("button.copy").nth(number)
            assert await button.get_attribute("aria-label") == f"Copy {command}"
            await button.click()
            await page.wait_for_function("one => one.textContent === 'Copied'", arg=await button.element_handle())
            assert await page.inner_text("#spoken") == f"Copied: {command}"
            assert await _pasted(page) == command


async def test_what_cannot_be_copied_is_selected_and_not_called_copied(collector: Collector, browser: Browser) -> None:
    """A browser that lets no page copy."""
    async with browsing(browser, collector) as visit:
        await visit.page.add_init_script(_NO_CLIPBOARD + _NOTHING_COPIES)
        await _keep(visit.page)
        await visit.open("/")
        button = visit.page.locator("button.copy").first
        await button.click()
        await visit.page.wait_for_function("one => one.textContent === 'Selected'", arg=await button.element_handle())
        command = await visit.page.locator(".command > code").first.inner_text()
        assert await visit.page.evaluate("getSelection().toString()") == command


async def test_a_dead_collector_is_said_within_seconds_and_over_by_itself(
    collector: Collector, browser: Browser
) -> None:
    """The banner, the title, and no colour left; then the collector is started again, and nobody touches the page."""
    await collector.introduce()
    await collector.report(collector.cast.authority.watch(shadow()))
    await settled(collector)
    async with browsing(browser, collector) as visit:
        page = visit.page
        await visit.open("/")
        await page.wait_for_selector(_FRESH, state="attached")
        title, colours = await page.title(), await page.evaluate(_COLOURS)
        assert title.startswith("(1) ")
        await collector.stop()
        since = time.monotonic()
        await page.wait_for_selector(_STALE, timeout=10_000)
        assert time.monotonic() - since <= 5 + 2  # a beat may just have come; it is looked at every second
        assert "Not current since" in await page.inner_text("#stale")
        assert await page.title() == f"Not current · {title}"
        dimmed = await page.evaluate(_COLOURS)
        assert dimmed[-1] == "grayscale(1)"
        assert all(now != before for now, before in zip(dimmed, colours, strict=True))
        await collector.start()
        await page.wait_for_selector(_FRESH, state="attached", timeout=20_000)
        assert await page.title() == title
        assert await page.evaluate(_COLOURS) == colours


@pytest.mark.timeout(120)
async def test_a_look_at_the_fleet_that_is_half_a_minute_old_is_said(tmp_path: Path, browser: Browser) -> None:
    """Although the collector itself is there, and its beats come."""
    policy = tmp_path / "policy.toml"
    policy.write_text('[collector]\nlook_every = "45s"\n', encoding="utf-8")
    async with (
        running(tmp_path, top=f'policy = "{policy}"\n') as collector,
        browsing(browser, collector) as visit,
    ):
        await visit.open("/")
        await visit.page.wait_for_selector(_FRESH, state="attached")
        began = time.monotonic()
        await visit.page.wait_for_selector(_STALE, timeout=45_000)
        assert 20 <= time.monotonic() - began <= 36
        assert await visit.page.is_visible("#live.on")
        await visit.page.wait_for_selector(_FRESH, state="attached", timeout=30_000)


@pytest.mark.parametrize("path", ["/", "/incidents", "/certificates", "/nodes", "/findings"])
async def test_a_print_is_the_content_alone(collector: Collector, browser: Browser, path: str) -> None:
    """No bar, no button, no form, no footer; black on white; all of the text of the page."""
    await collector.introduce()
    await collector.report(collector.cast.authority.watch(shadow()))
    await settled(collector)
    async with browsing(browser, collector) as visit:
        page = visit.page
        await visit.open(path)
        heading = await page.inner_text("h1")
        rows = await page.locator("main tr:visible").count()
        await page.emulate_media(media="print")
        for what in (".top", "footer", "button", "form", "#stale", ".skip", "#live"):
            assert await page.locator(f"{what}:visible").count() == 0, what
        assert await page.inner_text("h1") == heading
        assert await page.locator("main tr:visible").count() == rows
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgba(0, 0, 0, 0)"
        assert (await page.pdf()).startswith(b"%PDF")
