"""Connections that come by a load balancer, which says whose they are: PROXY protocol, version 2, before any TLS.

Only the named balancers are believed, and each of their connections has to begin with a header. Of anybody else's
connections nothing is expected; one that begins with a header all the same is no TLS, and ends there.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from struct import error as StructError  # noqa: N812 an exception
from typing import Any, cast

from proxyprotocol import ProxyProtocolChecksumError, ProxyProtocolIncompleteError
from proxyprotocol.result import ProxyResult, is_ipv4, is_ipv6
from proxyprotocol.v2 import ProxyProtocolV2

from certagent.collector.broken_requests import GONE, NO_HEADER, BrokenRequests
from certagent.collector.listener import Peer

HEADER_SECONDS = 5.0
_LONGEST_HEADER = 4_096  # bytes
_PEER = "peername"


class HeaderMissing(Exception):
    """The connection does not begin as a balancer's has to."""


class Balancers:
    """Those that are believed, by the addresses that they connect from."""

    def __init__(self, addresses: Iterable[str], broken: BrokenRequests) -> None:
        self._addresses = frozenset(map(_plain_address, addresses))
        self._broken = broken

    async def introduce(
        self, connection: socket.socket, peer: Peer, protocol: asyncio.Protocol
    ) -> asyncio.Protocol | None:
        """The protocol, told whose the connection is by the header; None where a balancer sends none."""
        if _plain_address(peer[0]) not in self._addresses:
            return protocol
        try:
            async with asyncio.timeout(HEADER_SECONDS):
                client = await read_client(connection)
        except (HeaderMissing, TimeoutError):
            self._broken.note(NO_HEADER)
        except OSError:
            self._broken.note(GONE)
        else:
            return protocol if client is None else _ClientsProtocol(protocol, client)
        return None


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
