"""What the agent's own responders have in common: a port that may be taken, a bounded number of connections, an end."""

import asyncio
import logging
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from certagent.config import split_endpoint
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import body_for

log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
ORDER_SECONDS = 600.0
MOST_CONNECTIONS = 256


class ResponderServer(ABC):
    """A responder that listens on `listen` (address:port). Use as an async context manager.

    A port that is taken (or not allowed, or at an address that is not this node's) stops nobody from working: it is
    tried again at each check, and the check says why.
    """

    challenge_type: str
    rehearsed = staticmethod(body_for)

    def __init__(self, listen: str, clock: Clock) -> None:
        self.listen = listen
        self._clock = clock
        self._open: dict[asyncio.Transport, asyncio.Task[None] | None] = {}
        self._server: asyncio.Server | None = None
        self._trouble: str | None = None

    async def __aenter__(self) -> Self:
        await self._ensure_listening()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            for transport in tuple(self._open):
                transport.abort()
            await asyncio.gather(*filter(None, self._open.values()), return_exceptions=True)
            await self._server.wait_closed()

    def admit(self, transport: asyncio.Transport, serving: asyncio.Task[None] | None = None) -> None:
        """One more connection, with the task that serves it: where there are too many, the one that has said nothing
        for longest goes. So nobody keeps the CA out by keeping silent."""
        self._open[transport] = serving
        if len(self._open) > MOST_CONNECTIONS:
            oldest = next(iter(self._open))
            self.forget(oldest)
            oldest.abort()

    def forget(self, transport: asyncio.Transport) -> None:
        """That connection is gone."""
        self._open.pop(transport, None)

    @abstractmethod
    def _connection(self) -> asyncio.Protocol:
        """What serves one connection."""

    async def _ensure_listening(self) -> str | None:
        """Listen, unless it does; or why that cannot be."""
        if self._server is None:
            self._trouble = await self._listen()
        return self._trouble

    async def _listen(self) -> str | None:
        host, port = split_endpoint(self.listen)
        try:
            self._server = await asyncio.get_running_loop().create_server(self._connection, host, port)
        except OSError as error:
            trouble = f"the responder cannot listen on {self.listen}: {error.strerror or error}"
            log.error("%s", trouble)
            return trouble
        log.info("the responder for %s listens on %s", self.challenge_type, self.listen)
        return None
