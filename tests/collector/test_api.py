"""The API on a real server over TLS: who may do what, and in which shape it answers."""

import asyncio
import gzip
import re
import time
from datetime import timedelta

import aiohttp
import msgspec
import pytest

from certagent.collector.credentials import revoke_tokens
from tests.collector.cast import certificate, now
from tests.collector.process import Collector, eventually
from tests.evidence import NGINX, TRAEFIK, shadow

pytestmark = pytest.mark.slow


async def test_the_founding_failure_opens_an_incident_with_victims_and_resolves(collector: Collector) -> None:
    """From the watch on the CA's node alone."""
    await collector.introduce()
    await collector.report(collector.cast.authority.watch(shadow()))
    (incident,) = await collector.incidents("open")
    assert incident["culprit"]["node"] == "lxc103"
    assert incident["culprit"]["role"] == "gateway"
    assert "10.0.0.153 (lxc101, gateway)" in incident["explanation"]
    assert incident["lines"] == [{"line": 7, "text": f"10.0.0.153 {TRAEFIK}"}]
    assert [victim["certificate"] for victim in incident["victims"]] == ["traefik"]
    await collector.report(collector.cast.authority.watch())
    (resolved,) = await collector.incidents()
    assert (resolved["id"], resolved["state"]) == (incident["id"], "resolved")
    _, detail = await collector.get(f"/v1/incidents/{incident['id']}")
    assert [one["kind"] for one in detail["transitions"]] == ["opened", "resolved"]


async def test_reports_are_taken_once_in_any_form(collector: Collector) -> None:
    """JSON array, NDJSON, gzip; the same report again is a duplicate."""
    one, two = collector.cast.inventories()[0], collector.cast.gateway.preflight()
    lines = b"\n".join(msgspec.json.encode(report) for report in (one, two))
    zipped = {"headers": {"Content-Encoding": "gzip"}}
    assert await collector.post("/v1/reports", [one], "lxc101") == (200, {"accepted": 1, "duplicates": 0})
    assert await collector.post("/v1/reports", lines, "lxc101") == (200, {"accepted": 1, "duplicates": 1})
    packed = gzip.compress(msgspec.json.encode([one, two]))
    assert await collector.post("/v1/reports", packed, "lxc101", **zipped) == (200, {"accepted": 0, "duplicates": 2})
    _, page = await collector.get("/v1/reports")
    assert [item["id"] for item in page["items"]] == [two.id, one.id]


async def test_what_is_refused_is_named_and_the_rest_is_taken(collector: Collector) -> None:
    """An agent speaks only report as itself; it can bury what was refused."""
    own, foreign = collector.cast.gateway.preflight(), collector.cast.traefik.preflight()
    status, document = await collector.post("/v1/reports", [own, foreign], "lxc101")
    assert (status, document["accepted"]) == (422, 1)
    assert [refusal["id"] for refusal in document["refused"]] == [foreign.id]
    assert "only report as itself" in document["refused"][0]["reason"]


async def test_bodies_are_bounded_also_when_they_are_packed(collector: Collector) -> None:
    """A gzip bomb is a problem document."""
    bomb = gzip.compress(b"[" + b" " * 50_000_000 + b"]", compresslevel=1)
    status, document = await collector.post("/v1/reports", bomb, "lxc101", headers={"Content-Encoding": "gzip"})
    assert (status, document["status"]) == (413, 413)
    status, document = await collector.post("/v1/reports", b"[" * 100_000, "lxc101")
    assert (status, document["title"]) == (400, "Bad Request")


async def test_an_agent_sees_only_what_concerns_it(collector: Collector) -> None:
    """Incidents in which it is culprit or victim; no list of the fleet, no acknowledging."""
    await collector.introduce()
    await collector.report(collector.cast.authority.watch(shadow()))
    identity = (await collector.incidents())[0]["id"]
    for name, seen in (("lxc101", 0), ("lxc102", 1), ("lxc103", 1)):
        status, page = await collector.get("/v1/incidents", name)
        assert (status, len(page["items"])) == (200, seen)
    assert (await collector.get(f"/v1/incidents/{identity}", "lxc101"))[0] == 404
    assert (await collector.get(f"/v1/paths/{TRAEFIK}", "lxc101"))[0] == 404
    assert (await collector.get(f"/v1/paths/{TRAEFIK}", "lxc102"))[0] == 200
    for path in ("/v1/agents", "/v1/certificates", "/v1/reports", "/v1/events", "/metrics", "/"):
        assert (await collector.get(path, "lxc102"))[0] == 403, path
    assert (await collector.post(f"/v1/incidents/{identity}/ack", b"", "lxc102"))[0] == 403
    assert (await collector.post("/v1/reports", [], "ops"))[0] == 403


async def test_an_operator_acknowledges(collector: Collector) -> None:
    """The name is kept, the history too."""
    await collector.report(collector.cast.authority.watch(shadow()))
    identity = (await collector.incidents())[0]["id"]
    status, incident = await collector.post(f"/v1/incidents/{identity}/ack", b"", "ops")
    assert (status, incident["state"], incident["acknowledged_by"]) == (200, "acknowledged", "ops")
    _, detail = await collector.get(f"/v1/incidents/{identity}")
    assert [one["kind"] for one in detail["transitions"]] == ["opened", "acknowledged"]


async def test_nobody_reads_without_a_token(collector: Collector) -> None:
    """Only healthz and readyz are open, and say nothing else."""
    status, document = await collector.get("/v1/agents", None)
    assert (status, document["title"]) == (401, "Unauthorized")
    async with collector.session(None) as session, session.get("/readyz") as response:
        assert (response.status, await response.text()) == (200, "ok\n")
    async with collector.session(None) as session, session.post("/readyz") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD")


async def test_everything_that_is_described_is_served_to_whom_it_says(collector: Collector) -> None:
    """One table: each operation exists, wants a token unless it says otherwise, and refuses a role that it has not."""
    _, document = await collector.get("/openapi.json")
    operations = [
        (method, path.replace("{", "").replace("}", ""), operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) >= 16
    async with collector.session(None) as stranger, collector.session("lxc102") as agent:
        for method, path, operation in operations:
            async with stranger.request(method, path) as response:
                assert response.status == (200 if operation.get("security") == [] else 401), path
            if path != "/v1/channel":
                async with agent.request(method, path) as response:
                    assert response.status != 405, path
        async with agent.get("/v1/agents") as response:
            assert response.status == 403
            assert "needs the role operator or viewer" in (await response.json(content_type=None))["detail"]


async def test_the_host_must_be_ours(collector: Collector) -> None:
    """DNS rebinding ends here; the names of the certificate and of the configuration are ours."""
    for host, status in (("evil.test", 421), ("collector.test:1234", 200), ("localhost", 200), ("127.0.0.1", 200)):
        assert (await collector.get("/v1/agents", headers={"Host": host}))[0] == status, host


async def test_lists_go_on_where_they_ended(collector: Collector) -> None:
    """Cursor and limit; a wrong one is a problem."""
    await collector.introduce()
    for path, key in (("/v1/agents", "name"), ("/v1/certificates", "name"), ("/v1/reports", "id")):
        names: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            _, page = await collector.get(path, params={"limit": "1"} | ({"cursor": cursor} if cursor else {}))
            names += [item[key] for item in page["items"]]
            cursor = page["next"]
        assert len(names) == len(set(names)) >= 2, path
    for wrong in ({"limit": "0"}, {"limit": "x"}, {"cursor": "zz"}, {"cursor": "7b7d"}):
        status, document = await collector.get("/v1/agents", params=wrong)
        assert (status, document["status"]) == (400, 400), wrong


async def test_shapes_of_the_lists(collector: Collector) -> None:
    """What others script against."""
    await collector.introduce()
    _, agents = await collector.get("/v1/agents")
    assert set(agents["items"][0]) == {
        *("name", "role", "addresses", "version", "last_seen", "connected", "resolver", "roots")
    }
    assert [item["role"] for item in agents["items"]] == ["gateway", "traefik", "authority"]
    _, certificates = await collector.get("/v1/certificates")
    assert set(certificates["items"][0]) == {
        *("name", "node", "identifiers", "on_disk", "served", "due_at", "last_outcome", "last_outcome_at", "manage")
    }


async def test_the_path_shows_the_culprit(collector: Collector) -> None:
    """Intended through Traefik, actual through the line to the gateway."""
    await collector.introduce()
    await collector.report(collector.cast.authority.watch(shadow()))
    _, path = await collector.get(f"/v1/paths/{TRAEFIK}")
    assert path["broken"]
    assert path["culprit"]["file"] == "/etc/hosts"
    assert path["intended"][2]["address"] == "10.0.0.12"
    assert [hop["label"] for hop in path["actual"]] == ["CA", "/etc/hosts:7", "gateway", "responder"]
    assert [hop["culprit"] for hop in path["actual"]] == [False, True, False, False]


async def test_watchers_hear_of_each_change(collector: Collector) -> None:
    """Server-sent events: agent, certificate, incident; and the beat."""
    seen: set[str] = set()
    async with collector.session("ops") as session, session.get("/v1/events") as response:
        assert response.content_type == "text/event-stream"
        await response.content.readline()
        await collector.introduce()
        await collector.report(collector.cast.authority.watch(shadow()))
        async with asyncio.timeout(10):
            while seen != {"agent", "certificate", "incident", "beat"}:
                line = (await response.content.readline()).decode().strip()
                if line.startswith("event: "):
                    seen.add(line.removeprefix("event: "))


async def test_a_watcher_whose_token_is_revoked_hears_no_more(collector: Collector) -> None:
    """However much happens."""

    async def happen() -> None:
        while True:
            await collector.report(collector.cast.authority.watch(shadow()))
            await collector.report(collector.cast.authority.watch())

    async with collector.session("ops") as session, session.get("/v1/events") as response:
        happening = asyncio.create_task(happen())
        assert b"event: " in await response.content.readuntil(b"event: ")
        revoke_tokens(collector.store, "ops", now())
        async with asyncio.timeout(10):
            await response.content.read()  # to its end
        happening.cancel()


async def test_metrics_and_description(collector: Collector) -> None:
    """For Prometheus, and for who writes a client."""
    await collector.introduce()
    await collector.report(collector.cast.authority.watch(shadow()))
    text = await metrics_of(collector)
    assert 'certagent_reports_total{result="accepted"} 4.0' in text
    assert 'certagent_certificate_expiry_timestamp_seconds{certificate="traefik",node="lxc102"}' in text
    assert 'certagent_incidents{code="dns.hosts_shadow.authority",state="open"} 1.0' in text
    assert 'certagent_survival_timestamp_seconds{dead="half"}' in text
    assert 'certagent_preflight_verdicts_total{fate="disagreed"} 0.0' in text
    _, document = await collector.get("/openapi.json", "lxc102")
    assert document["openapi"].startswith("3.")
    assert {"/v1/reports", "/v1/survival"} <= set(document["paths"])


async def metrics_of(collector: Collector) -> str:
    """As Prometheus reads them."""
    async with collector.session("ops") as session, session.get("/metrics") as response:
        return await response.text()


async def test_the_survival_clock_and_an_expiry_that_stays(collector: Collector) -> None:
    """One lives, one has died: its time of death is still among the metrics, after hours as well."""
    cast = collector.cast
    dead = certificate("gateway", NGINX, left=-timedelta(hours=30))
    await collector.report(cast.gateway.inventory("10.0.0.153", "gateway", dead))
    status, clock = await collector.get("/v1/survival")
    assert (status, clock["living"], clock["expired"], clock["first"]) == (200, 0, 1, None)
    await collector.report(cast.traefik.inventory("10.0.0.12", "traefik", certificate("traefik", TRAEFIK)))
    _, clock = await collector.get("/v1/survival")
    assert (clock["living"], clock["expired"]) == (1, 1)
    assert (clock["first"]["node"], clock["first"]["certificate"]) == ("lxc102", "traefik")
    assert clock["first"]["expires_at"] == clock["half_at"] == clock["last_at"]
    assert (await collector.get("/v1/survival", "lxc102"))[0] == 403
    died = f"{dead.on_disk.not_after.timestamp()!r}" if dead.on_disk else ""
    lines = [line for line in (await metrics_of(collector)).splitlines() if 'certificate="gateway"' in line]
    assert [float(line.rpartition(" ")[2]) for line in lines] == [float(died)]


async def test_the_survival_clock_counts_what_needs_the_ca(collector: Collector) -> None:
    """What another client renews stays in lists and totals, not in the clock: by API, metric, page."""
    ours = certificate("traefik", TRAEFIK, left=timedelta(hours=20))
    others = [
        msgspec.structs.replace(certificate(name, f"{name}.test", left=timedelta(hours=hours)), manage=False)
        for name, hours in (("sooner", 2), ("dead", -2))
    ]
    await collector.report(collector.cast.traefik.inventory("10.0.0.12", "traefik", ours, *others))
    _, clock = await collector.get("/v1/survival")
    assert (clock["living"], clock["expired"], clock["first"]["certificate"]) == (1, 0, "traefik")
    text = await metrics_of(collector)
    (first,) = re.findall(r'certagent_survival_timestamp_seconds\{dead="first"\} (\S+)', text)
    assert ours.on_disk is not None
    assert float(first) == ours.on_disk.not_after.timestamp()
    assert 'certagent_certificates{state="living"} 2.0' in text
    assert 'certagent_certificates{state="expired"} 1.0' in text
    async with collector.session("ops") as session, session.get("/") as response:
        page = " ".join(re.sub(r"<[^>]+>", "", await response.text()).split())
    assert "the first certificate expires in 19 h 59 min (traefik on lxc102)" in page
    assert (
        "1 certificate that certagent renews from the CA. 2 that other clients renew are in all other figures" in page
    )
    assert "expired already" not in page.partition("If the CA stays down")[2]
    assert "sooner.test" in page


async def test_unknown_things_are_problems(collector: Collector) -> None:
    """RFC 9457, whatever it is."""
    for method, path, status in (("GET", "/nope", 404), ("DELETE", "/v1/agents", 405), ("GET", "/v1/incidents/x", 404)):
        async with collector.session("ops") as session, session.request(method, path) as response:
            assert (response.status, response.content_type) == (status, "application/problem+json")


@pytest.mark.parametrize("admitted", [False, True])
async def test_it_ends_at_once_with_channels_and_watchers_open(collector: Collector, admitted: bool) -> None:
    """SIGTERM: exit 0, nobody is waited for, also not whose channel is only being opened."""

    async def is_admitted() -> bool:
        _, page = await collector.get("/v1/agents")
        return [item["connected"] for item in page["items"]] == [True]

    async with (
        collector.session("lxc102") as agent,
        collector.session("ops") as operator,
        agent.ws_connect("/v1/channel") as socket,
        operator.get("/v1/events"),
    ):
        if admitted:
            await eventually(is_admitted)
        begun = time.monotonic()
        assert await collector.stop() == 0
        assert time.monotonic() - begun < 8, "an agent that does not answer is waited for"
        assert (await socket.receive()).type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}
