"""A collector whose answers are nonsense, or do not end: an unavailable rehearsal with a reason, nothing worse."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from certagent.agent.rehearsal import through_collector
from certagent.domain.rehearsals import RehearsalOutcome, RehearsalRequest, digest_for
from certagent.system.clock import SystemClock
from certagent.system.pinned_http import PinnedClient
from tests.bounds import at_most
from tests.certificates import Authority

TOKEN = "t" * 43
REQUEST = RehearsalRequest(identifier="a.x", token=TOKEN, digest=digest_for(TOKEN))


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[tuple[PinnedClient, list[tuple[int, bytes]]]]:
    """A client, and what the server behind it is to say: (status, body), again and again where the status is 0."""
    authority, to_say = Authority(), list[tuple[int, bytes]]()

    async def answer(request: web.Request) -> web.StreamResponse:
        status, body = to_say[0]
        if status:
            return web.Response(status=status, body=body)
        endless = web.StreamResponse()
        await endless.prepare(request)
        while True:
            await endless.write(body)

    pair = authority.issue("localhost")
    (tmp_path / "pair.pem").write_bytes(pair.key_pem + pair.chain_pem)
    (tmp_path / "root.pem").write_bytes(authority.root_pem)
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
        rehearsal = await through_collector(client, SystemClock())(REQUEST)
    assert rehearsal.outcome is RehearsalOutcome.UNAVAILABLE
    assert words in (rehearsal.reason or "")
