"""Fleets of any size: so many nodes with two certificates each, of which so many cannot be renewed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
from sqlalchemy import Connection, text

from certagent.collector.records import Caller, TokenRole
from certagent.collector.store import Store, open_store
from certagent.domain.policy import Alerting
from certagent.domain.reports import Report
from certagent.system.clock import SystemClock
from tests.collector.cast import Agent, certificate, now
from tests.collector.process import Collector, serving
from tests.evidence import refused

HOUR = timedelta(hours=1)
SIZES = ((0, 0), (1, 0), (1, 1), (6, 3), (300, 62))
ODD_NAME, LONG_NAME = "xn--bcher-kva.zone1.test", f"{'a' * 60}.{'b' * 60}.zone1.test"
"""An international name, and one with labels as long as they come: those of the first two nodes."""


class Counted(msgspec.Struct, frozen=True):
    """What SQL counts of a store, by other means than the pages. `expired_alone`: the expired ones that no incident
    names."""

    nodes: int
    certificates: int
    incidents: int
    at_risk: frozenset[tuple[str, str]]
    expired: int
    expired_alone: int


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """The store, without a collector."""
    async with open_store(url, Alerting(channels=()), SystemClock()) as store:
        yield store


@asynccontextmanager
async def serving_fleet(folder: Path, nodes: int, incidents: int) -> AsyncIterator[Collector]:
    """A collector whose store is filled like that."""
    collector = Collector(folder, is_warm=True)
    async with opened(collector.store) as store:
        await fill(store, nodes, incidents)
    async with serving(collector):
        yield collector


async def fill(store: Store, nodes: int, incidents: int) -> None:
    """Node n has `web` of two names, which ends n - 1.5 hours from now (so two of them have ended), and `api`; the
    first nodes' `web` is refused by a port of each, one incident a node. There are ten zones."""
    agents = [Agent(f"n{number:04}") for number in range(nodes)]
    reports = [_reports_of(agent, number, number < incidents) for number, agent in enumerate(agents)]
    callers = [Caller(agent.name, TokenRole.AGENT) for agent in agents]
    for begin in range(0, nodes, 250):
        piece = slice(begin, begin + 250)
        await asyncio.gather(*map(store.accept, callers[piece], reports[piece]))


def names_of(number: int) -> tuple[str, str]:
    """The identifiers of node n's `web`."""
    first = {0: ODD_NAME, 1: LONG_NAME}.get(number, f"a{number}.zone{number % 10}.test")
    return first, f"b{number}.zone{number % 10}.test"


def _reports_of(agent: Agent, number: int, is_refused: bool) -> list[Report]:
    address = f"10.{1 + number // 62500}.{number // 250 % 250}.{number % 250}"
    web = certificate("web", *names_of(number), left=(number - 1) * HOUR - HOUR / 2)
    api = certificate("api", f"c{number}.other.test", left=9999 * HOUR)
    reports = [agent.inventory(address, "web", web, api)]
    if is_refused:
        reports += [agent.preflight(refused(address, agent.name, name), identifier=name) for name in names_of(number)]
    return reports


def count_by_sql(connection: Connection) -> Counted:
    """As of now."""
    documents = connection.execute(text("SELECT document FROM incidents WHERE state <> 'resolved'")).scalars().all()
    confirmed = [incident for incident in map(json.loads, documents) if incident["confirmed"]]
    victims = (victim for incident in confirmed for victim in incident["victims"])
    at_risk = frozenset((victim["node"], victim["certificate"]) for victim in victims)
    at = int(now().timestamp() * 1e6)
    ended = connection.execute(text("SELECT agent, name FROM certificates WHERE expires_at <= :at"), {"at": at})
    expired = {tuple(row) for row in ended}
    return Counted(
        nodes=connection.execute(text("SELECT count(*) FROM agents")).scalar_one(),
        certificates=connection.execute(text("SELECT count(*) FROM certificates")).scalar_one(),
        incidents=len(confirmed),
        at_risk=at_risk,
        expired=len(expired),
        expired_alone=len(expired - at_risk),
    )
