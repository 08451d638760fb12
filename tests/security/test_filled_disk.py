"""An agent that reports without end fills no disk: of each agent so much is kept in an hour."""

import asyncio
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from prometheus_client import CollectorRegistry

from certagent.collector import intake
from certagent.collector.access import HttpProblem, caller_key
from certagent.collector.records import Caller, TokenRole
from certagent.collector.store import open_store
from certagent.domain.policy import Alerting
from certagent.domain.reports import Report
from tests.collector.cast import Agent, make_intake
from tests.evidence import shadow
from tests.fakes.clock import FakeClock


async def test_one_agent_cannot_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than is kept in an hour is turned away, and a line of the log says whose; what was stored before costs
    nothing when it comes again; others report on. As many agents as there are, each has its own share."""
    monkeypatch.setattr(intake, "_KIBIBYTES_AT_ONCE", 100)
    clock = FakeClock()
    async with open_store(f"sqlite:///{tmp_path}/c.db", Alerting(), clock) as store:
        kept = make_intake(store, CollectorRegistry(), clock)
        large = msgspec.structs.replace(shadow(), detail={"x": "y" * 40_000})

        async def post(agent: Agent, report: Report) -> int:
            role = TokenRole.AUTHORITY if agent.name == "lxc103" else TokenRole.AGENT
            request = make_mocked_request("POST", "/v1/reports", payload=_payload(msgspec.json.encode([report])))
            request[caller_key] = Caller(agent.name, role)
            try:
                return (await kept.post_reports(request)).status
            except HttpProblem as problem:
                return problem.status

        agent, other = Agent("lxc103"), Agent("lxc102")
        first = agent.watch(large)
        assert [await post(agent, first) for _ in range(9)] == [200] * 9
        assert [await post(agent, agent.watch(large)) for _ in range(3)] == [200, 429, 429]
        assert await post(other, other.preflight()) == 200
        clock.move(timedelta(seconds=3))
        assert await post(agent, agent.watch(large)) == 200


async def test_what_comes_and_goes_counts_as_what_it_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Incidents, their history and messages are many times a small report; a finding that stays makes nothing more."""
    monkeypatch.setattr(intake, "_KIBIBYTES_AT_ONCE", 100)
    clock = FakeClock()
    async with open_store(f"sqlite:///{tmp_path}/c.db", Alerting(), clock) as store:
        kept = make_intake(store, CollectorRegistry(), clock)
        agent = Agent("lxc103")

        async def post(*names: str) -> int:
            findings = tuple(msgspec.structs.replace(shadow(), identifier=name) for name in names)
            body = msgspec.json.encode([agent.watch(*findings)])
            request = make_mocked_request("POST", "/v1/reports", payload=_payload(body))
            request[caller_key] = Caller(agent.name, TokenRole.AUTHORITY)
            try:
                return (await kept.post_reports(request)).status
            except HttpProblem as problem:
                return problem.status

        many = [f"n{number}.internal" for number in range(20)]
        assert [await post(*many) for _ in range(2)] == [200, 429]
        clock.move(timedelta(minutes=1))
        assert [await post(*many) for _ in range(2)] == [200, 200]
        assert [await post() for _ in range(2)] == [200, 429]


def _payload(body: bytes) -> StreamReader:
    loop = asyncio.get_running_loop()
    reader = StreamReader(BaseProtocol(loop), 2**20, loop=loop)
    reader.feed_data(body)
    reader.feed_eof()
    return reader
