"""The page in a real browser, with what the running lab reported and nothing else."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from deploy.lab import faults
from deploy.story import witness
from tests.e2e import fleet
from tests.e2e.chromium import PHONE, SCREEN, chromium, visiting
from tests.e2e.fleet import IDENTIFIERS, SEED, TRAEFIK

pytestmark = pytest.mark.lab

FIVE = (SEED, "dns-record-nobody", "nginx-return-404", "reach-traefik-stopped", "traefik-stale-port")
Path = dict[str, Any]
"""A path's document."""
SECONDS = 30_000.0  # in milliseconds, as Playwright counts

_READ_PICTURE = """
() => Object.fromEntries(["intended", "actual"].map(lane => [lane,
  [...document.querySelectorAll(`.path.wide .lane.${lane} .hop`)].map(hop => ({
    kind: hop.dataset.kind, state: hop.dataset.state, culprit: hop.classList.contains("culprit"),
    label: hop.querySelector(".label").textContent,
    address: [...hop.querySelectorAll(".address")].map(line => line.textContent).join("") || null,
    node: hop.querySelector(".place").textContent.split(" · ")[0],
    word: hop.querySelector(".word")?.textContent ?? "",
    edge: getComputedStyle(hop.querySelector(".card")).stroke,
  }))]))
"""
_RED = """
() => {
  const probe = document.createElement("span");
  probe.className = "bad";
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}
"""
_WORDS = {"ok": "", "broken": "broken", "unknown": "not known"}
_REACHABLE = """
() => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']")]
  .filter(one => one.checkVisibility()).length
"""
_REACH = """
() => {
  const one = document.activeElement;
  if (one === document.body || one.dataset.reached) return null;
  one.dataset.reached = "yes";
  const style = getComputedStyle(one);
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
}
"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium with a fresh profile."""
    async with chromium() as one:
        yield one


def _shown(hop: dict[str, Any]) -> dict[str, Any]:
    """A hop of the collector's document as the picture has to show it."""
    return {
        **{key: hop[key] for key in ("kind", "state", "culprit", "address")},
        "word": "culprit" if hop["culprit"] else _WORDS[hop["state"]],
    }


def _traced(node: str, identifier: str) -> Path:
    document: Path = witness.certagent(node, "trace", identifier)[1]
    assert document["source"]["kind"] == "collector"
    return document


async def _compare(page: Page, document: Path) -> str | None:
    """What the picture shows otherwise than the document says; None if nothing."""
    picture = await page.evaluate(_READ_PICTURE)
    red = await page.evaluate(_RED)
    for lane in ("intended", "actual"):
        if len(document[lane]) != len(picture[lane]):
            return f"{lane}: {len(picture[lane])} hops, not {len(document[lane])}"
        for hop, seen in zip(document[lane], picture[lane], strict=True):
            if any(seen[key] != value for key, value in _shown(hop).items()):
                return f"{lane}: {seen}, not {hop}"
            if not hop["label"].startswith(seen["label"].rstrip("…")) or (hop["node"] or seen["node"]) != seen["node"]:
                return f"{lane}: {seen}, not {hop}"
            if (seen["edge"] == red) != (hop["state"] == "broken"):
                return f"{lane}: {seen['label']} has an edge of {seen['edge']}"
    return None


async def _agrees(page: Page, read: Callable[[], Path]) -> None:
    """Wait until the picture, live as it is, shows what the document says: findings still come in."""
    difference: str | None = "nothing was compared"
    for _ in range(60):
        difference = await _compare(page, read())
        if difference is None:
            return
        await page.wait_for_timeout(500)
    raise AssertionError(difference)


@pytest.mark.parametrize("fault", FIVE, indirect=True)
async def test_the_picture_shows_the_broken_path_as_the_collector_knows_it(fault: str, browser: Browser) -> None:
    """Hop by hop, intended and actual; the culprit is red, carries the word, and is the fault's own."""
    broken = faults.load(fault)
    identifier = broken.identifiers[0]
    node = next(node for node, names in IDENTIFIERS.items() if identifier in names)
    fleet.check(node)
    async with visiting(browser, witness.page()) as visit:
        await visit.open(f"/paths/{identifier}")
        await visit.page.wait_for_selector(".path.wide .lane.actual.broken", timeout=SECONDS)
        await _agrees(visit.page, lambda: witness.collector(f"/v1/paths/{identifier}"))
        await _agrees(visit.page, lambda: _traced(node, identifier))
        lead = await visit.page.inner_text(".lead code.bad")
        assert broken.culprit is not None
        assert lead.startswith(broken.culprit.node)
        assert (broken.culprit.file or "") in lead
        assert await visit.complaints() == []
        assert await visit.judge() == []


async def test_the_picture_of_a_healthy_path_has_nothing_red(green: None, browser: Browser) -> None:
    """Proven by rehearsal, and said so."""
    fleet.until("the way is rehearsed", 60, _is_rehearsed)
    async with visiting(browser, witness.page()) as visit:
        await visit.open(f"/paths/{TRAEFIK}")
        await visit.page.wait_for_selector(".path.wide .heading:text('proven by rehearsal')", timeout=SECONDS)
        await _agrees(visit.page, lambda: witness.collector(f"/v1/paths/{TRAEFIK}"))
        await _agrees(visit.page, lambda: _traced("lxc102", TRAEFIK))
        actual = (await visit.page.evaluate(_READ_PICTURE))["actual"]
        assert {hop["state"] for hop in actual} == {"ok"}


def _is_rehearsed() -> bool:
    rehearsal = fleet.check_one("lxc102", TRAEFIK)["rehearsal"]
    return rehearsal is not None and rehearsal["outcome"] == "passed"


async def test_a_fault_appears_and_goes_without_a_reload(green: None, browser: Browser) -> None:
    """By server-sent events; who was at a link stays there, and a screen reader is told."""
    async with visiting(browser, witness.page()) as visit:
        page = visit.page
        await visit.open("/")
        await page.wait_for_selector("h1:text('Nothing is in the way')", timeout=SECONDS)
        await page.evaluate("window.neverReloaded = true")
        await page.focus("main a[href='/nodes/lxc103']")
        fleet.break_with(SEED)
        await page.wait_for_selector("h1:text('One thing is in the way of 1 certificate')", timeout=SECONDS)
        assert await page.evaluate("document.activeElement.getAttribute('href')") == "/nodes/lxc103"
        assert "One thing" in await page.inner_text("#spoken")
        card = page.locator("article.incident")
        assert "lxc103:/etc/hosts" in await card.locator(".where").inner_text()
        assert "Remove line" in await card.locator(".todo").inner_text()
        assert TRAEFIK in await card.locator(".victims").inner_text()
        fleet.heal(SEED)
        await page.wait_for_selector("h1:text('Nothing is in the way')", timeout=SECONDS)
        assert await page.evaluate("window.neverReloaded") is True
        assert await visit.complaints() == []


def _open_an_incident() -> str:
    """Its id; the story of its victim has an address as long as they come."""
    fleet.break_with("traefik-dangling-service")
    fleet.check("lxc102")
    fleet.heal("traefik-dangling-service")
    fleet.wait_until_green(60)
    fleet.break_with(SEED)
    incident = fleet.until("an incident is open", 10, lambda: next(iter(witness.open_incidents()), None))
    return str(incident["id"])


@pytest.mark.parametrize("size", [SCREEN, PHONE], ids=["screen", "phone"])
@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_every_page_is_good_for_everybody(
    green: None, browser: Browser, size: tuple[int, int], colours: Any
) -> None:
    """Names, headings, labels, contrast, no wider than the window; every control by keyboard, with a visible focus."""
    identity = _open_an_incident()
    paths = (
        *("/", "/incidents", "/certificates", "/nodes", f"/incidents/{identity}", f"/paths/{TRAEFIK}"),
        *("/nodes/lxc103", "/nodes/lxc102/certificates/traefik", "/nodes/nobody"),
    )
    async with visiting(browser, witness.page(), size=size, colours=colours) as visit:
        for path in paths:
            await visit.open(path)
            assert await visit.judge() == [], path
            await visit.page.evaluate("window.refresh = () => {}")  # nothing is exchanged while we count
            reached = [await _press_tab(visit.page) for _ in range(await visit.page.evaluate(_REACHABLE))]
            assert all(reached), (path, reached)
        complaints = [one for one in await visit.complaints() if "404" not in one]
        assert complaints == []


async def _press_tab(page: Page) -> bool | None:
    await page.keyboard.press("Tab")
    return bool(await page.evaluate(_REACH))


async def test_an_incident_is_acknowledged_by_keyboard_and_without_script(green: None, browser: Browser) -> None:
    """The button is a form; everything is on the page before any script runs."""
    identity = _open_an_incident()
    async with visiting(browser, witness.page(), java_script_enabled=False) as visit:
        page = visit.page
        await page.goto(f"{witness.page()}/incidents/{identity}")
        assert "Remove line" in await page.inner_text("main")
        await page.focus("button")
        await page.keyboard.press("Enter")
        await page.wait_for_selector(".state.acknowledged", timeout=SECONDS)
        assert "Acknowledged by" in await page.inner_text(".state.acknowledged")
    assert witness.collector(f"/v1/incidents/{identity}")["state"] == "acknowledged"


async def test_the_incident_shows_the_change_before_and_the_node_its_nameserver(green: None, browser: Browser) -> None:
    """As the agents saw both: the line that was written, and what resolv.conf and nsswitch.conf say."""
    fleet.break_with(SEED)
    identity = fleet.until("an incident is open", 10, lambda: next(iter(witness.open_incidents()), None))["id"]
    async with visiting(browser, witness.page()) as visit:
        await visit.open(f"/incidents/{identity}")
        change = visit.page.locator(".preceding")
        assert "lxc103" in await change.locator("h2").inner_text()
        assert await change.locator("li code").all_inner_texts() == [f"10.0.0.153 {TRAEFIK}"]
        await visit.open("/nodes/lxc103")
        resolver = await visit.page.inner_text(".resolver")
        assert "files, then dns" in resolver
        assert "10.0.0.153" in resolver
        assert await visit.complaints() == []


async def test_the_search_field_leads_to_any_path_and_it_can_be_kept(green: None, browser: Browser) -> None:
    """Typed by hand; the Mermaid text is a download."""
    async with visiting(browser, witness.page()) as visit:
        page = visit.page
        await visit.open("/")
        await page.fill("#find", TRAEFIK.upper())
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/paths/{TRAEFIK}")
        async with page.expect_download() as kept:
            await page.click("a[download]")
        download = await kept.value
        assert download.suggested_filename == f"{TRAEFIK}.mmd"
        assert (await download.path()).read_text().startswith("flowchart LR\n")


async def test_what_a_frozen_collector_said_is_not_taken_for_current(green: None, browser: Browser) -> None:
    """Within seconds, in words and in the title; when it goes on, the page does by itself."""
    async with visiting(browser, witness.page()) as visit:
        await visit.open("/")
        await visit.page.wait_for_selector("#live.on", timeout=SECONDS)
        assert await visit.page.is_hidden("#stale")
        witness.inside("lxc104", "systemctl", "kill", "-s", "STOP", "certagent-collector")
        try:
            await visit.page.wait_for_selector("#stale:not([hidden])", timeout=SECONDS)
            assert "Not current since" in await visit.page.inner_text("#stale")
            assert (await visit.page.title()).startswith("Not current")
            assert await visit.judge() == []
        finally:
            witness.inside("lxc104", "systemctl", "kill", "-s", "CONT", "certagent-collector")
        await visit.page.wait_for_selector("#stale", state="hidden", timeout=SECONDS)
        assert not (await visit.page.title()).startswith("Not current")
