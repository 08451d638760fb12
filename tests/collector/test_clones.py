"""Two processes with one name and one token on a real collector: one of them counts, and a person is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from certagent.domain.link_messages import (
    INSTANCE_HEADER,
    Accepted,
    JudgeAgain,
    Rehearse,
    Rehearsed,
    decode_ask,
    encode,
)
from certagent.domain.rehearsals import RehearsalOutcome, RehearsalRequest
from certagent.domain.reports import Report
from tests.collector.cast import Agent
from tests.collector.postgresql import Server
from tests.collector.process import Collector, eventually, running
from tests.evidence import TRAEFIK, rehearse_traefik, shadow

pytestmark = pytest.mark.slow

CODE = "agent.cloned"
HOME, ELSEWHERE = "127.0.0.1", "127.0.0.2"
SOON = 10.0
REQUEST = RehearsalRequest(identifier=TRAEFIK, token="t0ken", digest="0" * 64)
_UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class Process:
    """An agent's process as the collector meets it: its id, where it comes from, and its link while that is open."""

    def __init__(self, collector: Collector, name: str, instance: str, address: str = HOME) -> None:
        self.name = name
        self._collector = collector
        self._headers = {"Authorization": f"Bearer {collector.tokens[name]}"}
        if instance:
            self._headers[INSTANCE_HEADER] = instance
        self._address = address

    async def post(self, report: Report) -> int:
        """The status of the answer."""
        async with self._session() as session:
            body = msgspec.json.encode([report])
            async with session.post("/v1/reports", data=body) as response:
                return response.status

    @asynccontextmanager
    async def linked(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Its link, which answers as an agent does until the block ends."""
        async with self._session() as session, session.ws_connect("/v1/channel") as socket:
            answering = asyncio.create_task(_answer(socket), name="answer")
            try:
                yield socket
            finally:
                answering.cancel()

    async def is_refused(self) -> bool:
        """Whether it is given no link."""
        async with self._session() as session, session.get("/v1/channel", headers=_UPGRADE) as response:
            assert response.status in (101, 409)
            return response.status == 409

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self._collector.trust(), local_addr=(self._address, 0))
        url = f"https://127.0.0.1:{self._collector.port}"
        return aiohttp.ClientSession(url, headers=self._headers, connector=connector)


async def _answer(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for message in socket:
        ask = decode_ask(message.data)
        answer: Any = Accepted(id=ask.id)
        if isinstance(ask, Rehearse):
            answer = Rehearsed(id=ask.id, rehearsal=rehearse_traefik(RehearsalOutcome.PASSED))
        await socket.send_str(encode(answer).decode())


async def clones(collector: Collector) -> list[dict[str, Any]]:
    """The open incidents about clones."""
    return [one for one in await collector.incidents("open") if one["code"] == CODE]


async def addresses_of(collector: Collector, name: str) -> list[str]:
    """As the list of agents says."""
    _, page = await collector.get("/v1/agents")
    return next(list(item["addresses"]) for item in page["items"] if item["name"] == name)


async def states_of(collector: Collector, code: str) -> list[str]:
    """What became of the incidents of that code: each of its transitions."""
    found = [one for one in await collector.incidents() if one["code"] == code]
    details = [await collector.get(f"/v1/incidents/{one['id']}") for one in found]
    return [transition["kind"] for _, detail in details for transition in detail["transitions"]]


async def test_a_clone_is_told_of_within_seconds_and_changes_nothing(collector: Collector) -> None:
    """Its addresses, its inventory and its clear sight are kept apart: the original's incident never flaps."""
    await collector.introduce()
    original = Process(collector, "lxc103", "original-1")
    copy = Process(collector, "lxc103", "copy-00001", ELSEWHERE)
    words = Agent("lxc103", sequence=100)
    async with original.linked() as socket:
        assert await original.post(collector.cast.authority.watch(shadow())) == 200
        assert await copy.post(words.inventory("10.0.0.101", "authority")) == 409
        assert await copy.post(words.watch()) == 409
        assert await copy.is_refused()
        assert not socket.closed
        (incident,) = await eventually(lambda: clones(collector), within=SOON)
        assert (incident["culprit"]["node"], incident["culprit"]["address"]) == ("lxc103", ELSEWHERE)
        assert HOME in incident["explanation"]
        assert ELSEWHERE in incident["explanation"]
        assert await addresses_of(collector, "lxc103") == ["10.0.0.10"]
        assert await states_of(collector, "dns.hosts_shadow.authority") == ["opened"]
        assert await original.post(collector.cast.authority.watch()) == 200
    assert await states_of(collector, "dns.hosts_shadow.authority") == ["opened", "resolved"]


async def test_a_clone_of_the_authority_leaves_rehearsals_available(collector: Collector) -> None:
    """However often it tries."""
    await collector.introduce()
    original = Process(collector, "lxc103", "original-1")
    copy = Process(collector, "lxc103", "copy-00001", ELSEWHERE)
    async with original.linked():
        for _ in range(5):
            assert await copy.is_refused()
            status, document = await collector.post("/v1/rehearsals", REQUEST, "lxc102")
            assert (status, document["outcome"]) == (200, "passed")


async def test_two_without_links_that_alternate_are_clones(collector: Collector) -> None:
    """A, B, A, and B is still there."""
    await collector.introduce()
    first = Process(collector, "lxc102", "first-0001")
    second = Process(collector, "lxc102", "second-001", ELSEWHERE)
    agent = collector.cast.traefik
    assert await first.post(agent.watch()) == 200
    assert await second.post(agent.watch()) == 200
    assert await first.post(agent.watch()) == 409  # it may have been sent before its end
    await asyncio.sleep(3.2)
    assert await first.post(agent.watch()) == 200
    assert await second.post(agent.watch()) == 409
    assert await eventually(lambda: clones(collector), within=SOON)


async def test_a_restart_is_no_clone(collector: Collector) -> None:
    """Each process closes its link, or loses it; the next one counts at once."""
    await collector.introduce()
    agent = collector.cast.traefik
    for number in range(5):
        process = Process(collector, "lxc102", f"process-{number}", ELSEWHERE if number == 3 else HOME)
        async with process.linked():
            assert await process.post(agent.watch()) == 200
    await asyncio.sleep(6)
    assert await clones(collector) == []


@pytest.mark.slow
async def test_a_process_whose_machine_is_gone_holds_no_place(collector: Collector) -> None:
    """Rolled back to a snapshot, or without power: nobody closes its link, and nobody answers over it."""
    await collector.introduce()
    agent = collector.cast.traefik
    gone = Process(collector, "lxc102", "process-gone")
    async with gone._session() as session, session.ws_connect("/v1/channel", autoping=False):
        successor = Process(collector, "lxc102", "successor-1")
        async with successor.linked():
            assert await successor.post(agent.watch()) == 200
            await asyncio.sleep(6)
            assert await clones(collector) == []


async def test_a_connection_through_another_address_is_no_clone(collector: Collector) -> None:
    """The same process, while its older link still seems to be open."""
    await collector.introduce()
    agent = collector.cast.traefik
    here, there = (Process(collector, "lxc102", "process-1", address) for address in (HOME, ELSEWHERE))
    async with here.linked():
        assert await here.post(agent.watch()) == 200
        async with there.linked():
            assert await there.post(agent.watch()) == 200
        assert await here.post(agent.watch()) == 200
    await asyncio.sleep(6)
    assert await clones(collector) == []


@pytest.mark.parametrize("instances", [("", "newer-0001"), ("newer-0001", "")])
async def test_an_older_agent_is_replaced_by_its_upgrade_and_back(
    collector: Collector, instances: tuple[str, str]
) -> None:
    """Neighbouring versions run together: one of them sends no id."""
    await collector.introduce()
    agent = collector.cast.traefik
    for instance in instances:
        process = Process(collector, "lxc102", instance)
        async with process.linked():
            assert await process.post(agent.watch()) == 200
    await asyncio.sleep(6)
    assert await clones(collector) == []


async def test_an_older_agent_and_its_newer_clone_are_told_apart(collector: Collector) -> None:
    """The one without an id answers what it is asked, and stays."""
    await collector.introduce()
    older = Process(collector, "lxc102", "")
    newer = Process(collector, "lxc102", "newer-0001", ELSEWHERE)
    async with older.linked() as socket:
        assert await newer.is_refused()
        assert not socket.closed
        assert await eventually(lambda: clones(collector), within=SOON)


async def test_the_original_that_was_stopped_meanwhile_takes_its_place_back(collector: Collector) -> None:
    """The copy was made and started while the original's agent was down."""
    await collector.introduce()
    agent = collector.cast.traefik
    async with Process(collector, "lxc102", "original-1").linked():
        pass
    async with Process(collector, "lxc102", "copy-00001", ELSEWHERE).linked() as copied:
        original = Process(collector, "lxc102", "original-2")
        async with original.linked():
            assert await original.post(agent.watch()) == 200
            async with asyncio.timeout(SOON):
                while not copied.closed:
                    await asyncio.sleep(0.05)
            (incident,) = await eventually(lambda: clones(collector), within=SOON)
            assert incident["culprit"]["address"] == ELSEWHERE


async def test_the_collectors_restart_ends_no_incident_about_a_clone(collector: Collector) -> None:
    """And lets nobody take another's place: who speaks is in the store."""
    await collector.introduce()
    original = Process(collector, "lxc102", "original-1")
    copy = Process(collector, "lxc102", "copy-00001", ELSEWHERE)
    async with original.linked():
        assert await copy.is_refused()
        assert await eventually(lambda: clones(collector), within=SOON)
    await collector.stop()
    await collector.start()
    await eventually(collector.is_up)
    assert await copy.is_refused()
    async with original.linked():
        await asyncio.sleep(6)
        assert await states_of(collector, CODE) == ["opened"]


async def test_a_judge_again_goes_to_the_one_that_counts(collector: Collector) -> None:
    """The copy hears nothing of the fleet."""
    await collector.introduce()
    original = Process(collector, "lxc102", "original-1")
    copy = Process(collector, "lxc102", "copy-00001", ELSEWHERE)
    async with original._session() as session, session.ws_connect("/v1/channel") as socket:
        refused = asyncio.create_task(copy.is_refused(), name="copy")
        ask = decode_ask(await socket.receive_str(timeout=10))
        assert ask == JudgeAgain(id=ask.id, identifiers=())
        await socket.send_str(encode(Accepted(id=ask.id)).decode())
        assert await refused
        await collector.report(collector.cast.authority.watch(shadow()))
        while ask == JudgeAgain(id=ask.id, identifiers=()):  # a round asks whether it is alive
            ask = decode_ask(await socket.receive_str(timeout=10))
        assert ask == JudgeAgain(id=ask.id, identifiers=(TRAEFIK,))


@pytest.mark.servers
async def test_two_on_two_collectors_are_clones_as_well(tmp_path: Path, postgresql: Server) -> None:
    """Each has its link at a collector of its own: the first one goes on, the other one's link is closed."""
    store = postgresql.new_database()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    async with running(tmp_path / "one", store=store) as one, running(tmp_path / "other", store=store) as other:
        await one.introduce()
        first = Process(one, "lxc102", "first-0001")
        second = Process(other, "lxc102", "second-001", ELSEWHERE)
        async with first.linked() as kept, second.linked() as closed:
            (incident,) = await eventually(lambda: clones(one), within=SOON)
            assert (incident["culprit"]["node"], incident["culprit"]["address"]) == ("lxc102", ELSEWHERE)
            async with asyncio.timeout(SOON):
                while not closed.closed:
                    await asyncio.sleep(0.05)
            assert await second.is_refused()
            assert not kept.closed
