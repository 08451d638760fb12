"""Debian's Chromium, driven by Playwright: a page as a person has it, and everything that its browser complains of."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Browser, Page, async_playwright

from tests.e2e.axe import read_axe

PROGRAM = "/usr/bin/chromium"
QUIET = (
    "--no-sandbox",  # root, in a container or a throw-away machine
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SCREEN, PHONE = (1280, 860), (390, 844)
JUDGE = (Path(__file__).parent / "judge_page.js").read_text(encoding="utf-8")

_NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation",
  event => violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""

_RUN_AXE = """
async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .map(rule => [`${rule.id}: ${rule.help}`, ...rule.nodes.slice(0, 5).map(node => node.html)].join("\\n"))
"""


class Visit:
    """An open page and what was wrong with it."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self._base = base
        self._complaints: list[str] = []
        page.on("console", lambda message: self._complain(message.type, message.text))
        page.on("pageerror", lambda error: self._complain("error", str(error)))

    async def open(self, path: str) -> None:
        """Go there, and wait until it is live."""
        await self.page.goto(self._base + path)
        await self.page.wait_for_selector("#live.on")

    async def complaints(self) -> list[str]:
        """Errors on the console, and whatever the page's own policy forbade."""
        return self._complaints + list(await self.page.evaluate("window.violations"))

    async def judge(self) -> list[str]:
        """What `judge_page.js` finds wrong for people who cannot see well, or use a keyboard."""
        return list(await self.page.evaluate(JUDGE))

    async def run_axe(self) -> list[str]:
        """What axe-core finds wrong, by the rules that it has on: the rule, its words, and the first elements."""
        session = await self.page.context.new_cdp_session(self.page)  # which the page's own policy does not bind
        await session.send("Runtime.evaluate", {"expression": read_axe()})
        await session.detach()
        return list(await self.page.evaluate(_RUN_AXE))

    def _complain(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self._complaints.append(text)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser with a fresh profile."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=PROGRAM, args=list(QUIET))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visiting(
    browser: Browser,
    base: str,
    *,
    size: tuple[int, int] = SCREEN,
    colours: Literal["light", "dark"] = "light",
    **options: Any,
) -> AsyncIterator[Visit]:
    """A window of its own on `base`."""
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=colours, reduced_motion="reduce", **options
    )
    try:
        await context.add_init_script(_NOTE_VIOLATIONS)
        yield Visit(await context.new_page(), base)
    finally:
        await context.close()
