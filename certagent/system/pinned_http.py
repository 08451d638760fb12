"""HTTPS to one known server: its root is pinned, and configured addresses take over when its name leads nowhere."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from certagent.system.tls import trust_only

CONNECT_SECONDS = 5.0
LARGEST_ANSWER = 8 * 1024 * 1024

_KEPT_SECONDS = 0.5  # less than a collector keeps a connection (1 s): no request meets its end


class PinnedClient:
    """An aiohttp client for one base URL. Use as an async context manager.

    Requests go by name first; when no connection comes about that way (no such name, refused, the wrong box's
    certificate), they go to the configured addresses under the same name for SNI, Host and trust. `pair` (certificate,
    key) is shown to the server as it is on disk when a connection begins; while there is none, none is shown.
    `context`: another than the one that trusts the root, for whoever has a certificate to present once.
    `ahead_seconds`: how far the server's clock is ahead of this node's, by its latest answer (to the second, and as far
    off as that answer took).
    """

    def __init__(
        self,
        url: str,
        root: Path,
        addresses: tuple[str, ...],
        headers: dict[str, str],
        pair: tuple[Path, Path] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._pair = pair
        self._loaded: tuple[int, ...] = ()
        self._context = context or trust_only(root)
        self._addresses = addresses
        self._headers = headers
        self.ahead_seconds: float | None = None
        self._by_name: aiohttp.ClientSession | None = None
        self._by_address: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "PinnedClient":
        self._by_name = self._session(ThreadedResolver())
        if self._addresses:
            self._by_address = self._session(_FixedResolver(self._addresses))
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in (self._by_name, self._by_address):
            if session is not None:
                await session.close()

    async def request(self, method: str, path: str, *, timeout: float, **options: Any) -> tuple[int, bytes]:
        """(status, body). Raises `aiohttp.ClientError` or `TimeoutError` when no answer came."""
        for session in self._sessions():
            try:
                async with (
                    asyncio.timeout(timeout),
                    session.request(method, self.url + path, **options) as response,
                ):
                    self._compare_clocks(response.headers.get("Date", ""))
                    return response.status, await _read(response)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                failure = error
        raise failure

    async def get(self, path: str, *, timeout: float) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, body). Raises likewise."""
        for session in self._sessions():
            try:
                async with asyncio.timeout(timeout), session.get(self.url + path) as response:
                    return response.status, response.headers, await response.read()
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                failure = error
        raise failure

    async def open_channel(self, path: str, *, heartbeat: float) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket. Raises `aiohttp.ClientError` or `TimeoutError`."""
        for session in self._sessions():
            try:
                async with asyncio.timeout(2 * CONNECT_SECONDS):
                    return await session.ws_connect(self.url + path, heartbeat=heartbeat)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                failure = error
        raise failure

    def _compare_clocks(self, date: str) -> None:
        with suppress(ValueError):
            self.ahead_seconds = (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()

    def _sessions(self) -> list[aiohttp.ClientSession]:
        self._load_pair()
        return [session for session in (self._by_name, self._by_address) if session is not None]

    def _load_pair(self) -> None:
        """Connections from now on show the pair that is there now; a half-replaced one waits for the next time."""
        if self._pair is None:
            return
        with suppress(OSError, ssl.SSLError):
            stamp = tuple(path.stat().st_mtime_ns for path in self._pair)
            if stamp != self._loaded:
                self._context.load_cert_chain(*self._pair, password="")  # never ask on a terminal
                self._loaded = stamp

    def _session(self, resolver: AbstractResolver) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self._context, resolver=resolver, ttl_dns_cache=10, limit=8, keepalive_timeout=_KEPT_SECONDS
            ),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS),
            headers=self._headers,
        )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_chunked(64 * 1024):
        body += piece
        if len(body) > LARGEST_ANSWER:
            raise aiohttp.ClientPayloadError(f"the answer is longer than {LARGEST_ANSWER} bytes")
    return bytes(body)


class _FixedResolver(AbstractResolver):
    """Answers every name with the configured addresses."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""
