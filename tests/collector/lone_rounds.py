"""A collector's work by the clock on a database that is there, without the collector around it."""

import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from certagent.collector.access import Access
from certagent.collector.admission import Admission
from certagent.collector.agent_link import AgentLinks
from certagent.collector.dispatch import EventStream
from certagent.collector.host_names import HostNames
from certagent.collector.housekeeping import Housekeeping
from certagent.collector.records import Peer
from certagent.collector.rounds import RoundDuty, policy_digest
from certagent.collector.sql.peer_queries import note_presence
from certagent.collector.store import Store, open_store
from certagent.config.policy_files import load_policy
from certagent.domain.policy import Alerting
from tests.collector.large_fleet import CHANNELS
from tests.fakes.clock import FakeClock

POLICY = load_policy(None)


class LoneRounds:
    """Rounds, one after the other, of a collector to which those agents are connected."""

    def __init__(self, store: Store, connected: Collection[str], clock: FakeClock) -> None:
        self.store, self.clock = store, clock
        self.links = AgentLinks()
        self.links.note_elsewhere(connected)
        admission = Admission(store, Access(store, clock, HostNames(frozenset())), self.links, clock)
        self._duty = RoundDuty(store, "alone", policy_digest(POLICY), clock)
        self._housekeeping = Housekeeping(store, EventStream(), admission, POLICY, self._duty, clock, None)

    async def come(self) -> None:
        """As a collector does when it starts."""
        peer = Peer(
            id=self.store.identity,
            name="alone",
            version="1",
            started_at=self.clock.now(),
            policy=self._duty.turn.digest,
        )
        await self.store.write(note_presence, peer)

    async def go_round(self, after: timedelta = POLICY.collector.look_every) -> None:
        """One round."""
        self.clock.move(after)
        await self._housekeeping._look()


@asynccontextmanager
async def lone_rounds(url: str, connected: Collection[str], now: datetime) -> AsyncIterator[LoneRounds]:
    """On the database at `url`; its collector has run for an hour."""
    clock = FakeClock(now - timedelta(hours=1))
    alerting = Alerting(channels=CHANNELS, rules=POLICY.alerts, flapping_hold=POLICY.collector.flapping_hold)
    async with open_store(url, alerting, clock) as store:
        rounds = LoneRounds(store, connected, clock)
        clock.move(timedelta(hours=1))
        await rounds.come()
        yield rounds


def busy_seconds(parent: int) -> float:
    """Of all processes that one has started, in CPU: a PostgreSQL's sessions."""
    total = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == parent:
                total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")
