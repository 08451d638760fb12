"""Receivers of HTTP requests: what a webhook, ntfy or Alertmanager's peer would be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

from aiohttp import web

from tests.collector.process import PATIENCE, eventually
from tests.ports import free_port

_Kept = TypeVar("_Kept")


@dataclass
class _HttpReceiver(Generic[_Kept]):
    port: int = field(default_factory=free_port)
    taken: list[_Kept] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        """One request."""
        raise NotImplementedError

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Up within the block."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.receive)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        try:
            yield self
        finally:
            await runner.cleanup()

    async def has(self, count: int, *, within: float = PATIENCE) -> list[_Kept]:
        """So many, at last, within so many seconds."""

        async def enough() -> bool:
            return len(self.taken) >= count

        await eventually(enough, within=within)
        return self.taken


@dataclass
class Receiver(_HttpReceiver[tuple[dict[str, str], str]]):
    """What ntfy would be: keeps what it took over. `answers` are given in turn, then 200; None hangs."""

    answers: list[int | None] = field(default_factory=list)
    asked: int = 0

    async def receive(self, request: web.Request) -> web.Response:
        """One message."""
        if (request.method, request.path) != ("POST", "/alerts"):
            return web.Response(status=404)
        body = await request.text()
        self.asked += 1
        status = self.answers.pop(0) if self.answers else 200
        if status is None:
            await asyncio.Event().wait()
        if status == 200:
            self.taken.append((dict(request.headers), body))
        return web.Response(status=status or 200)

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self.port}/alerts"


@dataclass
class Sink(_HttpReceiver[tuple[str, dict[str, str], bytes]]):
    """Takes any request, whatever it answers; keeps path, headers and body."""

    status: int = 200

    async def receive(self, request: web.Request) -> web.Response:
        """One of them."""
        self.taken.append((request.path, dict(request.headers), await request.read()))
        return web.Response(status=self.status)
