"""The agents' channels on a real server: rehearsals are brokered, victims are told to judge again."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import aiohttp.web
import msgspec
import pytest

from certagent.collector.agent_link import AgentLink, AgentLinks, ask_to_judge_again
from certagent.collector.credentials import revoke_tokens
from certagent.collector.records import Caller, StoreFailed, TokenRole
from certagent.domain.diagnosis.nameserver_files import names_stand_in_files
from certagent.domain.findings import Culprit
from certagent.domain.link_messages import (
    Accepted,
    Cancel,
    JudgeAgain,
    Refused,
    Rehearse,
    Rehearsed,
    decode_ask,
    encode,
)
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome, RehearsalRequest
from certagent.domain.resolution.dnsmasq import Dnsmasq, ServedHosts, read_settings
from certagent.domain.resolution.file_formats import parse_hosts
from tests.collector.cast import certificate, now
from tests.collector.process import Collector, eventually
from tests.evidence import NGINX, POLICY, TRAEFIK, rehearse_traefik, shadow

pytestmark = pytest.mark.slow

REQUEST = RehearsalRequest(identifier=TRAEFIK, token="t0ken", digest="0" * 64)


@asynccontextmanager
async def connected(collector: Collector, name: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """The agent's channel, open."""
    async with collector.session(name) as session, session.ws_connect("/v1/channel") as socket:
        await eventually(lambda: is_connected(collector, name))
        yield socket


async def is_connected(collector: Collector, name: str) -> bool:
    """As the list of agents says."""
    _, page = await collector.get("/v1/agents")
    return any(item["name"] == name and item["connected"] for item in page["items"])


async def next_ask(socket: aiohttp.ClientWebSocketResponse) -> Any:
    """What the agent is asked next."""
    return decode_ask(await socket.receive_str(timeout=10))


async def answer_rehearsal(socket: aiohttp.ClientWebSocketResponse, answer: Any) -> None:
    """Stand in for the agent beside the CA once."""
    ask = await next_ask(socket)
    assert isinstance(ask, Rehearse)
    assert ask.request == REQUEST
    await socket.send_str(encode(Rehearsed(id=ask.id, rehearsal=answer)).decode())


async def test_a_rehearsal_goes_to_the_authority_and_comes_back_with_owners(collector: Collector) -> None:
    """The caller learns whose addresses occur."""
    await collector.introduce()
    failed = rehearse_traefik(RehearsalOutcome.FAILED, poisoned=True)
    async with connected(collector, "lxc103") as authority, asyncio.TaskGroup() as group:
        group.create_task(answer_rehearsal(authority, failed))
        status, document = await collector.post("/v1/rehearsals", REQUEST, "lxc102")
    assert (status, document["outcome"], document["node"]) == (200, "failed", "lxc103")
    assert document["owners"]["10.0.0.153"] == {"node": "lxc101", "role": "gateway"}
    assert document["owners"]["10.0.0.12"] == {"node": "lxc102", "role": "traefik"}


async def test_what_nodes_say_of_themselves_goes_along(collector: Collector) -> None:
    """The gateway's agent has found a line in its own file; what it says of others does not go along."""
    await collector.introduce()
    own = msgspec.structs.replace(shadow(reporter="lxc101"), culprit=Culprit(node="lxc101", file="/etc/hosts", line=3))
    accusation = shadow(reporter="lxc101", line=9)
    await collector.report(collector.cast.gateway.watch(own, accusation))
    async with connected(collector, "lxc103") as authority, asyncio.TaskGroup() as group:
        group.create_task(answer_rehearsal(authority, rehearse_traefik(RehearsalOutcome.FAILED)))
        _, document = await collector.post("/v1/rehearsals", REQUEST, "lxc102")
    assert [(one["reporter"], one["culprit"]["line"]) for one in document["testimony"]] == [("lxc101", 3)]


async def test_which_line_a_nameserver_answers_from_goes_along(collector: Collector) -> None:
    """A mere fact, and only of the name that is asked for."""
    await collector.introduce()
    hosts = ServedHosts(file="/etc/fleet", hosts=parse_hosts(f"10.0.0.153 {TRAEFIK}\n10.0.0.153 {NGINX}\n".encode()))
    facts = names_stand_in_files(Dnsmasq(), [hosts], [], ("internal.thinkheads.ai",), "lxc101")
    await collector.report(collector.cast.gateway.watch(*map(POLICY.grade, facts)))
    async with connected(collector, "lxc103") as authority, asyncio.TaskGroup() as group:
        group.create_task(answer_rehearsal(authority, rehearse_traefik(RehearsalOutcome.FAILED)))
        _, document = await collector.post("/v1/rehearsals", REQUEST, "lxc102")
    told = [(one["code"], one["culprit"]["file"], one["culprit"]["line"]) for one in document["testimony"]]
    assert told == [("dns.local_answer", "/etc/fleet", 1)]
    assert await collector.incidents() == []


async def test_what_a_nameserver_answers_for_a_whole_domain_goes_along(collector: Collector) -> None:
    """The nearest domain's first; what is about another domain, or about a name beside, does not."""
    await collector.introduce()
    lines = ("/thinkheads.ai/::", "/internal.thinkheads.ai/0.0.0.0", "/phoenix.thinkheads.ai/0.0.0.0", f"/{NGINX}/::")
    text = "".join(f"address={line}\n" for line in lines) + "host-record=internal.thinkheads.ai,127.0.0.1\n"
    configuration = Dnsmasq(settings=tuple(read_settings(text.encode(), "/etc/d.conf")))
    facts = names_stand_in_files(configuration, [], [], ("thinkheads.ai",), "lxc101")
    await collector.report(collector.cast.gateway.watch(*map(POLICY.grade, facts)))
    async with connected(collector, "lxc103") as authority, asyncio.TaskGroup() as group:
        group.create_task(answer_rehearsal(authority, rehearse_traefik(RehearsalOutcome.FAILED)))
        _, document = await collector.post("/v1/rehearsals", REQUEST, "lxc102")
    assert [(one["identifier"], one["culprit"]["line"]) for one in document["testimony"]] == [
        ("internal.thinkheads.ai", 2),
        ("thinkheads.ai", 1),
    ]


async def test_a_rehearsal_that_fails_makes_an_accusation_the_accusers_own_incident(collector: Collector) -> None:
    """Rule 11, end to end: whom it accuses is suspected, until its own node or the authority says the same."""
    await collector.introduce()
    await collector.report(collector.cast.traefik.preflight(shadow()))
    assert [incident["confirmed"] for incident in await collector.incidents()] == [False]
    async with connected(collector, "lxc103") as authority, asyncio.TaskGroup() as group:
        group.create_task(answer_rehearsal(authority, rehearse_traefik(RehearsalOutcome.FAILED, poisoned=True)))
        await collector.post("/v1/rehearsals", REQUEST, "lxc102")
    (suspected,) = await collector.incidents("open")
    assert (suspected["confirmed"], suspected["culprit"]["node"]) == (True, "lxc102")
    assert (suspected["suspected"]["node"], suspected["suspected"]["line"]) == ("lxc103", 7)
    _, detail = await collector.get(f"/v1/incidents/{suspected['id']}")
    assert [one["agent"] for one in detail["findings"]] == ["lxc102"]
    await collector.report(collector.cast.authority.watch(shadow()))
    (confirmed,) = await collector.incidents("open")
    assert (confirmed["culprit"]["node"], confirmed["suspected"]) == ("lxc103", None)


async def test_a_rehearsal_that_passes_clears_what_concerns_the_path(collector: Collector) -> None:
    """Decision 1, without waiting for a report."""
    await collector.introduce()
    await collector.report(collector.cast.authority.watch(shadow()))
    async with connected(collector, "lxc103") as authority, asyncio.TaskGroup() as group:
        group.create_task(answer_rehearsal(authority, rehearse_traefik(RehearsalOutcome.PASSED, at=now())))
        await collector.post("/v1/rehearsals", REQUEST, "lxc102")
    assert [incident["state"] for incident in await collector.incidents()] == ["resolved"]


async def test_only_for_the_callers_own_identifiers(collector: Collector) -> None:
    """Before an inventory an agent has none."""
    assert (await collector.post("/v1/rehearsals", REQUEST, "lxc102"))[0] == 403
    await collector.introduce()
    other = msgspec.structs.replace(REQUEST, identifier=NGINX)
    assert (await collector.post("/v1/rehearsals", other, "lxc102"))[0] == 403
    assert (await collector.post("/v1/rehearsals", b"{}", "lxc102"))[0] == 400


async def test_an_authority_that_comes_back_is_asked_again(collector: Collector) -> None:
    """A channel that broke under a question is no reason for a blind verdict."""
    await collector.introduce()
    async with connected(collector, "lxc103") as authority, asyncio.TaskGroup() as group:
        asked = group.create_task(collector.post("/v1/rehearsals", REQUEST, "lxc102"))
        await next_ask(authority)
        await authority.close()
        async with connected(collector, "lxc103") as again:
            await answer_rehearsal(again, rehearse_traefik(RehearsalOutcome.PASSED))
            assert (await asked)[1]["outcome"] == "passed"


async def test_an_authority_that_has_just_gone_is_waited_for(collector: Collector) -> None:
    """A question that comes between its two channels is no reason for a blind verdict either."""
    await collector.introduce()
    async with connected(collector, "lxc103"):
        pass
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(collector.post("/v1/rehearsals", REQUEST, "lxc102"))
        await asyncio.sleep(0.2)
        async with connected(collector, "lxc103") as again:
            await answer_rehearsal(again, rehearse_traefik(RehearsalOutcome.PASSED))
            assert (await asked)[1]["outcome"] == "passed"


@pytest.mark.slow
async def test_an_authority_that_is_cut_off_is_missed_soon(collector: Collector) -> None:
    """Its packets are lost, so nobody says that it has gone; a check must not wait for the longest fetch."""
    await collector.introduce()
    async with collector.session("lxc103") as session, session.ws_connect("/v1/channel", autoping=False):
        await eventually(lambda: is_connected(collector, "lxc103"))
        async with asyncio.timeout(15):
            _, document = await collector.post("/v1/rehearsals", REQUEST, "lxc102")
    assert (document["outcome"], "lost its connection" in document["reason"]) == ("unavailable", True)


@pytest.mark.slow
async def test_without_an_authority_the_outcome_is_unavailable_and_says_why(collector: Collector) -> None:
    """Nobody connected; connected but silent; connected but gone."""
    await collector.introduce()
    _, nobody = await collector.post("/v1/rehearsals", REQUEST, "lxc102")
    assert (nobody["outcome"], "connected" in nobody["reason"]) == ("unavailable", True)
    async with connected(collector, "lxc103") as authority:
        _, silent = await collector.post("/v1/rehearsals?timeout=0.2", REQUEST, "lxc102")
        assert (silent["outcome"], "did not answer" in silent["reason"]) == ("unavailable", True)
        await next_ask(authority)
        assert isinstance(await next_ask(authority), Cancel)
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(collector.post("/v1/rehearsals", REQUEST, "lxc102"))
            await next_ask(authority)
            await authority.close()
        assert "lost its connection" in asked.result()[1]["reason"]


async def test_an_unavailable_rehearsal_is_of_the_challenge_that_was_asked(collector: Collector) -> None:
    """Nobody is connected."""
    await collector.introduce()
    request = msgspec.structs.replace(REQUEST, challenge="tls-alpn-01")
    _, document = await collector.post("/v1/rehearsals", request, "lxc102")
    assert (document["outcome"], document["challenge"]) == ("unavailable", "tls-alpn-01")


async def test_an_ordinary_agent_is_never_asked_to_rehearse(collector: Collector) -> None:
    """The role belongs to the token."""
    await collector.introduce()
    async with connected(collector, "lxc101"):
        _, document = await collector.post("/v1/rehearsals", REQUEST, "lxc102")
    assert document["outcome"] == "unavailable"


async def test_victims_are_told_when_the_authoritys_findings_change(collector: Collector) -> None:
    """Opened and cleared; the uninvolved hear nothing."""
    await collector.introduce()
    async with connected(collector, "lxc102") as victim, connected(collector, "lxc101") as uninvolved:
        await collector.report(collector.cast.authority.watch(shadow()))
        ask = await next_ask(victim)
        assert isinstance(ask, JudgeAgain)
        assert ask.identifiers == (TRAEFIK,)
        await victim.send_str(encode(Accepted(id=ask.id)).decode())
        await collector.report(collector.cast.authority.watch())
        assert (await next_ask(victim)).identifiers == (TRAEFIK,)
        await collector.report(collector.cast.authority.watch(shadow(NGINX)))
        assert (await next_ask(uninvolved)).identifiers == (NGINX,)


async def test_who_was_away_is_told_on_connecting_while_it_matters(collector: Collector) -> None:
    """Derived from the incidents that stand, so a restart of the collector loses nothing."""
    await collector.introduce()
    await collector.report(collector.cast.authority.watch(shadow()))
    await collector.stop()
    await collector.start()
    await eventually(collector.is_up)
    async with connected(collector, "lxc102") as victim:
        assert (await next_ask(victim)).identifiers == (TRAEFIK,)


async def test_a_revoked_token_closes_the_channel_at_the_next_use(collector: Collector) -> None:
    """Within the second that an answer of the store is believed."""
    await collector.introduce()
    async with connected(collector, "lxc103") as authority:
        revoke_tokens(collector.store, "lxc103", now())

        async def refused() -> bool:
            _, document = await collector.post("/v1/rehearsals?timeout=0.1", REQUEST, "lxc102")
            return "lost its connection" in document["reason"] or "no agent" in document["reason"]

        assert await eventually(refused)
        while not authority.closed:
            await authority.receive(timeout=10)
    assert (await collector.get("/v1/incidents", "lxc103"))[0] == 401


async def test_a_second_channel_takes_over_from_the_first(collector: Collector) -> None:
    """An agent whose old connection is half dead is not locked out."""
    async with connected(collector, "lxc102") as older, connected(collector, "lxc102"):
        assert (await older.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE
        assert await is_connected(collector, "lxc102")


async def test_nonsense_closes_the_channel_and_harms_nobody(collector: Collector) -> None:
    """What is no answer ends it."""
    async with connected(collector, "lxc102") as socket:
        await socket.send_str("{")
        assert (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE
    assert await collector.is_up()


NONSENSE = {
    "deep": "[" * 100_000,
    "deep inside": '{"answer":"rehearsed","id":"x","rehearsal":' + '{"a":' * 50_000,
    "unknown kind": '{"answer":"renewed","id":"x"}',
    "no document": "7",
    "half a surrogate": '{"answer":"accepted","id":"\\ud800"}',
    "oversized": '{"answer":"accepted","id":"' + "x" * 2_000_000 + '"}',
}


@pytest.mark.parametrize("kind", NONSENSE)
async def test_every_kind_of_nonsense_closes_the_channel(collector: Collector, kind: str) -> None:
    """Nothing of it is a traceback, and the collector goes on."""
    async with connected(collector, "lxc102") as socket:
        with suppress(ConnectionError):
            await socket.send_str(NONSENSE[kind])
        assert (await socket.receive(timeout=10)).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    assert await collector.is_up()
    assert "Traceback" not in collector.log()


async def test_what_is_no_text_closes_the_channel(collector: Collector) -> None:
    """Bytes, and text that is no UTF-8."""
    async with connected(collector, "lxc102") as socket:
        await socket.send_bytes(b"\xff\xfe")
        assert (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE
    async with connected(collector, "lxc102") as socket:
        await socket.send_frame(b"\xff\xfe", aiohttp.WSMsgType.TEXT)
        assert (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE
    assert "Traceback" not in collector.log()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[" * 50_000, 400),
        (b"[" * 100_000, 413),
        (b'{"identifier":' + b"[" * 50_000, 400),
        (b"\xff", 400),
        (b"null", 400),
        (b"", 400),
    ],
)
async def test_a_rehearsal_that_cannot_be_read_is_refused(collector: Collector, body: bytes, expected: int) -> None:
    """As a document, whatever it was."""
    await collector.introduce()
    status, document = await collector.post("/v1/rehearsals", body, "lxc102")
    assert (status, document["status"]) == (expected, expected)
    assert "Traceback" not in collector.log()


async def test_a_flood_of_questions_is_refused_and_harms_no_other(collector: Collector) -> None:
    """600 of one agent for its own name, sent without waiting for answers; another one's are answered.

    They are sent over few connections: so many more are refused than it allows again while it answers them, however
    little of a processor it has."""
    await collector.introduce()
    assert set(await _statuses_of_a_flood(collector, connections=30, questions=20)) == {200, 429}
    other = msgspec.structs.replace(REQUEST, identifier=NGINX)
    assert (await collector.post("/v1/rehearsals", other, "lxc101"))[0] == 200


async def test_of_one_identifier_one_is_under_way_and_of_one_caller_two(collector: Collector) -> None:
    """More is busy, at once; another caller of the same identifier is not."""
    await collector.introduce()
    three = certificate("three", TRAEFIK, "second.x", "third.x")
    await collector.report(collector.cast.traefik.inventory("10.0.0.12", "traefik", three))
    async with connected(collector, "lxc103") as authority, asyncio.TaskGroup() as group:
        first = group.create_task(collector.post("/v1/rehearsals", REQUEST, "lxc102"))
        held = await next_ask(authority)
        for again in (REQUEST, msgspec.structs.replace(REQUEST, token="another")):
            status, document = await collector.post("/v1/rehearsals", again, "lxc102")
            assert (status, document["detail"]) == (429, f"busy: a rehearsal of '{TRAEFIK}' is already in progress")
        second_name = msgspec.structs.replace(REQUEST, identifier="second.x")
        second = group.create_task(collector.post("/v1/rehearsals", second_name, "lxc102"))
        asked = await next_ask(authority)
        third = msgspec.structs.replace(REQUEST, identifier="third.x")
        async with (
            collector.session("lxc102") as session,
            session.post("/v1/rehearsals", data=msgspec.json.encode(third)) as response,
        ):
            document = await response.json(content_type=None)
            assert (response.status, response.headers["Retry-After"]) == (429, "1")
        assert document["detail"] == "busy: 2 rehearsals of lxc102 are already in progress"
        group.create_task(collector.post("/v1/rehearsals", REQUEST, "ops"))
        of_other = await next_ask(authority)
        assert (held.caller, asked.caller, of_other.caller) == ("lxc102", "lxc102", "ops")
        for ask in (held, asked, of_other):
            rehearsal = msgspec.structs.replace(
                rehearse_traefik(RehearsalOutcome.PASSED), identifier=ask.request.identifier
            )
            await authority.send_str(encode(Rehearsed(id=ask.id, rehearsal=rehearsal)).decode())
    assert (first.result()[0], second.result()[0]) == (200, 200)


async def test_an_authority_that_is_busy_makes_the_answer_busy(collector: Collector) -> None:
    """So that it is asked again, and nothing is ordered blind."""
    await collector.introduce()
    busy = Rehearsal(identifier=TRAEFIK, outcome=RehearsalOutcome.UNAVAILABLE, at=now(), reason="busy: too many")
    async with connected(collector, "lxc103") as authority, asyncio.TaskGroup() as group:
        group.create_task(answer_rehearsal(authority, busy))
        status, document = await collector.post("/v1/rehearsals", REQUEST, "lxc102")
    assert (status, document["detail"]) == (429, "busy: too many")


async def test_who_gives_up_ends_the_rehearsal(collector: Collector) -> None:
    """By its own timeout, and by disconnecting; then the identifier can be rehearsed again."""
    await collector.introduce()
    async with connected(collector, "lxc103") as authority:
        _, document = await collector.post("/v1/rehearsals?timeout=0.2", REQUEST, "lxc102")
        assert "did not answer" in document["reason"]
        ask, cancel = await next_ask(authority), await next_ask(authority)
        assert isinstance(cancel, Cancel)
        assert cancel.question == ask.id
        with pytest.raises(TimeoutError):
            await collector.post("/v1/rehearsals", REQUEST, "lxc102", timeout=aiohttp.ClientTimeout(total=0.3))
        ask, cancel = await next_ask(authority), await next_ask(authority)
        assert isinstance(cancel, Cancel)
        assert cancel.question == ask.id
        async with asyncio.TaskGroup() as group:
            group.create_task(answer_rehearsal(authority, rehearse_traefik(RehearsalOutcome.PASSED)))
            _, document = await collector.post("/v1/rehearsals", REQUEST, "lxc102")
        assert document["outcome"] == "passed"
    assert "Traceback" not in collector.log()


async def test_an_older_agent_is_not_told_to_cancel_twice(collector: Collector) -> None:
    """It refuses and reports what it does not know; ten of those end its channel."""
    await collector.introduce()
    async with connected(collector, "lxc103") as authority:
        await collector.post("/v1/rehearsals?timeout=0.1", REQUEST, "lxc102")
        await next_ask(authority)
        cancel = await next_ask(authority)
        await authority.send_str(
            encode(Refused(id=cancel.id, reason="this agent does not support the request")).decode()
        )
        await authority.ping()
        for _ in range(3):
            await collector.post("/v1/rehearsals?timeout=0.1", REQUEST, "lxc102")
            assert isinstance(await next_ask(authority), Rehearse)


async def _statuses_of_a_flood(collector: Collector, *, connections: int, questions: int) -> list[int]:
    """Of so many questions on each connection, all written before the first answer is read."""
    body = msgspec.json.encode(REQUEST)
    head = (
        "POST /v1/rehearsals HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {collector.tokens['lxc102']}\r\nContent-Length: {len(body)}\r\n"
    )
    question, last = (f"{head}{more}\r\n".encode() + body for more in ("", "Connection: close\r\n"))

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", collector.port, ssl=collector.trust())
        try:
            writer.write(question * (questions - 1) + last)
            return await reader.read()
        finally:
            writer.transport.abort()

    async with asyncio.timeout(120):
        answers = await asyncio.gather(*(ask() for _ in range(connections)))
    statuses = [int(status) for answer in answers for status in re.findall(rb"HTTP/1\.1 (\d+) ", answer)]
    assert len(statuses) == connections * questions
    return statuses


async def test_nothing_ends_when_the_store_cannot_say_whether_an_agent_may_be_asked() -> None:
    """It is told to judge again by its own timer."""

    async def fail() -> bool:
        raise StoreFailed("the server was restarted")

    links = AgentLinks()
    await links.add(AgentLink(Caller("lxc102", TokenRole.AGENT), aiohttp.web.WebSocketResponse(), fail))
    await ask_to_judge_again(links, {"lxc102": frozenset({TRAEFIK})})
    assert links.names() == {"lxc102"}
