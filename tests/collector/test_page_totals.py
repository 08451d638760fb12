"""What the pages say of the whole fleet is counted in the database, and is true at any size and at any hour."""

import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from certagent.collector.credentials import add_token
from certagent.collector.dashboard.rendering import Renderer
from certagent.collector.records import Caller, TokenRole
from certagent.collector.sql.page_queries import fleet_totals, list_urgent
from certagent.collector.store import Store, open_store
from certagent.domain.policy import Alerting
from certagent.system.clock import SystemClock
from tests.collector.cast import Agent, certificate, now
from tests.collector.process import Collector, eventually
from tests.collector.test_store import take
from tests.evidence import refused, shadow

pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Empty and open."""
    async with open_store(f"sqlite:///{tmp_path}/c.db", Alerting(channels=()), SystemClock()) as store:
        yield store


async def fill(store: Store, nodes: int, incidents: int) -> None:
    """So many nodes with two certificates each, the first of two identifiers, of which so many cannot be renewed; the
    nodes' certificates end an hour after each other, those of the first two nodes have ended."""
    for number in range(nodes):
        agent, address = Agent(f"n{number}"), f"10.1.{number // 250}.{number % 250}"
        both = certificate("web", f"a{number}.test", f"b{number}.test", left=(number - 1) * HOUR - HOUR / 2)
        reports = [agent.inventory(address, "web", both, certificate("api", f"c{number}.test", left=999 * HOUR))]
        if number < incidents:
            for name in (f"a{number}.test", f"b{number}.test"):
                reports.append(agent.preflight(refused(address, agent.name, name), identifier=name))
        await take(store, agent, *reports)


def count_by_sql(connection: Connection) -> tuple[int, frozenset[tuple[str, str]], int]:
    """Unresolved incidents that are confirmed, certificates at risk, expired ones: by other means than the pages."""
    documents = connection.execute(text("SELECT document FROM incidents WHERE state <> 'resolved'")).scalars().all()
    confirmed = [incident for incident in map(json.loads, documents) if incident["confirmed"]]
    victims = (victim for incident in confirmed for victim in incident["victims"])
    at = int(now().timestamp() * 1e6)
    expired = connection.execute(text("SELECT count(*) FROM certificates WHERE expires_at <= :at"), {"at": at})
    return len(confirmed), frozenset((one["node"], one["certificate"]) for one in victims), expired.scalar_one()


@pytest.mark.parametrize(("nodes", "incidents"), [(0, 0), (1, 0), (1, 1), (6, 3), (120, 62)])
async def test_the_totals_are_those_of_the_database(store: Store, nodes: int, incidents: int) -> None:
    """A certificate is one, however many identifiers it has; dead is counted apart from dying."""
    await fill(store, nodes, incidents)
    totals = await store.read(fleet_totals, now())
    unresolved, at_risk, expired = await store.read(count_by_sql)
    assert (totals.nodes, totals.certificates) == (nodes, 2 * nodes)
    assert (totals.incidents, totals.at_risk, totals.expired) == (unresolved, at_risk, expired)
    assert totals.at_risk == {(f"n{number}", "web") for number in range(incidents)}
    assert totals.expired == min(nodes, 2)
    assert totals.expired_alone == max(0, min(nodes, 2) - incidents)
    if incidents > 2:
        assert totals.first_expired is not None
        assert totals.next_at_risk is not None
        assert (totals.first_expired.node, totals.next_at_risk.node) == ("n0", "n2")


async def test_what_dies_first_comes_first(store: Store) -> None:
    """Whatever was reported last."""
    await fill(store, 30, 30)
    shown = [incident.victims[0].node for incident in await store.read(list_urgent, 12)]
    assert shown == sorted(shown, key=lambda node: int(node[1:]))
    assert {"n0", "n1", "n2"} <= set(shown)
    assert "n29" not in shown


async def _read(collector: Collector, path: str = "/") -> str:
    async with collector.session("ops") as session, session.get(path) as response:
        return await response.text()


async def test_every_page_says_how_it_stands(collector: Collector) -> None:
    """More incidents than a page draws: title, sign and figures are those of all. Six are the collector's own: of
    what has expired, and of what is about to."""
    agents = [Agent(f"n{number}") for number in range(25)]
    collector.tokens |= {one.name: add_token(collector.store, one.name, TokenRole.AGENT, now()) for one in agents}
    for number, agent in enumerate(agents):
        name, address = f"a{number}.test", f"10.1.0.{number}"
        life = certificate("web", name, left=(number - 1) * HOUR - HOUR / 2)
        await collector.report(agent.inventory(address, "web", life))
        await collector.report(agent.preflight(refused(address, agent.name, name), identifier=name))

    async def is_looked_at() -> bool:
        return len(await collector.incidents()) == 31

    await eventually(is_looked_at)
    overview = await _read(collector)
    assert "<h1>31 things are in the way of 25 certificates</h1>" in overview
    assert "All 31 open incidents" in overview
    words = " ".join(re.sub(r"<[^>]+>", "", overview).split())
    assert "2 certificates have expired, the first 1 h 30 min ago: web on n0." in words
    assert "The next to expire cannot be renewed: web on n2, in 29 min." in words
    assert "Change first: n0. " in words
    for path in ("/", "/incidents", "/certificates", "/nodes", "/nodes/n3", "/nodes/n3/certificates/web"):
        page = await _read(collector, path)
        assert "<title>(31) " in page, path
        assert "fill='%23b3231b'" in page
    for path in ("/incidents", "/nodes/n3"):
        assert "31 open incidents · 25 certificates at risk · 2 expired" in await _read(collector, path)


async def test_the_title_counts_what_nothing_else_says(store: Store) -> None:
    """An expired certificate counts with its incident; one that no incident names counts by itself, and each page says
    which those are."""
    await fill(store, 2, 1)
    totals = await store.read(fleet_totals, now())
    assert (totals.incidents, totals.expired, totals.expired_alone, totals.alarms) == (1, 2, 1, 2)
    templates = Renderer(SystemClock())
    request: dict[str, Any] = {
        "caller": Caller("ops", TokenRole.OPERATOR),
        "is_operator": True,
        "is_session": False,
        "here": "/nodes",
    }
    page = templates.page(
        "problem.html", totals=totals, round_at=now(), version="1", problem={"title": "None", "detail": ""}, **request
    ).text
    assert page is not None
    assert "<title>(2) " in page
    assert "1 open incident · 1 certificate at risk · 2 expired, 1 without an incident" in page


async def test_an_empty_fleet_is_a_beginning(collector: Collector) -> None:
    """Each step is ticked as it is done; nothing is called well before there is anything."""
    page = await _read(collector)
    assert "No agent has reported yet" in page
    assert "Nothing is in the way" not in page
    for words in ("certagent enrol NAME", "certagent join", "no agent yet", "no certificate yet"):
        assert words in page
    await collector.report(collector.cast.traefik.inventory("10.0.0.12", "traefik"))
    page = await _read(collector)
    assert "an agent has reported" in page
    assert "No certificate has been reported yet" in page
    await collector.introduce()
    page = await _read(collector)
    assert "Nothing is in the way" in page
    assert "To begin" not in page


async def test_watchers_hear_a_beat_that_says_how_old_the_look_at_the_fleet_is(collector: Collector) -> None:
    beats = []
    async with collector.session("ops") as session, session.get("/v1/events") as response:
        kind = b""
        async for line in response.content:
            if line.startswith(b"data:") and kind == b"beat":
                beats.append(json.loads(line.removeprefix(b"data:"))["round_seconds"])
            kind = line.removeprefix(b"event:").strip()
            if len(beats) == 3:
                break
    assert all(0 <= seconds < 20 for seconds in beats), beats


async def test_an_accusation_counts_once_it_is_confirmed(collector: Collector) -> None:
    """Until then it is named apart: neither in the figures and the title nor as what to change first."""
    await collector.introduce()
    await collector.report(collector.cast.gateway.preflight(shadow()))
    assert [(one["state"], one["confirmed"]) for one in await collector.incidents()] == [("open", False)]
    page = await _read(collector)
    words = " ".join(re.sub(r"<[^>]+>", "", page).split())
    assert "Nothing confirmed is in the way" in words
    assert "1 unconfirmed incident, counted nowhere else" in words
    assert "Open incidents</dt><dd>0<" in page
    assert "Change first" not in words
    assert "<title>certagent</title>" in page
    assert "Unconfirmed <span>for" in await _read(collector, "/incidents")
    await collector.report(collector.cast.authority.watch(shadow()))
    page = await _read(collector)
    assert "<h1>One thing is in the way of 1 certificate</h1>" in page
    assert "unconfirmed" not in page
    assert "<title>(1) " in page
