"""The pages on a real server: what they show, what they never do, and that they stay short with many nodes."""

import re
from datetime import timedelta

import msgspec
import pytest

from certagent.domain.rehearsals import RehearsalOutcome
from certagent.domain.reports import FileChange, Resolver
from tests.collector.cast import certificate, now
from tests.collector.process import Collector
from tests.evidence import LINE, TRAEFIK, rehearse_traefik, shadow

pytestmark = pytest.mark.slow

NASTY = "<script>alert(1)</script>"


async def _read(collector: Collector, path: str, status: int = 200) -> str:
    async with collector.session("ops") as session, session.get(path) as response:
        text = await response.text()
        assert response.status == status, text
        assert response.content_type == "text/html"
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        return text


async def _break(collector: Collector) -> str:
    """The founding failure, rehearsed, with a script in every word that an agent may choose; the incident's id."""
    await collector.introduce()
    failed = rehearse_traefik(RehearsalOutcome.FAILED, poisoned=True)
    for agent in (collector.cast.traefik, collector.cast.authority):
        await collector.report(agent.preflight(rehearsals=(failed,), verdicts={TRAEFIK: "block"}))
    nasty = msgspec.structs.replace(shadow(), fix=NASTY, detail={"note": NASTY, "list": [NASTY], NASTY: {"x": NASTY}})
    await collector.report(collector.cast.authority.watch(nasty))
    return str((await collector.incidents())[0]["id"])


async def test_every_page_shows_what_it_is_for_and_executes_nothing(collector: Collector) -> None:
    """Server-rendered, escaped, nothing from outside, nothing inline."""
    identity = await _break(collector)
    shown = {
        "/": ("/etc/hosts:7", "10.0.0.153 traefik", "If the CA stays down", "<svg"),
        f"/incidents/{identity}": (
            "certagent fix",
            "certagent explain dns.hosts_shadow.authority</code>",
            "decides, and is wrong",
            "History",
        ),
        "/incidents": ("/etc/hosts:7",),
        "/certificates": ("traefik", "cannot be renewed"),
        "/nodes": ("lxc101", "10.0.0.153"),
        "/nodes/lxc103": ("/etc/hosts", "dns.hosts_shadow.authority"),
        "/nodes/lxc102/certificates/traefik": ("Served against disk", "as on disk", "Preflight"),
        f"/paths/{TRAEFIK}": ('class="hop culprit"', "breaks at step 2", "nameserver 10.0.0.153", "flowchart LR"),
    }
    for path, words in shown.items():
        text = await _read(collector, path)
        for word in words:
            assert word in text, (path, word)
        assert NASTY not in text
        for forbidden in ("<style", "style=", " onclick", "javascript:"):
            assert forbidden not in text, (path, forbidden)
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", ""), path


async def test_the_nodes_say_which_roots_they_trust(collector: Collector) -> None:
    """In short in the list, in full on the node's page and in the API; an older agent does not say."""
    await collector.introduce()
    told = collector.cast.authority.inventory("10.0.0.10", "authority")
    assert told.inventory is not None
    roots = ("a1b2c3d4" * 8, "99887766" * 8)
    inventory = msgspec.structs.replace(told.inventory, roots=roots)
    await collector.report(msgspec.structs.replace(told, inventory=inventory))
    listed, shown = await _read(collector, "/nodes"), await _read(collector, "/nodes/lxc103")
    assert all(root[:8] in listed and root in shown for root in roots)
    assert "It trusts the CA's root" not in await _read(collector, "/nodes/lxc102")
    _, page = await collector.get("/v1/agents")
    assert [tuple(agent["roots"]) for agent in page["items"]] == [(), (), roots]
    for reader in ("ops", "lxc103"):
        _, page = await collector.get("/v1/roots", reader)
        assert [(one["node"], tuple(one["roots"])) for one in page["items"]] == [
            ("lxc101", ()),
            ("lxc102", ()),
            ("lxc103", roots),
        ]
    assert (await collector.get("/v1/roots", "lxc102"))[0] == 403


async def test_the_node_says_how_it_resolves_and_the_incident_what_changed_before(collector: Collector) -> None:
    """Whole lines, those that went and those that came; an agent that does not say it leaves no hole."""
    await collector.introduce()
    assert "Names are resolved by" not in await _read(collector, "/nodes/lxc103")
    resolver = Resolver(order=("files", "dns"), nameservers=("10.0.0.153", "10.0.0.53"), search=("internal",))
    told = collector.cast.authority.inventory("10.0.0.10", "authority")
    assert told.inventory is not None
    inventory = msgspec.structs.replace(told.inventory, resolver=resolver)
    await collector.report(msgspec.structs.replace(told, inventory=inventory))
    text = re.sub(r"<[^>]+>", "", await _read(collector, "/nodes/lxc103"))
    assert "resolved by files, then dns; nameservers 10.0.0.153, 10.0.0.53, searching internal" in text
    change = FileChange(file="/etc/hosts", exists=True, removed=("10.0.0.12 x",), added=(LINE, NASTY))
    watched = collector.cast.authority.watch(shadow())
    await collector.report(msgspec.structs.replace(watched, changes=(change,)))
    (incident,) = await collector.incidents()
    text = await _read(collector, f"/incidents/{incident['id']}")
    assert "The change before" in text
    shown = text.partition("The change before")[2].partition("</section>")[0]
    assert re.findall(r'aria-label="(\w+)">.</span><code>([^<]+)', shown)[:2] == [
        ("removed", "10.0.0.12 x"),
        ("added", LINE),
    ]
    assert NASTY not in text


async def test_an_operator_acknowledges_by_the_pages_own_form_alone(collector: Collector) -> None:
    """Its hidden token must come back; without it, or with another's, nothing happens."""
    identity = await _break(collector)
    (token,) = re.findall(r'name="token" value="(\w+)"', await _read(collector, f"/incidents/{identity}"))
    action = f"/incidents/{identity}/acknowledge"
    async with collector.session("ops") as session:
        for wrong in ({}, {"token": ""}, {"token": "ab" * 32}):
            async with session.post(action, data=wrong) as response:
                assert response.status == 403
        assert [one["state"] for one in await collector.incidents()] == ["open"]
        async with session.post(action, data={"token": token}, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, f"/incidents/{identity}")
    text = await _read(collector, f"/incidents/{identity}")
    assert "Acknowledged by ops" in text
    assert "<button" not in text


async def test_any_name_is_looked_up_and_its_path_kept_as_mermaid(collector: Collector) -> None:
    """However it is written; what nobody knows is a page, too."""
    await _break(collector)
    async with collector.session("ops") as session:
        async with session.get("/paths", params={"identifier": f" {TRAEFIK.upper()}. "}) as response:
            assert (response.status, response.url.path) == (200, f"/paths/{TRAEFIK}")
        async with session.get(f"/paths/{TRAEFIK}/mermaid") as response:
            assert response.content_type == "text/plain"
            assert f'filename="{TRAEFIK}.mmd"' in response.headers["Content-Disposition"]
            assert (await response.text()).startswith("flowchart LR\n")
    for path in ("/paths/<script>alert(1)", "/incidents/nothing", "/nodes/nobody", "/nodes/lxc102/certificates/none"):
        assert "Not Found" in await _read(collector, path, 404)
    assert "Bad Request" in await _read(collector, "/nodes?cursor=zz", 400)


async def test_lists_of_many_are_short_pages_that_hold_every_one_once(collector: Collector) -> None:
    """The soonest to die first, whatever their number; the overview shows a few of them and leads to the rest."""
    count = 250
    states = [certificate(f"c{n}", f"c{n}.test", left=timedelta(hours=n % 7 + 1, minutes=n)) for n in range(count)]
    await collector.report(collector.cast.traefik.inventory("10.0.0.12", "traefik", *states))
    seen: list[str] = []
    address: str | None = "/certificates"
    while address is not None:
        text = await _read(collector, address)
        seen += re.findall(r'href="/nodes/lxc102/certificates/(c\d+)"', text)
        following = re.search(r'href="(/certificates\?cursor=\w+)" rel="next"', text)
        address = following[1] if following else None
    expected = [one.name for one in sorted(states, key=lambda one: one.on_disk.not_after if one.on_disk else now())]
    assert seen == expected
    overview = await _read(collector, "/")
    table = overview.partition("<h2>Certificates")[2]
    assert len(re.findall(r'href="/nodes/lxc102/certificates/', table)) == 12
    assert f"All {count} certificates" in overview


async def test_style_and_script_are_our_own_files(collector: Collector) -> None:
    """Nobody needs a token for them, and there are no others."""
    text = await _read(collector, "/")
    async with collector.session(None) as session:
        for name, kind in (("style.css", "text/css"), ("live.js", "text/javascript")):
            (address,) = re.findall(rf'"(/assets/{name}\?\w+)"', text)
            async with session.get(address) as response:
                assert (response.status, response.content_type) == (200, kind)
        async with session.get("/assets/..%2Fpages.py") as response:
            assert response.status == 404
