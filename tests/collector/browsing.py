"""The pages of a collector in a real browser, as an operator has them, and what a test reads off them there."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from playwright.async_api import Browser

from tests.collector.process import Collector
from tests.e2e.chromium import Visit, visiting

LAPTOP, PHONE = (1280, 720), (390, 844)

_READ_ANSWERS = """
() => [...document.querySelectorAll(".answers > li")].slice(0, 3).map(answer => {
  const range = document.createRange();
  range.selectNodeContents(answer);
  const boxes = [answer.getBoundingClientRect(), ...range.getClientRects()];
  const isOnTop = box => answer.contains(document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2));
  return {
    text: answer.innerText,
    box: [
      Math.min(...boxes.map(box => box.left)), Math.min(...boxes.map(box => box.top)),
      Math.max(...boxes.map(box => box.right)), Math.max(...boxes.map(box => box.bottom)),
    ],
    is_seen: [...range.getClientRects()].every(isOnTop)
      && answer.checkVisibility({ visibilityProperty: true, opacityProperty: true }),
  };
})
"""


class Answer(msgspec.Struct, frozen=True):
    """One of the overview's three sentences. `box`: left, top, right, bottom of its text, in pixels of the window;
    `is_seen`: nothing lies over it."""

    text: str
    box: tuple[float, float, float, float]
    is_seen: bool

    def is_within(self, size: tuple[int, int]) -> bool:
        """Whether the whole of it stands in the first screen of such a window."""
        left, top, right, bottom = self.box
        return self.is_seen and left >= 0 and top >= 0 and right <= size[0] and bottom <= size[1]


@asynccontextmanager
async def browsing(browser: Browser, collector: Collector, **options: Any) -> AsyncIterator[Visit]:
    """A window of its own on the collector, with the operator's token."""
    headers = {"Authorization": f"Bearer {collector.tokens['ops']}"}
    base = f"https://127.0.0.1:{collector.port}"
    async with visiting(browser, base, ignore_https_errors=True, extra_http_headers=headers, **options) as visit:
        yield visit


async def answers_of(visit: Visit) -> list[Answer]:
    """The three sentences of the overview that is open, without scrolling."""
    assert await visit.page.evaluate("scrollY") == 0
    return msgspec.convert(await visit.page.evaluate(_READ_ANSWERS), list[Answer])


async def screens_of(visit: Visit) -> float:
    """How many windows high the page is."""
    return float(await visit.page.evaluate("document.scrollingElement.scrollHeight / innerHeight"))


def artefacts() -> Path:
    """Where the pictures of the latest run are kept: `$CERTAGENT_ARTEFACTS`, else beside what is cached."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(os.environ.get("CERTAGENT_ARTEFACTS") or f"{home}/certagent/artefacts") / "pages"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
