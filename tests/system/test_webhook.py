"""What a receiver's answer means for the message."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from certagent.system.webhook import TransientFailure, post

Pause = Callable[[dict[str, str]], Awaitable[float]]

DATE = {"Date": "Sun, 29 Nov 2026 18:00:00 GMT"}


@pytest.fixture
async def pause_after() -> AsyncIterator[Pause]:
    """The pause that a receiver asks for by an answer of 503 with those headers."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def ask(headers: dict[str, str]) -> float:
            async def refuse(_request: web.Request) -> web.Response:
                return web.Response(status=503, headers=headers)

            application = web.Application()
            application.router.add_post("/", refuse)
            server = TestServer(application)
            await server.start_server()
            stack.push_async_callback(server.close)
            with pytest.raises(TransientFailure) as raised:
                await post(session, str(server.make_url("/")), b"", {})
            return raised.value.retry_after

        yield ask


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("", 0),
        ("0", 0),
        ("42", 42),
        ("300", 300),
        ("3600", 300),
        ("9" * 400, 300),
        ("-5", 0),
        ("soon", 0),
        ("Sun, 29 Nov 2026 18:00:42 GMT", 42),
        ("Sunday, 29-Nov-26 18:00:42 GMT", 42),
        ("Sun Nov 29 18:00:42 2026", 42),
        ("Sun, 29 Nov 2026 19:00:00 GMT", 300),
        ("Sun, 29 Nov 2026 17:00:00 GMT", 0),
        ("Sun, 99 Nov 2026 18:00:42 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 0),
    ],
)
async def test_both_forms_of_retry_after_are_heeded_within_five_minutes(
    pause_after: Pause, retry_after: str, seconds: float
) -> None:
    """A date counts from the answer's own: the receiver's clock may be another."""
    assert await pause_after({"Retry-After": retry_after} | DATE) == seconds


async def test_a_date_of_a_receiver_without_a_clock_counts_from_now(pause_after: Pause) -> None:
    """And is bounded as well."""
    assert await pause_after({"Retry-After": "Fri, 31 Dec 9998 23:59:59 GMT", "Date": "unknown"}) == 300
    assert await pause_after({"Retry-After": "Sat, 01 Jan 2000 00:00:00 GMT", "Date": "unknown"}) == 0
