"""The agent's end of the channel against a collector that asks for what it may not, or for nonsense."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from certagent.agent.collector_link import MOST_REFUSALS, CollectorLink
from certagent.agent.lifecycle import Lifecycle
from certagent.domain.link_messages import Cancel, Refused, Rehearse, decode_ask, encode
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome, RehearsalRequest
from certagent.reporting import Spool
from certagent.system.clock import SystemClock
from certagent.vantage.authority_vantage import AuthorityVantage
from tests.agent.context import make_context
from tests.fakes.contact import NoContactLog

NONSENSE = ["{", "[]", "7", "null", "[" * 100_000, '{"ask":' + "[" * 50_000, '{"ask":"renew","id":"x"}',
            '{"ask":"judge_again","id":"\ud800"}'.encode("utf-8", "surrogatepass"), '{"ask":"plant","id":7}',
            '{"ask":"rehearse","id":"x","request":{}}']  # fmt: skip


@pytest.mark.parametrize("message", NONSENSE)
def test_whatever_is_no_question_is_a_refusal(message: str | bytes) -> None:
    """Never an exception, and of a length that may be reported."""
    ask = decode_ask(message)
    assert isinstance(ask, Refused)
    assert len(ask.reason) <= 500


PAUSE = "a pause between messages"


class _Client:
    """Opens channels to the collector of a test; says how often."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.opened = 0
        self._url = url
        self._session = session

    async def open_channel(self, path: str, *, heartbeat: float) -> aiohttp.ClientWebSocketResponse:
        self.opened += 1
        return await self._session.ws_connect(self._url + path, heartbeat=min(heartbeat, 0.4))


class _Lifecycle(Lifecycle):
    """Judges nothing."""

    def __init__(self) -> None:
        pass

    def judge_again(self, identifiers: Sequence[str]) -> None:
        """Nothing."""


@asynccontextmanager
async def asked(
    folder: Path,
    messages: Sequence[str],
    *,
    is_deaf: bool = False,
    opening: type[_Client] = _Client,
    authority: AuthorityVantage | None = None,
) -> AsyncIterator[tuple[Spool, list[Any], _Client]]:
    """A channel to a collector that pings, says all this, once, and waits: (reported, answers, client)."""
    answers: list[Any] = []
    reported = Spool(folder / "spool")

    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=not is_deaf)
        await socket.prepare(request)
        await socket.ping()
        for message in messages:
            await (asyncio.sleep(0.2) if message is PAUSE else socket.send_str(message))
        async for answer in socket:
            if not is_deaf:
                answers.append(answer.json())
        return socket

    app = web.Application()
    app.router.add_get("/v1/channel", talk)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        client = opening(url, session)
        link = CollectorLink(
            make_context(folder, clock=SystemClock(), spool=reported),
            client,  # type: ignore[arg-type]  # the pinned client's one method that a link needs
            _Lifecycle(),
            NoContactLog(),
            authority,
        )
        running = asyncio.create_task(link.run())
        try:
            yield reported, answers, client
        finally:
            assert not running.done()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await runner.cleanup()


class _Authority(AuthorityVantage):
    """Fetches for ever what begins with `slow`; notes what ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def rehearse(self, request: RehearsalRequest, caller: str = "", *, is_own: bool = False) -> Rehearsal:
        """Failed, at last."""
        try:
            if request.identifier.startswith("slow"):
                await asyncio.Event().wait()
        finally:
            self.ended.append(request.identifier)
        outcome = RehearsalOutcome.FAILED
        return Rehearsal(identifier=request.identifier, outcome=outcome, at=SystemClock().now(), node=caller)


def _rehearse(identity: str, identifier: str) -> str:
    request = RehearsalRequest(identifier=identifier, token="t" * 43, digest="0" * 64)
    return encode(Rehearse(id=identity, request=request, caller="lxc102")).decode()


async def test_what_nobody_waits_for_any_more_ends(tmp_path: Path) -> None:
    """No answer to it, and none of the others ends. One that is unknown, or was answered, is nothing to cancel."""
    asks = [_rehearse("1", "slow.a"), _rehearse("2", "slow.b"), _rehearse("3", "quick")]
    cancels = [encode(Cancel(id=f"c{which}", question=which)).decode() for which in ("1", "3", "nothing")]
    authority = _Authority()
    async with (
        asked(tmp_path, [*asks, PAUSE, *cancels], authority=authority) as (reported, answers, _),
        asyncio.timeout(10),
    ):
        while len(answers) < 4:
            await asyncio.sleep(0.01)
        assert sorted(authority.ended) == ["quick", "slow.a"]
    assert {answer["id"]: answer["answer"] for answer in answers} == {
        "3": "rehearsed",
        "c1": "accepted",
        "c3": "accepted",
        "cnothing": "accepted",
    }
    assert _refusals(reported) == 0


async def test_a_judgement_does_not_wait_for_rehearsals(tmp_path: Path) -> None:
    """However many of them are under way."""
    asks = [_rehearse(str(number), f"slow.{number}") for number in range(300)]
    good = '{"ask":"judge_again","id":"good","identifiers":["a"]}'
    async with (
        asked(tmp_path, [*asks, good], authority=_Authority()) as (_, answers, _),
        asyncio.timeout(10),
    ):
        while not answers:
            await asyncio.sleep(0.01)
    assert answers[0] == {"answer": "accepted", "id": "good"}


async def test_a_foreign_question_is_refused_reported_and_others_are_answered(tmp_path: Path) -> None:
    """Rule 10: the collector can only ask."""
    good = '{"ask":"judge_again","id":"2","identifiers":["a"]}'
    async with asked(tmp_path, ['{"ask":"renew","id":"1"}', "{", good]) as (reported, answers, _), asyncio.timeout(10):
        while len(answers) < 3:
            await asyncio.sleep(0.01)
    assert {one["id"]: one["answer"] for one in answers} == {"1": "refused", "": "refused", "2": "accepted"}
    assert _refusals(reported) == 2


@pytest.mark.slow
async def test_a_flood_of_nonsense_ends_the_channel_for_a_while(tmp_path: Path) -> None:
    """What is reported of it is bounded, and it is not opened again at once."""
    async with asked(tmp_path, [f'{{"ask":"fix","id":"{number}"}}' for number in range(5000)]) as (reported, _, client):
        async with asyncio.timeout(10):
            while _refusals(reported) < MOST_REFUSALS:
                await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        assert _refusals(reported) <= MOST_REFUSALS
        assert client.opened == 1


@pytest.mark.slow
async def test_a_way_that_broke_is_no_nonsense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pings are not answered: the channel is opened again at once, not after the pause for who talks nonsense."""
    monkeypatch.setattr("certagent.agent.collector_link.LONGEST_PAUSE", timedelta(hours=1))
    async with asked(tmp_path, [], is_deaf=True) as (reported, _, client), asyncio.timeout(30):
        while client.opened < 2:
            await asyncio.sleep(0.01)
    assert _refusals(reported) == 0


def _refusals(reported: Spool) -> int:
    """How many were reported; repeats of one are one report with a count."""
    reports = reported.next_batch(100)
    codes = {finding.code for report in reports for finding in report.findings}
    assert codes <= {"channel.refused_question"}
    return sum(report.count for report in reports)


class _Breaking(_Client):
    """Its first channel breaks after a ping has come and before it is answered."""

    async def open_channel(self, path: str, *, heartbeat: float) -> aiohttp.ClientWebSocketResponse:
        socket = await super().open_channel(path, heartbeat=30)
        if self.opened == 1:
            while not socket._reader._buffer:
                await asyncio.sleep(0.01)
            assert socket._conn is not None
            assert socket._conn.transport is not None
            socket._conn.transport.close()
        return socket


async def test_a_channel_that_breaks_over_a_ping_is_opened_again(tmp_path: Path) -> None:
    """aiohttp answers pings while it waits for messages, and raises when it cannot."""
    async with asked(tmp_path, [], opening=_Breaking) as (_, _, client), asyncio.timeout(10):
        while client.opened < 2:
            await asyncio.sleep(0.02)
