"""Whatever is reported in whatever order, the confirmed incidents are those that the findings make now."""

import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection, select

from certagent.collector.records import Caller, TokenRole
from certagent.collector.sql import fleet_queries
from certagent.collector.sql.ingest import store_rehearsals
from certagent.collector.sql.schema import findings, incidents
from certagent.collector.sql.statements import decode_incident
from certagent.collector.store import Store, open_store
from certagent.domain.findings import Finding
from certagent.domain.incidents import IncidentState, group_findings
from certagent.domain.policy import Alerting
from certagent.domain.reports import Report
from certagent.system.clock import SystemClock
from tests.collector.cast import Agent, now
from tests.collector.test_one_cause import (
    CONFIGURATION,
    PORTAINER,
    SHOP,
    dead,
    deployment,
    failed,
    gateway,
    serving,
    take,
)
from tests.evidence import NGINX, make_rehearsal, make_resolution, shadow

pytestmark = pytest.mark.slow

CERTIFICATES = {"gateway": (NGINX, PORTAINER), "shopfront": (SHOP,)}
STEPS = 40


def not_served(name: str, identifier: str, code: str) -> Finding:
    """What a look at the gateway's port finds there."""
    variant = "" if code == "deploy.drift" else "drift"
    return failed(code, name, identifier, variant=variant, retried=False, address="10.0.0.153")


class Events:
    """What may happen next at the gateway, drawn."""

    def __init__(self, store: Store, agent: Agent, draw: random.Random) -> None:
        self._store = store
        self._agent = agent
        self._authority = Agent("lxc103")
        self._draw = draw

    async def next(self) -> str:
        """It happens; what it was."""
        name = self._draw.choice(list(CERTIFICATES))
        identifier = self._draw.choice(CERTIFICATES[name])
        kinds: list[Callable[[str, str], Report]] = [self._preflight, self._preflight, self._serving, self._deployment]
        if self._draw.random() < 0.25:
            return await self._rehearsal(identifier)
        if self._draw.random() < 0.1:
            return await self._hosts_file(identifier)
        report = self._draw.choice(kinds)(name, identifier)
        await take(self._store, self._agent, report)
        return f"{report.kind} {report.scopes}: {[finding.code for finding in report.findings]}"

    def _preflight(self, _: str, identifier: str) -> Report:
        missing = msgspec.structs.replace(dead(identifier), code="http01.not_found")
        found = self._draw.choice(
            [(), (), (dead(identifier),), (dead(identifier, 443),), (missing,), (shadow(identifier),)]
        )
        return self._agent.preflight(*found, identifier=identifier)

    def _serving(self, name: str, identifier: str) -> Report:
        codes = self._draw.choice([(), (), ("deploy.not_served",), ("deploy.default_certificate",), ("deploy.drift",)])
        return serving(self._agent, name, *(not_served(name, identifier, code) for code in codes))

    def _deployment(self, name: str, identifier: str) -> Report:
        found = [
            failed("deploy.rolled_back", name, identifier, variant=""),
            failed("deploy.validate_failed", name, identifier, variant="", file=CONFIGURATION, line=3),
            failed("deploy.not_served", name, identifier, address="10.0.0.153"),
        ]
        return deployment(self._agent, name, *self._draw.sample(found, self._draw.randrange(3)))

    async def _hosts_file(self, identifier: str) -> str:
        """Of the authority: with a line about the identifier, or with none."""
        found = self._draw.choice([(), (shadow(identifier),)])
        caller = Caller(self._authority.name, TokenRole.AUTHORITY)
        await self._store.accept(caller, [self._authority.watch(*found)])
        return f"hosts file: {[finding.identifier for finding in found]}"

    async def _rehearsal(self, identifier: str) -> str:
        passed = self._draw.random() < 0.5
        rehearsal = make_rehearsal(make_resolution(), passed=passed, at=now(), owners={}, identifier=identifier)
        await self._store.write(store_rehearsals, (rehearsal,), asker=self._agent.name)
        return f"rehearsal of {identifier}: {passed}"


def should_be_open(connection: Connection) -> list[str]:
    """The keys of the confirmed incidents that all findings make."""
    keys = set(connection.execute(select(findings.c.key)).scalars())
    sightings = fleet_queries.find_sightings(connection, keys, ())
    candidates = group_findings(sightings, fleet_queries.find_fleet(connection, sightings))
    return sorted(key for key, candidate in candidates.items() if candidate.confirmed)


def are_open(connection: Connection) -> list[str]:
    """The keys of the confirmed incidents that are not over."""
    unresolved = select(incidents).where(incidents.c.state != IncidentState.RESOLVED)
    return sorted(row.key for row in connection.execute(unresolved) if decode_incident(row.document).confirmed)


@pytest.mark.parametrize("seed", range(12))
async def test_open_incidents_are_those_that_the_findings_make(tmp_path: Path, seed: int) -> None:
    """After each report and rehearsal."""
    draw = random.Random(seed)  # noqa: S311 - no secret, and the same again for the same seed
    async with open_store(f"sqlite:///{tmp_path}/collector.db", Alerting(channels=("hook",)), SystemClock()) as store:
        events = Events(store, await gateway(store), draw)
        past = []
        for _ in range(STEPS):
            past.append(await events.next())
            opened, wanted = await store.read(are_open), await store.read(should_be_open)
            assert opened == wanted, "\n".join((*past, f"open: {opened}", f"wanted: {wanted}"))
