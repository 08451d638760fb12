"""Whatever is posted: a problem document or a report, nothing twice, nothing executed, nobody else disturbed."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import count
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from certagent.collector.access import HttpProblem
from certagent.collector.intake import read_reports
from certagent.collector.records import Caller, TokenRole
from certagent.collector.sql import api_queries
from certagent.collector.sql.database import open_writer
from certagent.collector.sql.deliveries import next_delivery
from certagent.collector.sql.incident_writer import conclude_incidents
from certagent.collector.sql.ingest import Post, accept_posts
from certagent.collector.sql.statements import Transaction
from certagent.domain.policy import Alerting
from certagent.domain.rehearsals import RehearsalOutcome
from certagent.domain.reports import Report
from tests.collector.cast import Agent, Cast, certificate, now
from tests.collector.process import Collector
from tests.evidence import TRAEFIK, rehearse_traefik, shadow

pytestmark = pytest.mark.slow

SCRIPT = "<script>alert(1)</script>"
NUMBERS = count(1)
CALLER = Caller("lxc102", TokenRole.AGENT)


def rich() -> dict[str, Any]:
    """A report of lxc102 with every part that a report can have, as plain JSON."""
    agent = Agent("lxc102")
    inventory = agent.inventory("10.0.0.12", "traefik", certificate("traefik", TRAEFIK)).inventory
    seen = rehearse_traefik(RehearsalOutcome.FAILED, poisoned=True)
    report = agent.preflight(shadow(reporter="lxc102"), rehearsals=(seen,), inventory=inventory, certificate="traefik")
    document = msgspec.json.decode(msgspec.json.encode(report))
    document["changes"] = [{"file": "/etc/hosts", "exists": True, "removed": [], "added": ["10.0.0.1 x"]}]
    return dict(document)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON document."""
    yield path
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inner:
        yield from places(value, (*path, key))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The document with another value at that place."""
    if not path:
        return value
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy


PLACES = list(places(rich()))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40)
    | st.sampled_from(["", "\x00", SCRIPT, "x" * 3_000, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "../../etc"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def read(body: bytes) -> list[Report]:
    """What is taken of it: none if it is a problem."""
    try:
        return read_reports(body, "lxc102")[0]
    except HttpProblem as problem:
        if problem.status not in (400, 413):
            raise
        return []


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """A database of either kind."""
    engine = open_writer(url)
    yield engine
    engine.dispose()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=3))
def test_a_report_with_anything_anywhere_is_refused_or_kept_whole(
    engine: Engine, changes: list[tuple[Any, Any]]
) -> None:
    """Mutated at random places: what is taken is concluded from, read back, and taken once."""
    document: Any = rich() | {"id": f"mutated-{next(NUMBERS)}"}
    for path, value in changes:
        try:
            document = changed(document, path, value)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took that place away
    if isinstance(document, dict) and isinstance(document.get("id"), str):
        document["id"] += str(next(NUMBERS))  # the same text may be drawn again
    good = read(json.dumps([document]).encode())
    for expected in (len(good), 0):
        with engine.begin() as connection:
            transaction = Transaction(connection, now(), Alerting(channels=("hook",)))
            (answer,) = accept_posts(transaction, [Post(CALLER, good)])
            conclude_incidents(transaction)
            assert answer.accepted == expected
    with engine.begin() as connection:
        api_queries.list_certificates(connection, None, 100)
        api_queries.list_agents(connection, None, 100)
        for incident in api_queries.list_incidents(connection, None, 100).items:
            assert api_queries.find_incident(connection, incident.id) is not None
        api_queries.find_path_evidence(connection, TRAEFIK)
        next_delivery(connection, "hook", now())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_problem_or_refused(body: bytes) -> None:
    """No other exception, whatever comes."""
    assert read(body) == []


def deep(levels: int) -> bytes:
    """A report whose evidence is nested that deep."""
    text = json.dumps([rich()])
    return text.replace('"hosts": "10.0.0.153"', '"hosts": ' + "[" * levels + "]" * levels).encode()


def bodies() -> dict[str, tuple[bytes, dict[str, str], int]]:
    """What nobody takes: the body, its headers, and the status that answers it."""
    bomb = gzip.compress(b"[" + b" " * 20_000_000 + b"]", compresslevel=1)
    return {
        "wrong types": (json.dumps([rich() | {"sequence": "1", "findings": 7}]).encode(), {}, 422),
        "a kind of run that is no word": (json.dumps([rich() | {"kind": "drill\n" * 20}]).encode(), {}, 422),
        "deep nesting": (deep(20_000), {}, 400),
        "invalid UTF-8": (json.dumps([rich()]).encode().replace(b"traefik", b"tr\xff\xfe"), {}, 422),
        "half a document": (json.dumps([rich()]).encode()[:-40], {}, 400),
        "100 MB": (b"[" + b" " * 100_000_000 + b"]", {}, 413),
        "a gzip bomb": (bomb, {"Content-Encoding": "gzip"}, 413),
        "gzip that is none": (b"not gzip at all", {"Content-Encoding": "gzip"}, 400),
        "an encoding that nobody knows": (json.dumps([rich()]).encode(), {"Content-Encoding": "rot13"}, 415),
        "too many reports": (json.dumps([{}] * 1_001).encode(), {}, 413),
    }


async def test_it_is_a_problem_document_and_nothing_is_stored(collector: Collector) -> None:
    """Over TLS to a real collector; somebody else's post goes through at the same time, each time."""
    cast, hostile_bodies = Cast(), bodies()
    for case, (body, headers, expected) in hostile_bodies.items():
        hostile = asyncio.create_task(post_any(collector, body, headers), name=case)
        assert await collector.report(cast.gateway.preflight()) == {"accepted": 1, "duplicates": 0}
        status, content_type, document = await hostile
        seen = status, content_type, document["status"]
        assert seen == (expected, "application/problem+json", expected), case
    _, page = await collector.get("/v1/reports")
    assert [item["agent"] for item in page["items"]] == ["lxc101"] * len(hostile_bodies)


async def post_any(collector: Collector, body: bytes, headers: dict[str, str]) -> tuple[int, str, Any]:
    """(status, content type, document), although the server may hang up before all of the body was sent."""
    url = f"https://127.0.0.1:{collector.port}/v1/reports"
    head = headers | {"Authorization": f"Bearer {collector.tokens['lxc102']}"}
    connector = aiohttp.TCPConnector(ssl=collector.trust())
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(url, data=BytesIO(body), headers=head, expect100=len(body) > 2**20) as response,
    ):
        return response.status, response.content_type, await response.json(content_type=None)


async def test_markup_in_every_field_is_shown_and_never_executed(collector: Collector) -> None:
    """Every string that is taken with it; the pages carry it escaped."""
    await collector.introduce()
    taken = 0
    for number, path in enumerate(PLACES):
        inner: Any = rich()
        for key in path:
            inner = inner[key]
        if isinstance(inner, str) and path not in {("id",), ("agent",)}:
            document = changed(rich() | {"id": f"script-{number}", "sequence": number + 1}, path, SCRIPT)
            status, _, _ = await post_any(collector, json.dumps([document]).encode(), {})
            assert status in (200, 422), path
            taken += status == 200
    assert taken > 10
    incidents = await collector.incidents()
    async with collector.session("ops") as session:
        for page in ("/", *(f"/incidents/{one['id']}" for one in incidents), f"/paths/{TRAEFIK}"):
            async with session.get(page) as response:
                text = await response.text()
                assert response.status == 200, text
                assert SCRIPT not in text
                assert "default-src 'none'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("years", [-20, 20])
async def test_a_clock_that_is_years_off_hides_nothing(collector: Collector, years: int) -> None:
    """Its findings count from now on; and what it says next replaces them."""
    await collector.introduce()
    cast = collector.cast
    passed = rehearse_traefik(RehearsalOutcome.PASSED, at=now() - timedelta(minutes=1))
    await collector.report(cast.traefik.preflight(rehearsals=(passed,)))
    wrong = datetime.now(UTC) + timedelta(days=365 * years)
    await collector.report(cast.authority.watch(shadow(), at=wrong))
    assert [one["state"] for one in await collector.incidents()] == ["open"]
    await collector.report(cast.authority.watch(at=wrong + timedelta(minutes=1)))
    assert [one["state"] for one in await collector.incidents()] == ["resolved"]


async def test_an_older_agents_report_is_welcome(collector: Collector) -> None:
    """Without anything that was added since the first version."""
    oldest = {"id", "agent", "sequence", "kind", "trigger", "started_at", "finished_at", "outcome"}
    document = {key: value for key, value in rich().items() if key in oldest}
    status, _, answer = await post_any(collector, json.dumps([document]).encode(), {})
    assert (status, answer) == (200, {"accepted": 1, "duplicates": 0})


async def test_one_agent_cannot_take_all_the_room(collector: Collector) -> None:
    """Its ninth post at once is told to come again; somebody else's goes through; later there is room again."""
    url = f"https://127.0.0.1:{collector.port}/v1/reports"
    gate = asyncio.Event()

    async def slowly() -> Any:
        yield b"["
        await gate.wait()
        yield b"]"

    async def hang(session: aiohttp.ClientSession) -> int:
        status = 429  # one that comes while the ninth is tried is told so, too
        while status == 429:
            async with session.post(url, data=slowly()) as response:
                status = response.status
        return status

    async with collector.session("lxc102") as session, asyncio.TaskGroup() as group:
        hanging = [group.create_task(hang(session), name=f"slow {n}") for n in range(8)]

        async def ninth() -> tuple[int, str | None]:
            async with session.post(url, data=b"[]") as response:
                return response.status, response.headers.get("Retry-After")

        async with asyncio.timeout(25):
            while await ninth() != (429, "1"):
                await asyncio.sleep(0.05)
        assert await collector.report(Cast().gateway.preflight()) == {"accepted": 1, "duplicates": 0}
        gate.set()
        assert [await one for one in hanging] == [200] * 8
        assert (await ninth())[0] == 200
