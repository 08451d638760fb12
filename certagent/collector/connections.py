"""Connections that hold a place without asking anything: ended, so that nobody fills the collector with them."""

import asyncio
from collections import Counter

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from certagent.collector.listener import CLOSING_SECONDS
from certagent.domain.ports import Clock

SILENT_SECONDS = 10.0
"""How long a connection may be open, or after an answer, before its next request is complete."""
MOST_SILENT = 1_024
"""Of all connections without a request under way; beyond it those end first that are silent for longest."""
_SWEEP_SECONDS = 1.0
_SLACK = 128  # new ones before the next look, at most


class Connections:
    """Who is connected and asks nothing. A request that is under way is bounded by its handler."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._busy: Counter[object] = Counter()
        self._silent_since: dict[object, float] = {}
        self._ending: dict[object, asyncio.Transport] = {}
        self._unlooked = 0

    def middleware(self) -> Middleware:
        """Notes the request as under way."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            protocol = request.protocol
            self._busy[protocol] += 1
            try:
                return await handler(request)
            finally:
                self._busy[protocol] -= 1
                if not self._busy[protocol]:
                    del self._busy[protocol]
                self._silent_since[protocol] = self._clock.monotonic()

        return note

    async def run(self, server: web.Server) -> None:
        """End what is silent for too long, for ever."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.sweep(server)

    def bound(self, server: web.Server) -> None:
        """There is a new one. Look at once, if there are too many; that is asked once for several, for aiohttp makes a
        list of all connections to tell."""
        self._unlooked += 1
        if self._unlooked < _SLACK:
            return
        self._unlooked = 0
        if len(server.connections) - len(self._busy) > MOST_SILENT:
            self.sweep(server)

    def sweep(self, server: web.Server) -> None:
        """One look at all connections."""
        now = self._clock.monotonic()
        silent = [protocol for protocol in server.connections if protocol not in self._busy]
        self._silent_since = {protocol: self._silent_since.get(protocol, now) for protocol in silent}
        silent.sort(key=lambda protocol: self._silent_since[protocol])
        surplus = len(silent) - MOST_SILENT
        self._ending = {protocol: self._ending[protocol] for protocol in silent if protocol in self._ending}
        for number, protocol in enumerate(silent):
            silent_for = now - self._silent_since[protocol]
            if number < surplus or silent_for > SILENT_SECONDS:
                self._end(protocol, is_late=number < surplus or silent_for > SILENT_SECONDS + CLOSING_SECONDS)

    def _end(self, protocol: web.RequestHandler, *, is_late: bool) -> None:
        """Close it, as TLS has it: the other side is to agree. What it does not agree to in time ends all the same."""
        if protocol.transport is not None:
            self._ending[protocol] = protocol.transport
        protocol.force_close()
        if is_late and protocol in self._ending:
            self._ending[protocol].abort()
