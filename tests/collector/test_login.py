"""People at the entrance: by name and password, not from elsewhere, not too often; and out again. On a real server."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from certagent.collector.credentials import add_user, is_password, list_users, remove_user, set_password
from certagent.collector.records import TokenRole
from tests.collector.cast import now
from tests.collector.process import Collector, eventually
from tests.e2e.chromium import chromium, visiting
from tests.evidence import shadow

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"
OURS = {"Sec-Fetch-Site": "same-origin"}
PAGE = {"Accept": "text/html"}


@pytest.fixture
async def person(collector: Collector) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser's session of its own; `ada` is an operator, `vic` a viewer."""
    add_user(collector.store, "ada", TokenRole.OPERATOR, PASSWORD, now())
    add_user(collector.store, "vic", TokenRole.VIEWER, PASSWORD, now())
    async with aiohttp.ClientSession(
        f"https://127.0.0.1:{collector.port}",
        connector=aiohttp.TCPConnector(ssl=collector.trust()),
        cookie_jar=aiohttp.CookieJar(unsafe=True),
    ) as session:
        yield session


async def log_in(
    session: aiohttp.ClientSession, name: str = "ada", password: str = PASSWORD, place: str = "/"
) -> tuple[int, str, str]:
    """(status, Location, Set-Cookie)."""
    form = {"name": name, "password": password, "next": place}
    async with session.post("/login", data=form, headers=OURS, allow_redirects=False) as response:
        return response.status, response.headers.get("Location", ""), response.headers.get("Set-Cookie", "")


async def _status(session: aiohttp.ClientSession, path: str = "/v1/agents") -> int:
    async with session.get(path, allow_redirects=False) as response:
        return response.status


async def test_a_person_enters_and_leaves(collector: Collector, person: aiohttp.ClientSession) -> None:
    """A page leads to the entrance, the entrance back to the page; the way out is a form of the page."""
    async with person.get("/nodes?cursor=ab", headers=PAGE, allow_redirects=False) as response:
        led = URL(response.headers["Location"])
        assert (response.status, led.path, led.query["next"]) == (303, "/login", "/nodes?cursor=ab")
    status, location, cookie = await log_in(person, place="/nodes")
    assert (status, location) == (303, "/nodes")
    assert cookie.startswith("__Host-certagent=")
    assert {"HttpOnly", "Secure", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    async with person.get("/") as response:
        text = await response.text()
    assert "<span>ada</span>" in text
    (token,) = set(re.findall(r'name="token" value="(\w+)"', text))
    async with person.post("/logout", data={"token": "no"}, headers=OURS) as response:
        assert response.status == 403
    assert await _status(person) == 200
    kept = {"Cookie": cookie.partition(";")[0]}
    async with person.post("/logout", data={"token": token}, headers=OURS, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/login")
    async with collector.session(None) as session, session.get("/v1/agents", headers=kept) as response:
        assert response.status == 401  # the session is gone at the collector, not only in the browser


async def test_who_is_wrong_learns_nothing(collector: Collector, person: aiohttp.ClientSession) -> None:
    """Neither whether there is such a name, nor more than a few times a minute; the right one is not locked out."""
    for name, password in (("ada", "wrong"), ("nobody", PASSWORD), ("ops", collector.tokens["ops"])):
        async with person.post("/login", data={"name": name, "password": password}, headers=OURS) as response:
            assert response.status == 403
            assert "Wrong name or password." in await response.text()
    tries = [await log_in(person, "vic", "wrong") for _ in range(7)]
    assert [status for status, _, _ in tries] == [403] * 5 + [429] * 2
    assert (await log_in(person))[0] == 303
    assert PASSWORD not in collector.log()


async def test_nobody_is_logged_in_from_elsewhere_or_led_elsewhere(person: aiohttp.ClientSession) -> None:
    """Another site's form is refused; `next` never leaves the page."""
    form = {"name": "ada", "password": PASSWORD}
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.test"}, {}):
        async with person.post("/login", data=form, headers=headers) as response:
            assert response.status == 403
    for place in ("//evil.test/", "https://evil.test/", "/\\evil.test", "javascript:alert(1)", ""):
        assert (await log_in(person, place=place))[1] == "/", place


async def test_a_session_acts_only_for_its_own_page(collector: Collector, person: aiohttp.ClientSession) -> None:
    """The browser's word on where a change comes from, for the API too; and a viewer changes nothing."""
    await collector.report(collector.cast.authority.watch(shadow()))
    identity = (await collector.incidents())[0]["id"]
    await log_in(person)
    for headers, status in (({}, 403), ({"Sec-Fetch-Site": "cross-site"}, 403), (OURS, 200)):
        async with person.post(f"/v1/incidents/{identity}/ack", headers=headers) as response:
            assert response.status == status
    assert (await collector.incidents())[0]["acknowledged_by"] == "ada"
    person.cookie_jar.clear()
    await log_in(person, "vic")
    async with person.post(f"/v1/incidents/{identity}/ack", headers=OURS) as response:
        assert response.status == 403
    assert await _status(person, "/") == 200


async def test_another_password_ends_all_sessions_and_so_does_removal(
    collector: Collector, person: aiohttp.ClientSession
) -> None:
    """As soon as the collector looks again; the new password opens, a removed person stays outside."""

    async def is_outside() -> bool:
        return await _status(person) == 401

    new = "another good password"
    await log_in(person)
    assert await _status(person) == 200
    assert set_password(collector.store, "ada", new)
    assert await eventually(is_outside)
    assert [(await log_in(person, "ada", password))[0] for password in (PASSWORD, new)] == [403, 303]
    assert await _status(person) == 200
    assert remove_user(collector.store, "ada")
    assert await eventually(is_outside)
    assert (await log_in(person, "ada", new))[0] == 403


def test_people_are_named_and_their_passwords_long_and_hashed(tmp_path: Path) -> None:
    """The database has no password in it."""
    url = f"sqlite:///{tmp_path}/c.db"
    add_user(url, "ada", TokenRole.OPERATOR, PASSWORD, now())
    for name, password, complaint in (
        ("ada", PASSWORD, "already"),
        ("a b", PASSWORD, "letters"),
        ("eve", "short", "12"),
        ("eve", "x" * 2_000, "1024"),
    ):
        with pytest.raises(ValueError, match=complaint):
            add_user(url, name, TokenRole.VIEWER, password, now())
    assert [(one.name, one.role, one.password) for one in list_users(url)] == [("ada", "operator", "")]
    assert b"".join(path.read_bytes() for path in tmp_path.iterdir()).count(PASSWORD.encode()) == 0
    assert not set_password(url, "eve", PASSWORD)
    assert not remove_user(url, "eve")
    assert not is_password("", None)


@pytest.mark.servers
async def test_a_person_logs_in_with_a_real_browser(collector: Collector, person: aiohttp.ClientSession) -> None:
    """By keyboard; the page is live afterwards, and the way out leads back to the entrance."""
    base = f"https://127.0.0.1:{collector.port}"
    async with chromium() as browser, visiting(browser, base, ignore_https_errors=True) as visit:
        page = visit.page
        await page.goto(f"{base}/nodes")
        assert await visit.judge() == []
        await page.keyboard.type("ada")  # the field has the focus
        await page.keyboard.press("Tab")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{base}/nodes")
        await page.wait_for_selector("#live.on")
        assert await visit.judge() == []
        for width in (1280, 390):  # the audit, which an operator sees, is in the navigation, too
            await page.set_viewport_size({"width": width, "height": 800})
            await page.goto(f"{base}/audit")
            await page.wait_for_selector("#live.on")
            assert await visit.judge() == []
        assert await page.locator("tbody tr").first.inner_text() != ""
        await page.click("text=Log out")
        await page.wait_for_url(f"{base}/login")
        assert await visit.complaints() == []
