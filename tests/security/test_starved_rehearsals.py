"""One agent asks for rehearsals of its dead name as fast as it can: all of the others' are done, and in time."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from certagent.agent.collector_link import CollectorLink
from certagent.agent.lifecycle import Lifecycle
from certagent.config import AgentSection, AgentSettings, AuthoritySection, VantageSection
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome, RehearsalRequest, digest_for
from certagent.system.clock import SystemClock
from certagent.vantage.authority_vantage import AuthorityVantage
from certagent.vantage.ca_process import CaEnvironment, CaProcess
from certagent.vantage.rehearsal_limits import RehearsalLimits
from tests.agent.context import make_context
from tests.collector.cast import Agent, certificate
from tests.collector.process import Collector, eventually, running
from tests.collector.test_agent_link import is_connected
from tests.fakes.contact import NoContactLog

pytestmark = pytest.mark.slow

DEAD = tuple(f"dead{number}.x" for number in range(40))
GOOD = tuple(f"good{number}.x" for number in range(10))
FETCH_SECONDS = 0.03
TOKENS = itertools.count()


class _CaProcess(CaProcess):
    """Is there."""

    def __init__(self) -> None:
        pass

    def observe(self) -> CaEnvironment:
        """One that listens; nobody looks at anything else here."""
        nothing: Any = None
        return CaEnvironment(
            process=nothing, files=nothing, states=nothing, flags={}, environment={}, connections=(), is_listening=True
        )


class _Authority(AuthorityVantage):
    """The real one, but for what it fetches: the dead names' servers accept and never answer."""

    def __init__(self) -> None:
        settings = AgentSettings(
            agent=AgentSection(name="lxc103"), authority=AuthoritySection(directory="https://ca.x/acme/acme/directory")
        )
        super().__init__(settings, VantageSection(allow=("*.x", "*.ai")), SystemClock())
        self._ca_process = _CaProcess()
        self.under_way: list[str] = []

    async def _rehearse_at(self, ca: CaEnvironment, request: RehearsalRequest, limits: RehearsalLimits) -> Rehearsal:
        self.under_way.append(request.identifier)
        try:
            await asyncio.sleep(30 if request.identifier in DEAD else FETCH_SECONDS)
        finally:
            self.under_way.remove(request.identifier)
        passed = RehearsalOutcome.PASSED
        return Rehearsal(identifier=request.identifier, outcome=passed, at=SystemClock().now(), node="lxc103")


class _Client:
    """The one method of the pinned client that a link needs."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def open_channel(self, path: str, *, heartbeat: float) -> aiohttp.ClientWebSocketResponse:
        return await self._session.ws_connect(path, heartbeat=heartbeat)


class _Lifecycle(Lifecycle):
    """Judges nothing."""

    def __init__(self) -> None:
        pass

    def judge_again(self, identifiers: Any) -> None:
        """Nothing."""


@asynccontextmanager
async def beside_the_ca(collector: Collector, folder: Path) -> AsyncIterator[_Authority]:
    """The agent there, with the real end of the link."""
    authority = _Authority()
    async with collector.session("lxc103") as session:
        context = make_context(folder, clock=SystemClock())
        link = CollectorLink(context, _Client(session), _Lifecycle(), NoContactLog(), authority)  # type: ignore[arg-type]
        running = asyncio.create_task(link.run())
        try:
            await eventually(lambda: is_connected(collector, "lxc103"))
            yield authority
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def question(identifier: str) -> bytes:
    """For a fresh token."""
    token = f"{next(TOKENS):043}"
    return msgspec.json.encode(RehearsalRequest(identifier=identifier, token=token, digest=digest_for(token)))


async def ask(session: aiohttp.ClientSession, identifier: str) -> tuple[int, Any, float]:
    """(status, document, seconds)"""
    began_at = asyncio.get_running_loop().time()
    alone = {"Connection": "close"}  # an idle connection may be closed just as it is used again
    async with session.post("/v1/rehearsals", data=question(identifier), headers=alone) as response:
        document = await response.json(content_type=None)
    return response.status, document, asyncio.get_running_loop().time() - began_at


async def attack(session: aiohttp.ClientSession, give_up_after: float, pause: float) -> None:
    """For ever."""
    for identifier in itertools.cycle(DEAD):
        with suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(give_up_after):
                await ask(session, identifier)
        await asyncio.sleep(pause)


async def times_of_the_other(session: aiohttp.ClientSession, count: int) -> list[float]:
    """Sorted seconds that its rehearsals take; each of them passes at once."""
    times = []
    for identifier in itertools.islice(itertools.cycle(GOOD), count):
        status, document, seconds = await ask(session, identifier)
        assert (status, document.get("outcome")) == (200, "passed"), document
        times.append(seconds)
    return sorted(times)


async def introduce(collector: Collector) -> Collector:
    """Everybody is there; lxc102's certificate has the dead names."""
    await collector.introduce()
    await collector.report(Agent("lxc102", sequence=9).inventory("10.0.0.12", "x", certificate("x", *DEAD)))
    await collector.report(Agent("lxc101", sequence=9).inventory("10.0.0.153", "y", certificate("y", *GOOD)))
    return collector


@pytest.fixture
async def evil(collector: Collector) -> Collector:
    """The one that is attacked."""
    return await introduce(collector)


@pytest.fixture
async def calm(tmp_path: Path) -> AsyncIterator[Collector]:
    """One beside it that nobody attacks: what the machine does meanwhile, it does to both."""
    folder = tmp_path / "calm"
    folder.mkdir()
    async with running(folder) as collector:
        yield await introduce(collector)


@pytest.mark.parametrize(("give_up_after", "pause"), [(0.05, 0.2), (60.0, 0.05)])
async def test_others_are_rehearsed_while_one_asks_for_dead_names(
    evil: Collector, calm: Collector, tmp_path: Path, give_up_after: float, pause: float
) -> None:
    """Giving up after 50 ms, four times a second; and waiting, 160 times a second; both from eight connections."""
    async with (
        beside_the_ca(evil, tmp_path) as authority,
        beside_the_ca(calm, tmp_path / "calm"),
        evil.session("lxc102") as attackers,
        evil.session("lxc101") as other,
        calm.session("lxc101") as undisturbed,
    ):
        before = await times_of_the_other(other, 60)
        attacks = [asyncio.create_task(attack(attackers, give_up_after, pause)) for _ in range(8)]
        try:
            await asyncio.sleep(1)
            busy, usual = await asyncio.gather(times_of_the_other(other, 60), times_of_the_other(undisturbed, 60))
            assert len([name for name in authority.under_way if name in DEAD]) <= 2
        finally:
            for one in attacks:
                one.cancel()
            await asyncio.gather(*attacks, return_exceptions=True)
        assert busy[-1] <= 2 * max(before[-1], usual[-1], 0.25)
        # By the one beside it, at the same time: the machine may have been quieter before. Tests run beside this one.
        assert busy[len(busy) // 2] <= 2 * usual[len(usual) // 2], (before, busy, usual)

        async def nothing_is_under_way() -> bool:
            return not authority.under_way

        await eventually(nothing_is_under_way, within=5)


async def test_dead_names_of_many_nodes_leave_places_for_the_others(evil: Collector, tmp_path: Path) -> None:
    """Sixteen of them at once, asked for by eight nodes: the next is done within seconds, not after thirty."""
    authority = _Authority()
    requests = [msgspec.json.decode(question(name), type=RehearsalRequest) for name in DEAD[:16]]
    dead = [
        asyncio.create_task(authority.rehearse(request, f"lxc{number // 2}")) for number, request in enumerate(requests)
    ]
    await asyncio.sleep(0.1)
    request = msgspec.json.decode(question(GOOD[0]), type=RehearsalRequest)
    async with asyncio.timeout(6):
        assert (await authority.rehearse(request, "lxc101")).outcome is RehearsalOutcome.PASSED
    for one in dead:
        one.cancel()
    await asyncio.gather(*dead, return_exceptions=True)
    assert authority.under_way == []
