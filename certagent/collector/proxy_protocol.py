"""Connections that come by a load balancer, which says whose they are: PROXY protocol, version 2, before any TLS.

Only the named balancers are believed, and each of their connections has to begin with a header. Of anybody else's
connections nothing is expected; one that begins with a header all the same is no TLS, and ends there.
"""

import asyncio
import errno
import ipaddress
import logging
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from struct import error as StructError  # noqa: N812 an exception
from typing import Any, cast

from aiohttp import web
from proxyprotocol import ProxyProtocolChecksumError, ProxyProtocolIncompleteError
from proxyprotocol.result import ProxyResult, is_ipv4, is_ipv6
from proxyprotocol.v2 import ProxyProtocolV2

from certagent.collector.broken_requests import GONE, NO_HEADER, BrokenRequests
from certagent.collector.connections import HANDSHAKE_SECONDS

log = logging.getLogger(__name__)

HEADER_SECONDS = 5.0
_LONGEST_HEADER = 4_096  # bytes
_FULL_SECONDS = 1.0
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PEER = "peername"

Peer = tuple[Any, ...]


class HeaderMissing(Exception):
    """The connection does not begin as a balancer's has to."""


class ProxyListener:
    """Accepts connections for `server`. `balancers` are the addresses of those that are believed."""

    def __init__(
        self,
        server: web.Server,
        balancers: Iterable[str],
        broken: BrokenRequests,
        context: ssl.SSLContext | None,
    ) -> None:
        self._server = server
        self._balancers = frozenset(map(_plain_address, balancers))
        self._broken = broken
        self._context = context
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()

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
        for listening in self._sockets:
            self._start(self._accept(listening), "accept connections")

    def close(self) -> None:
        """Take no more connections, and give up those that are no connections yet."""
        for task in self._tasks:
            task.cancel()
        for listening in self._sockets:
            listening.close()

    def _start(self, work: Any, name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(listening)
            except OSError as error:  # whoever connected has gone again, or there are too many
                if error.errno in _FULL:
                    log.warning("no connection can be accepted: %s", error.strerror)
                    await asyncio.sleep(_FULL_SECONDS)
                continue
            self._start(self._take(connection, peer), "begin a connection")

    async def _take(self, connection: socket.socket, peer: Peer) -> None:
        """Hand the connection over to the server, once it is clear whose it is."""
        connection.setblocking(False)
        is_known, client = False, None
        try:
            if _plain_address(peer[0]) in self._balancers:
                async with asyncio.timeout(HEADER_SECONDS):
                    client = await read_client(connection)
            is_known = True
        except (HeaderMissing, TimeoutError):
            self._broken.note(NO_HEADER)
        except OSError:
            self._broken.note(GONE)
        finally:
            if not is_known:
                connection.close()
        if is_known:
            await self._hand_over(connection, client)

    async def _hand_over(self, connection: socket.socket, client: Peer | None) -> None:
        protocol = cast("asyncio.Protocol", self._server())
        with suppress(OSError, TimeoutError):  # a handshake that fails is counted where it does
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol if client is None else _ClientsProtocol(protocol, client),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self._context is not None else None,
            )


async def read_client(connection: socket.socket) -> Peer | None:
    """Whose connection it is, by the header that it begins with: (address, port); None where it is the balancer's own.
    Reads not a byte more. Raises `HeaderMissing`, OSError."""
    loop, parser, read = asyncio.get_running_loop(), ProxyProtocolV2(), bytearray()
    while True:
        try:
            return _client_in(parser.unpack(bytes(read)))
        except ProxyProtocolIncompleteError as incomplete:
            wanted = incomplete.want_read.want_bytes or 0
        except (ProxyProtocolChecksumError, ValueError, StructError) as error:
            raise HeaderMissing from error
        if not 0 < wanted <= _LONGEST_HEADER:
            raise HeaderMissing
        piece = await loop.sock_recv(connection, wanted)
        if not piece:
            raise ConnectionResetError
        read += piece


def _client_in(result: ProxyResult) -> Peer | None:
    if is_ipv4(result) or is_ipv6(result):
        address, port = result.source
        return _plain_address(str(address)), port
    return None


def _plain_address(text: str) -> str:
    """One spelling of an address; without a zone, and IPv4 as such where it came by an IPv6 socket."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


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


class _ClientsTransport:
    """A transport that names the client as its peer; in all else the one that it is made of."""

    def __init__(self, transport: asyncio.BaseTransport, client: Peer) -> None:
        self._transport = transport
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As of the transport; the peer is the client."""
        return self._client if name == _PEER else self._transport.get_extra_info(name, default)


class _ClientsProtocol(asyncio.Protocol):
    """Passes everything on to the server's protocol, which sees the client as its peer."""

    def __init__(self, protocol: asyncio.Protocol, client: Peer) -> None:
        self._protocol = protocol
        self._client = client
        for name in ("data_received", "eof_received", "connection_lost", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(protocol, name))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._protocol.connection_made(cast("asyncio.BaseTransport", _ClientsTransport(transport, self._client)))
