"""Where the collector listens. A connection is accepted, its handshake is waited for, and the server has it.

Connections that only begin (a balancer's header, the handshake of TLS) are counted here: beyond a bound the one that
has begun longest ends. Whoever is connected is none of them, and cannot lose the connection to them.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, cast

from aiohttp import web

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 5.0
CLOSING_SECONDS = 3.0
"""How long the other side may take to agree that a connection ends."""
MOST_BEGINNING = 512
GRACE_SECONDS = 2.0
"""So long each may begin before another takes its place; meanwhile the others wait in the kernel's queue."""
_FULL_SECONDS = 1.0
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Peer = tuple[Any, ...]


class Introductions(Protocol):
    """Whoever knows whose a connection is, where it comes by somebody else."""

    async def introduce(
        self, connection: socket.socket, peer: Peer, protocol: asyncio.Protocol
    ) -> asyncio.Protocol | None:
        """The protocol, told whose the connection is; None where the connection is refused."""
        ...


class ConnectionListener:
    """Accepts connections for `server`. `on_connected` is called after each one that the server has."""

    def __init__(
        self,
        server: web.Server,
        context: ssl.SSLContext | None,
        introductions: Introductions | None,
        on_connected: Callable[[], None],
    ) -> None:
        self._server = server
        self._context = context
        self._introductions = introductions
        self._on_connected = on_connected
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._beginning: dict[asyncio.Task[None], float] = {}  # since when; the oldest first
        self._room = asyncio.Event()

    async def listen(self, host: str, port: int, backlog: int) -> None:
        """Begin. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                self._sockets.append(_listening(family, address, backlog))
        except OSError:
            self.close()
            raise
        self._accepting = [loop.create_task(self._accept(one), name="accept connections") for one in self._sockets]

    def close(self) -> None:
        """Take no more connections, and give up those that are no connections yet."""
        for task in (*self._accepting, *self._beginning):
            task.cancel()
        for listening in self._sockets:
            listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._make_room()
            try:
                connection, peer = await loop.sock_accept(listening)
            except OSError as error:  # whoever connected has gone again, or there are too many
                if error.errno in _FULL:
                    log.warning("no connection can be accepted: %s", error.strerror)
                    await asyncio.sleep(_FULL_SECONDS)
                continue
            task = loop.create_task(self._take(connection, peer), name="begin a connection")
            self._beginning[task] = loop.time()
            task.add_done_callback(self._forget)

    async def _make_room(self) -> None:
        """Return once another connection may begin."""
        while len(self._beginning) >= MOST_BEGINNING:
            oldest, since = next(iter(self._beginning.items()))
            left = since + GRACE_SECONDS - asyncio.get_running_loop().time()
            self._room.clear()
            if left <= 0:
                oldest.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(left, 0) or None):
                    await self._room.wait()

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._beginning[task]
        self._room.set()

    async def _take(self, connection: socket.socket, peer: Peer) -> None:
        """Hand the connection over to the server, once it is clear whose it is."""
        connection.setblocking(False)
        protocol: asyncio.Protocol | None = None
        try:
            protocol = cast("asyncio.Protocol", self._server())
            if self._introductions is not None:
                protocol = await self._introductions.introduce(connection, peer, protocol)
        except asyncio.CancelledError:
            protocol = None
            raise
        finally:
            if protocol is None:
                connection.close()
        if protocol is not None:
            await self._hand_over(connection, protocol)

    async def _hand_over(self, connection: socket.socket, protocol: asyncio.Protocol) -> None:
        with suppress(OSError, TimeoutError):  # a handshake that fails is counted where it does
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self._context is not None else None,
                ssl_shutdown_timeout=CLOSING_SECONDS if self._context is not None else None,
            )
            self._on_connected()


def _listening(family: int, address: Any, backlog: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(address)
        made.listen(backlog)
    except OSError:
        made.close()
        raise
    return made
