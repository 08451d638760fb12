"""Breaks the lab by the founding failure, takes the pictures, mends it again."""

import asyncio
import base64
from pathlib import Path

from playwright.async_api import Browser, Page

from deploy.story import witness
from tests.e2e import fleet
from tests.e2e.chromium import chromium, visiting
from tests.e2e.fleet import SEED, TRAEFIK

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "screenshots"
_SHARPNESS, _QUALITY = 1.5, 68
_WIDTH = 1280


async def main() -> None:
    """Overview, incident, path, a node and the renewals by zone; the lab is green before and after."""
    if not fleet.is_up():
        witness.lab("up", show=True)
    fleet.wait_until_green(120)
    fleet.break_with(SEED)
    try:
        incident = fleet.until("an incident is open", 20, lambda: next(iter(witness.open_incidents()), None))
        fleet.until("the rehearsal has failed", 60, lambda: fleet.check_one("lxc102", TRAEFIK)["verdict"] == "block")
        async with chromium() as browser:
            await _take(browser, "overview", "/", below="article.incident")
            await _take(browser, "incident", f"/incidents/{incident['id']}", below=".sides")
            await _take(browser, "path", f"/paths/{TRAEFIK}", below=".compared + p")
            await _take(browser, "node", "/nodes/lxc102", below="table.rows >> nth=1")
            await _take(browser, "history", "/history", below="table.rows")
    finally:
        fleet.heal(SEED)
    fleet.wait_until_green(120)


async def _take(browser: Browser, name: str, path: str, *, below: str) -> None:
    """The page from its top to the lower edge of what `below` selects."""
    async with visiting(browser, witness.page(), size=(_WIDTH, 900), device_scale_factor=_SHARPNESS) as visit:
        await visit.open(path)
        await visit.page.wait_for_selector(below)
        await visit.page.wait_for_timeout(500)  # what came with the first event is in place
        taken = await _capture(visit.page, below)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.webp").write_bytes(taken)
    print(f"{name}: {len(taken)} bytes")


async def _capture(page: Page, below: str) -> bytes:
    """As WebP, which Playwright's own screenshots are not."""
    box = await page.locator(below).first.bounding_box()
    assert box is not None
    clip = {"x": 0, "y": 0, "width": _WIDTH, "height": box["y"] + box["height"] + 28, "scale": 1}
    session = await page.context.new_cdp_session(page)
    options = {"format": "webp", "quality": _QUALITY, "clip": clip, "captureBeyondViewport": True}
    return base64.b64decode((await session.send("Page.captureScreenshot", options))["data"])


if __name__ == "__main__":
    asyncio.run(main())
