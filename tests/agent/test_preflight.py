"""Preflight's rehearsals: an answer that is nonsense or does not end, what is remembered, and what a problem costs."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from aiohttp import web

from certagent.agent.deployment import DeploymentService
from certagent.agent.preflight import (
    ANSWER_SECONDS,
    OwnRehearsals,
    Preflight,
    RehearsalClient,
    unavailable,
)
from certagent.agent.rehearsal_history import MOST_REMEMBERED, RehearsalHistory
from certagent.agent.schedule import Schedule
from certagent.config import CertificateSection, ListenerSolver
from certagent.domain.diagnosis.flapping import FLAPPING_WITHIN, settled_later
from certagent.domain.findings import Impact
from certagent.domain.observations import ListeningSocket, NodeObservation
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome, RehearsalRequest, digest_for
from certagent.proof import Prover
from certagent.system.clock import SystemClock
from certagent.system.pinned_http import PinnedClient
from certagent.vantage.node_vantage import NodeVantage
from certagent.vantage.web_server_config import WebServerConfigs
from tests.agent.context import POLICY, make_context
from tests.bounds import at_most
from tests.certificates import Authority
from tests.evidence import NAME, NOW, OTHER, OWN, by_dns, by_hosts, make_evidence, make_resolution
from tests.fakes.clock import FakeClock

TOKEN = "t" * 43
REQUEST = RehearsalRequest(identifier="a.x", token=TOKEN, digest=digest_for(TOKEN))


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[tuple[PinnedClient, list[tuple[int, bytes]]]]:
    """A client, and what the server behind it is to say: (status, body), the last one from then on; where the status is
    0, the body again and again."""
    authority, to_say = Authority(), list[tuple[int, bytes]]()

    async def answer(request: web.Request) -> web.StreamResponse:
        status, body = to_say.pop(0) if len(to_say) > 1 else to_say[0]
        if status:
            return web.Response(status=status, body=body)
        endless = web.StreamResponse()
        await endless.prepare(request)
        while True:
            await endless.write(body)
            await asyncio.sleep(0)  # a TLS connection that is shutting down takes all that is written, and never waits

    pair = authority.issue("localhost")
    (tmp_path / "pair.pem").write_bytes(pair.key_pem + pair.chain_pem)
    authority.write_root(tmp_path / "root.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    app = web.Application()
    app.router.add_post("/v1/rehearsals", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://localhost:{runner.addresses[0][1]}"
    async with PinnedClient(url, tmp_path / "root.pem", (), {}) as client:
        yield client, to_say
    await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"", "cannot be read"),
        (200, b"\xff", "cannot be read"),
        (200, b"[" * 100_000, "cannot be read"),
        (200, b'{"outcome":"passed"}', "cannot be read"),
        (500, b"{", "answered 500: without a reason"),
        (403, b"[" * 100_000, "answered 403: without a reason"),
        (0, b" " * 65536, "cannot be reached: the answer is longer than 8388608 bytes"),
    ],
    ids=["empty", "bytes", "deep", "half", "error", "deep error", "endless"],
)
async def test_an_answer_that_is_none_is_no_rehearsal(
    collector: tuple[PinnedClient, list[tuple[int, bytes]]], status: int, body: bytes, words: str
) -> None:
    """Bounded in memory, too."""
    client, to_say = collector
    to_say.append((status, body))
    with at_most(seconds=30, mebibytes=48):
        rehearsal = await RehearsalClient(client, SystemClock()).request(REQUEST)
    assert rehearsal.outcome is RehearsalOutcome.UNAVAILABLE
    assert words in (rehearsal.reason or "")


BUSY_ANSWER = (429, b'{"detail":"busy: 2 rehearsals of lxc102 are under way"}')


async def test_while_others_are_rehearsed_it_is_requested_again(
    collector: tuple[PinnedClient, list[tuple[int, bytes]]],
) -> None:
    """At growing intervals, not at once."""
    client, to_say = collector
    passed = msgspec.json.encode(_rehearsal(0, OWN))
    to_say += [BUSY_ANSWER, BUSY_ANSWER, (200, passed)]
    clock = FakeClock()
    rehearsal = await RehearsalClient(client, clock).request(REQUEST)
    assert rehearsal.outcome is RehearsalOutcome.PASSED
    first, second = clock.slept
    assert 1.0 <= first <= 1.5
    assert 2.0 <= second <= 3.0


async def test_it_is_requested_again_no_longer_than_the_token_is_there(
    collector: tuple[PinnedClient, list[tuple[int, bytes]]],
) -> None:
    """Then it is unavailable, and why."""
    client, to_say = collector
    to_say.append(BUSY_ANSWER)
    clock = FakeClock()
    rehearsal = await RehearsalClient(client, clock).request(REQUEST)
    assert (rehearsal.outcome, "busy" in (rehearsal.reason or "")) == (RehearsalOutcome.UNAVAILABLE, True)
    assert sum(clock.slept) < ANSWER_SECONDS


async def test_a_node_has_no_more_than_two_rehearsals_under_way(tmp_path: Path) -> None:
    """The collector would refuse more; all of them are done in the end."""

    class _Slow(_Rehearsals):
        under_way = most = 0

        async def request(self, request: RehearsalRequest) -> Rehearsal:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(0.01)
            self.under_way -= 1
            return await super().request(request)

    rehearsals = _Slow()
    preflight = _preflight(tmp_path, *_foreign(), rehearsals=rehearsals)
    await asyncio.gather(*(preflight.rehearse(name) for name in CHALLENGES))
    assert (rehearsals.most, len(rehearsals.requested)) == (2, len(CHALLENGES))


async def test_of_one_identifier_one_rehearsal_is_under_way(tmp_path: Path) -> None:
    """Who asks while the agent looks by itself waits for its own; the collector would call it busy."""
    under_way: list[str] = []

    class _Slow(_Rehearsals):
        async def request(self, request: RehearsalRequest) -> Rehearsal:
            assert request.identifier not in under_way
            under_way.append(request.identifier)
            await asyncio.sleep(0.01)
            under_way.remove(request.identifier)
            return await super().request(request)

    rehearsals = _Slow()
    preflight = _preflight(tmp_path, *_foreign(), rehearsals=rehearsals)
    await asyncio.gather(*(preflight.rehearse(name) for name in (*CHALLENGES, *CHALLENGES)))
    assert len(rehearsals.requested) == 2 * len(CHALLENGES)


def _rehearsal(seconds: int, address: str) -> Rehearsal:
    rehearsal = make_evidence(make_resolution(addresses=(by_dns(address),)), passed=address == OWN).rehearsal
    assert rehearsal is not None
    return msgspec.structs.replace(rehearsal, at=NOW + timedelta(seconds=seconds))


def test_an_order_waits_until_the_name_has_been_steady_for_a_minute() -> None:
    """Not for one mend; from the fourth answer to and fro on, a minute after the last change."""
    history = RehearsalHistory()
    for seconds, address in enumerate((OWN, OTHER, OWN)):
        history.note(_rehearsal(seconds, address))
    last = _rehearsal(3, OTHER)
    assert settled_later(last, history.of(NAME)).settles_at is None
    history.note(last)
    assert settled_later(last, history.of(NAME)).settles_at == last.at + FLAPPING_WITHIN


def test_only_so_much_is_remembered() -> None:
    """So many of them, and none that is long past."""
    history = RehearsalHistory()
    for seconds in range(3 * MOST_REMEMBERED):
        history.note(_rehearsal(seconds, OWN))
    assert len(history.of(NAME)) == MOST_REMEMBERED
    history.note(_rehearsal(10_000, OWN))
    assert len(history.of(NAME)) == 1


def test_what_says_nothing_of_dns_is_not_remembered() -> None:
    """No rehearsal, and a name that a hosts line decides: its edits are no flapping."""
    history = RehearsalHistory()
    unavailable = msgspec.structs.replace(_rehearsal(0, OWN), outcome=RehearsalOutcome.UNAVAILABLE)
    shadowed = make_evidence(make_resolution(addresses=(by_hosts(OTHER),))).rehearsal
    assert shadowed is not None
    history.note(unavailable)
    history.note(shadowed)
    assert history.of(NAME) == ()


CHALLENGES: dict[str, Literal["http-01", "tls-alpn-01", "dns-01"]]
CHALLENGES = {"a.test": "http-01", "b.test": "tls-alpn-01", "c.test": "dns-01", "*.d.test": "dns-01"}


class _Rehearsals(RehearsalClient):
    """Notes what is requested beside the CA."""

    def __init__(self) -> None:
        self.requested: list[RehearsalRequest] = []

    async def request(self, request: RehearsalRequest) -> Rehearsal:
        """Unavailable."""
        self.requested.append(request)
        return unavailable(request, NOW, "nothing was planted")


class _Rehearser:
    """Beside the CA."""

    def __init__(self, outcome: RehearsalOutcome) -> None:
        self.outcome = outcome
        self.asked: list[str] = []

    async def rehearse(self, request: RehearsalRequest, caller: str = "", *, is_own: bool = False) -> Rehearsal:
        """As it is told."""
        assert is_own
        self.asked.append(caller)
        return Rehearsal(identifier=request.identifier, outcome=self.outcome, at=NOW, node=caller)


@pytest.mark.parametrize("is_there", [False, True], ids=["no collector", "a collector that has nobody"])
async def test_beside_the_ca_it_rehearses_by_itself(is_there: bool) -> None:
    """Without a collector, and while none can be had from it."""
    here = _Rehearser(RehearsalOutcome.PASSED)
    collectors = _Rehearsals() if is_there else None
    rehearsal = await OwnRehearsals(here, "lxc103", collectors).request(REQUEST)
    assert (rehearsal.outcome, rehearsal.node, here.asked) == (RehearsalOutcome.PASSED, "lxc103", ["lxc103"])


async def test_beside_the_ca_the_collector_is_asked_first() -> None:
    """It knows what others' files say."""

    class _Collector(_Rehearsals):
        async def request(self, request: RehearsalRequest) -> Rehearsal:
            return Rehearsal(identifier=request.identifier, outcome=RehearsalOutcome.FAILED, at=NOW, node="lxc109")

    here = _Rehearser(RehearsalOutcome.PASSED)
    rehearsal = await OwnRehearsals(here, "lxc103", _Collector()).request(REQUEST)
    assert (rehearsal.outcome, here.asked) == (RehearsalOutcome.FAILED, [])


async def test_beside_the_ca_what_was_not_planted_is_looked_at_once() -> None:
    """It stays unavailable, and the collector's look knows the whole fleet."""
    look = msgspec.structs.replace(
        unavailable(REQUEST, NOW, "a server answers"), resolution=make_resolution(), node="lxc109"
    )

    class _Collector(_Rehearsals):
        async def request(self, request: RehearsalRequest) -> Rehearsal:
            return look

    here = _Rehearser(RehearsalOutcome.UNAVAILABLE)
    rehearsals = OwnRehearsals(here, "lxc103", _Collector())
    assert (await rehearsals.request(msgspec.structs.replace(REQUEST, planted=False)), here.asked) == (look, [])
    assert (await rehearsals.request(REQUEST)).node == "lxc103"


def _preflight(
    folder: Path,
    *sections: CertificateSection,
    rehearsals: RehearsalClient | None = None,
    node: NodeVantage | None = None,
) -> Preflight:
    context = make_context(folder, *sections)
    return Preflight(
        context,
        node or NodeVantage(),
        responders={},
        rehearsals=rehearsals,
        deployment=DeploymentService(context, Prover(folder / "root.crt", context.clock)),
        schedule=Schedule("lxc102", POLICY.renewal),
        web_servers=WebServerConfigs(),
    )


def _foreign() -> list[CertificateSection]:
    return [
        CertificateSection(name=name.strip("*."), identifiers=(name,), manage=False, challenge=challenge)
        for name, challenge in CHALLENGES.items()
    ]


@pytest.mark.parametrize(("identifier", "challenge"), CHALLENGES.items())
async def test_what_somebody_else_renews_is_rehearsed_by_its_own_challenge(
    tmp_path: Path, identifier: str, challenge: str
) -> None:
    """`manage = false`: never by port 80 where the certificate is not proven there."""
    rehearsals = _Rehearsals()
    rehearsal = await _preflight(tmp_path, *_foreign(), rehearsals=rehearsals).rehearse(identifier)
    (request,) = rehearsals.requested
    assert (request.identifier, request.challenge, request.planted) == (identifier, challenge, False)
    assert rehearsal.challenge == challenge


async def test_a_rehearsal_that_cannot_be_requested_is_of_that_challenge(tmp_path: Path) -> None:
    """Without a collector."""
    rehearsal = await _preflight(tmp_path, *_foreign()).rehearse("c.test")
    assert (rehearsal.challenge, rehearsal.outcome) == ("dns-01", "unavailable")


async def test_who_listens_is_looked_for_once_however_many_are_not_well(tmp_path: Path) -> None:
    """A look goes through all processes of the node, and two looks keep a distance."""
    looks = []

    class _Node(NodeVantage):
        async def observe(self, identifier: str, authority: str) -> NodeObservation:
            return NodeObservation()

        def listeners(self) -> tuple[ListeningSocket, ...]:
            looks.append("look")
            return super().listeners()

    judgements = await _preflight(tmp_path, *_foreign(), node=_Node()).judge(list(CHALLENGES))
    assert ([judgement.identifier for judgement in judgements], looks) == (list(CHALLENGES), ["look"])


def test_only_what_is_renewed_here_can_be_said_to_expire(tmp_path: Path) -> None:
    """Of what somebody else renews the state folder knows nothing."""
    solver = ListenerSolver(listen="127.0.0.1:5002")
    ours = CertificateSection(name="web", identifiers=("web.internal",), solver=solver)
    foreign = CertificateSection(name="old", identifiers=("old.internal",), manage=False)
    preflight = _preflight(tmp_path, ours, foreign)
    assert preflight.impact_on("old.internal") is None
    assert preflight.impact_on("web.internal") == Impact(certificate="web")
