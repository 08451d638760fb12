"""Connections that hold a place without asking anything: ended, so that nobody fills the collector with them."""

import asyncio
from collections import Counter

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from certagent.domain.ports import Clock

SILENT_SECONDS = 10.0
"""How long a connection may be open, or after an answer, before its next request is complete."""
MOST_SILENT = 1_024
"""Of all connections without a request under way; beyond it those end first that are silent for longest."""
HANDSHAKE_SECONDS = 10.0
_SWEEP_SECONDS = 1.0


class Connections:
    """Who is connected and asks nothing. A request that is under way is bounded by its handler."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._busy: Counter[object] = Counter()
        self._silent_since: dict[object, float] = {}

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

    def sweep(self, server: web.Server) -> None:
        """One look at all connections."""
        now = self._clock.monotonic()
        silent = [protocol for protocol in server.connections if protocol not in self._busy]
        self._silent_since = {protocol: self._silent_since.get(protocol, now) for protocol in silent}
        silent.sort(key=lambda protocol: self._silent_since[protocol])
        surplus = len(silent) - MOST_SILENT
        for number, protocol in enumerate(silent):
            if number < surplus or now - self._silent_since[protocol] > SILENT_SECONDS:
                protocol.force_close()
