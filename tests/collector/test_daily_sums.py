"""The year's summary per zone: renewals, failures by cause, the nearest call; kept when the reports are long gone."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, func, select

from certagent.collector import migrations
from certagent.collector.sql import daily_sums as sums
from certagent.collector.sql.daily_sums import ZoneYear, list_years, list_zone_years, prune_sums
from certagent.collector.sql.database import writing
from certagent.collector.sql.schema import daily_sums
from certagent.collector.sql.upkeep import prune_reports
from certagent.collector.store import Store, open_store
from certagent.domain.findings import Finding, Severity
from certagent.domain.identifiers import zone_of
from certagent.domain.policy import Alerting
from certagent.domain.reports import CertificateState, Outcome, Report, RunKind
from certagent.system.clock import SystemClock
from tests.certificates import make_facts
from tests.collector.cast import Agent, now
from tests.collector.process import Collector
from tests.collector.test_page_codes import read, words_of
from tests.collector.test_store import take
from tests.evidence import make_finding, refused

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ONE, OTHER = "internal.example", "phoenix.example"
ALWAYS = ("0001-01-01", "9999-12-31")


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """Open; on every backend."""
    async with open_store(url, Alerting(channels=()), SystemClock()) as store:
        yield store


def issued(name: str, mark: str, left: timedelta, *identifiers: str) -> CertificateState:
    """A certificate on disk, told from others by its mark."""
    facts = make_facts(*identifiers, not_before=now() + left - DAY, fingerprint=mark * 64)
    return CertificateState(name=name, identifiers=identifiers, on_disk=facts)


def renewal(agent: Agent, outcome: Outcome, *findings: Finding, count: int = 1, ago: timedelta = HOUR) -> Report:
    """A run for `web`."""
    made = agent.report(RunKind.RENEWAL, certificate="web", findings=findings, at=now() - ago)
    return msgspec.structs.replace(made, outcome=outcome, count=count)


async def years(store: Store) -> dict[str, ZoneYear]:
    """By zone, over all time."""
    return {one.zone: one for one in await store.read(list_zone_years, *ALWAYS)}


@pytest.mark.parametrize(
    ("identifier", "zone"),
    [
        ("traefik.internal.thinkheads.ai", "internal.thinkheads.ai"),
        ("*.Apps.Example.org.", "example.org"),
        ("example.org", "example.org"),
        ("host", "host"),
        ("2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_a_zone_is_what_follows_the_first_label(identifier: str, zone: str) -> None:
    assert zone_of(identifier) == zone


async def test_renewals_are_summed_by_zone_outcome_and_cause(store: Store) -> None:
    """Each report once, however often it comes; folded repeats as many times; the gravest finding is the cause."""
    agent = Agent("n1")
    inventory = agent.inventory("10.0.0.1", "web", issued("web", "a", HOUR, f"a.{ONE}", f"b.{ONE}", f"c.{OTHER}"))
    lesser = make_finding("dns.nxdomain", severity=Severity.WARN)
    told = [
        renewal(agent, Outcome.DONE),
        renewal(agent, Outcome.FOUND, lesser),
        renewal(agent, Outcome.KEPT, refused()),
        renewal(agent, Outcome.BLOCKED, lesser, refused(), count=7),
        renewal(agent, Outcome.FAILED),
        renewal(agent, Outcome.FAILED, make_finding("made.up")),
        renewal(agent, Outcome.INTERRUPTED, ago=30 * HOUR),
    ]
    await take(store, agent, inventory, *told)
    await take(store, agent, *told)
    found = await years(store)
    assert found.keys() == {ONE, OTHER}
    for one in found.values():
        assert (one.renewed, one.kept, one.failed) == (2, 1, 10)
        assert list(one.failures.items()) == [("net.refused", 7), ("(other)", 1), ("failed", 1), ("interrupted", 1)]
        assert one.nearest is None
    await take(store, agent, agent.preflight(refused(), identifier=f"a.{ONE}"))
    assert await years(store) == found


async def test_the_nearest_call_is_the_least_life_that_was_left(store: Store) -> None:
    """When a newer certificate was there; whoever renewed it. The same one again, an older one, or none is no call."""
    agent, late = Agent("n1"), Agent("n2")
    for state in (
        issued("web", "a", 5 * HOUR, f"a.{ONE}"),
        issued("web", "a", 5 * HOUR, f"a.{ONE}"),
        issued("web", "b", 20 * HOUR, f"a.{ONE}"),
        issued("web", "c", 3 * HOUR, f"a.{ONE}"),
        issued("web", "d", 24 * HOUR, f"a.{ONE}"),
        CertificateState(name="web", identifiers=(f"a.{ONE}",)),
        issued("web", "e", 24 * HOUR, f"a.{ONE}"),
    ):
        await take(store, agent, agent.inventory("10.0.0.1", "web", state))
    nearest = (await years(store))[ONE].nearest
    assert nearest is not None
    assert (nearest.node, nearest.certificate, round(nearest.left / HOUR)) == ("n1", "web", 3)
    for mark, left in (("a", -2 * HOUR), ("b", 24 * HOUR)):
        await take(store, late, late.inventory("10.0.0.2", "web", issued("old", mark, left, f"old.{ONE}")))
    nearest = (await years(store))[ONE].nearest
    assert nearest is not None
    assert (nearest.node, nearest.certificate, round(nearest.left / HOUR)) == ("n2", "old", -2)
    assert nearest.day == f"{now():%Y-%m-%d}"


async def test_sums_outlive_the_reports(store: Store) -> None:
    """For years; a run that an agent's clock puts in the future counts today."""
    agent = Agent("n1")
    await take(store, agent, agent.inventory("10.0.0.1", "web", issued("web", "a", HOUR, f"a.{ONE}")))
    await take(store, agent, renewal(agent, Outcome.DONE, ago=-3 * DAY))
    await store.write(prune_reports, now() + HOUR)
    assert (await years(store))[ONE].renewed == 1
    assert await store.read(list_years) == [now().year]
    assert await store.write(prune_sums, now()) == 0
    assert await store.write(prune_sums, now() + DAY) == 1
    assert await years(store) == {}
    assert await store.read(list_years) == []


async def test_an_older_database_begins_with_the_reports_that_it_has(url: str) -> None:
    """The migration sums what the store itself would have summed, but for how near a call was."""
    agent = Agent("n1")
    async with open_store(url, Alerting(channels=()), SystemClock()) as store:
        both = issued("web", "a", HOUR, f"a.{ONE}", f"*.{OTHER}", "2001:DB8::1", "10.0.0.1", "host")
        await take(store, agent, agent.inventory("10.0.0.1", "web", both))
        await take(store, agent, renewal(agent, Outcome.DONE), renewal(agent, Outcome.KEPT, refused(), ago=30 * HOUR))
        await take(store, agent, renewal(agent, Outcome.FAILED), renewal(agent, Outcome.BLOCKED, refused(), count=4))
        before = await years(store)
    with writing(url) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        command.downgrade(config, "0012")
    async with open_store(url, Alerting(channels=()), SystemClock()) as store:
        after = await years(store)
    assert before == after
    assert after.keys() == {ONE, OTHER, "2001:db8::1", "10.0.0.1", "host"}
    assert (after[ONE].renewed, after[ONE].kept, after[ONE].failed) == (1, 1, 5)


async def test_an_agent_that_names_zones_without_end_fills_no_table(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too much of one day is summed together; what was known before goes on."""
    monkeypatch.setattr(sums, "_MOST_ROWS", 5)
    good, wild = Agent("n1"), Agent("n2")
    await take(store, good, good.inventory("10.0.0.1", "web", issued("web", "a", HOUR, f"a.{ONE}")))
    await take(store, good, renewal(good, Outcome.DONE))
    many = issued("web", "a", HOUR, *(f"a.zone{number}.example" for number in range(50)))
    await take(store, wild, wild.inventory("10.0.0.2", "web", many))
    await take(store, wild, renewal(wild, Outcome.DONE), renewal(wild, Outcome.FAILED, refused()))
    await take(store, good, renewal(good, Outcome.DONE))
    found = await years(store)
    assert found[ONE].renewed == 2
    assert sum(one.failed for one in found.values()) == 50
    assert found["(other)"].failures.keys() == {"(other)"}
    assert sum(one.renewed for one in found.values()) == 52
    assert await store.read(_rows) == 7


def _rows(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(daily_sums)).scalar_one()


async def test_the_page_shows_the_year(collector: Collector) -> None:
    """Zones with the nearest call first, causes with their pages, the year and a part of the zone in the address."""
    agent = collector.cast.traefik
    for mark, left in (("a", 2 * HOUR), ("b", 24 * HOUR)):
        await collector.report(agent.inventory("10.0.0.12", "web", issued("web", mark, left, f"a.{ONE}")))
    gateway = collector.cast.gateway
    await collector.report(gateway.inventory("10.0.0.153", "gateway", issued("web", "a", HOUR, f"b.{OTHER}")))
    await collector.report(renewal(agent, Outcome.DONE, ago=timedelta(0)))
    await collector.report(renewal(gateway, Outcome.BLOCKED, refused(), ago=timedelta(0), count=3))
    page = await read(collector, "/history")
    assert re.findall(r'<td data-of="Zone"><a href="([^"]+)"', page) == [
        f"/certificates?zone={ONE}",
        f"/certificates?zone={OTHER}",
    ]
    words = words_of(page)
    assert "1 renewal, 0 kept alive without a challenge, 3 failed or withheld since " in words
    assert "web on lxc102 replaced with 1 h 59 min left" in words
    assert "3 \N{MULTIPLICATION SIGN} net.refused" in words
    assert 'href="/findings/net.refused"' in page
    year = datetime.now(UTC).year
    assert f'<option value="{year}">' in page
    assert f'<option value="{year}" selected>' in await read(collector, f"/history?year={year}&zone=")
    only = words_of(await read(collector, f"/history?zone=PHOENIX&year={year}"))
    assert "0 renewals" in only
    assert ONE not in only
    assert "No renewal has been reported in 1999" in words_of(await read(collector, "/history?year=1999"))
    assert "four digits" in words_of(await read(collector, "/history?year=12345", 400))
    assert 'href="/history"' in await read(collector, "/")
