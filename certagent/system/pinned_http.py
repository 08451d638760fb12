"""HTTPS to one known server: its root is pinned, and configured addresses take over, in turn, when its name leads
nowhere."""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from certagent.domain.probe_errors import PROBE_PHRASES
from certagent.domain.server_address import split_address
from certagent.system.libc import addresses_of
from certagent.system.tls import RootFiles, distrust_kind, error_kind, trust_only

CONNECT_SECONDS = 5.0
VERSION_HEADER = "Certagent-Version"
LARGEST_ANSWER = 8 * 1024 * 1024

_KEPT_SECONDS = 0.5  # less than a collector keeps a connection (1 s): no request meets its end
_NOTHING_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ServerFingerprintMismatch)
_LAST_FOR_SECONDS = 60.0

_Answer = TypeVar("_Answer")


def failure_words(error: Exception) -> str:
    """Why no answer came, as a clause about the server: `nothing listens there`."""
    match error:
        case TimeoutError():
            return PROBE_PHRASES["timeout"]
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as reason):
            return PROBE_PHRASES[distrust_kind(reason)]
        case aiohttp.ClientConnectorError(os_error=reason):
            return PROBE_PHRASES[error_kind(reason)]
        case aiohttp.ClientResponseError(status=status):
            return f"it answered {status}"
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection without an answer"
        case OSError():
            return PROBE_PHRASES[error_kind(error)]
    return str(error) or type(error).__name__


class PinnedClient:
    """An aiohttp client for one base URL. Use as an async context manager.

    Requests go by name first; when no connection comes about that way (no such name, refused, the wrong box's
    certificate), they go to the configured addresses, one after the other, under the same name for SNI, Host and trust;
    an address without a port has the URL's. Where nothing answered in time comes last for a minute.

    `pair` (certificate, key) is shown to the server as it is on disk when a connection begins; while there is none,
    none is shown.
    `context`: another than the one that trusts the root, for whoever has a certificate to present once; or the
    fingerprint of the one certificate that is trusted, which is compared before anything is sent.
    `ahead_seconds`: how far the server's clock is ahead of this node's, by its latest answer (to the second, and as far
    off as that answer took). `server_version`: what the server last said of itself, if it says anything.
    """

    def __init__(
        self,
        url: str,
        root: RootFiles,
        addresses: tuple[str, ...],
        headers: dict[str, str],
        pair: tuple[Path, Path] | None = None,
        context: ssl.SSLContext | aiohttp.Fingerprint | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._pair = pair
        self._loaded: tuple[int, ...] = ()
        self._context = context or trust_only(root)
        self._addresses = addresses
        self._headers = headers
        self.ahead_seconds: float | None = None
        self.server_version: str | None = None
        self._routes: list[_Route] = []

    async def __aenter__(self) -> "PinnedClient":
        resolvers = (_LibcResolver(), *(_FixedResolver(*split_address(address)) for address in self._addresses))
        self._routes = [_Route(self._session(resolver)) for resolver in resolvers]
        return self

    async def __aexit__(self, *_: object) -> None:
        for route in self._routes:
            await route.session.close()

    async def request(self, method: str, path: str, *, timeout: float, **options: Any) -> tuple[int, bytes]:
        """(status, body). Raises `aiohttp.ClientError` or `TimeoutError` when no answer came."""

        async def send(session: aiohttp.ClientSession) -> tuple[int, bytes]:
            async with asyncio.timeout(timeout), session.request(method, self.url + path, **options) as response:
                self._compare_clocks(response.headers.get("Date", ""))
                self.server_version = response.headers.get(VERSION_HEADER, self.server_version)
                return response.status, await _read(response)

        return await self._try_in_turn(send)

    async def get(self, path: str, *, timeout: float) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, body). Raises likewise."""

        async def fetch(session: aiohttp.ClientSession) -> tuple[int, Mapping[str, str], bytes]:
            async with asyncio.timeout(timeout), session.get(self.url + path) as response:
                return response.status, response.headers, await response.read()

        return await self._try_in_turn(fetch)

    async def open_channel(self, path: str, *, heartbeat: float) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket. Raises `aiohttp.ClientError` or `TimeoutError`."""

        async def connect(session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
            async with asyncio.timeout(2 * CONNECT_SECONDS):
                return await session.ws_connect(self.url + path, heartbeat=heartbeat)

        return await self._try_in_turn(connect)

    async def _try_in_turn(self, ask: Callable[[aiohttp.ClientSession], Awaitable[_Answer]]) -> _Answer:
        """The first answer. What may have been sent already is not sent to another: the caller decides that."""
        self._load_pair()
        now = time.monotonic()
        failure: aiohttp.ClientError | None = None
        for route in sorted(self._routes, key=lambda route: route.comes_last_since(now)):
            try:
                return await ask(route.session)
            except _NOTHING_SENT as error:
                failure = error
                if isinstance(error, TimeoutError):
                    route.timed_out_at = time.monotonic()
            except TimeoutError:
                route.timed_out_at = time.monotonic()
                raise
        raise failure or RuntimeError("this client is not open")

    def _compare_clocks(self, date: str) -> None:
        with suppress(ValueError):
            self.ahead_seconds = (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()

    def _load_pair(self) -> None:
        """Connections from now on show the pair that is there now; a half-replaced one waits for the next time."""
        if self._pair is None or isinstance(self._context, aiohttp.Fingerprint):
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


class _Route:
    """A way to the server, with connections of its own. `timed_out_at`: when nothing answered in time by it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.timed_out_at: float | None = None

    def comes_last_since(self, now: float) -> float:
        """0.0 for one that is tried in its turn; of the others, who timed out first comes first."""
        timed_out_at = self.timed_out_at
        return timed_out_at if timed_out_at is not None and now - timed_out_at < _LAST_FOR_SECONDS else 0.0


class _LibcResolver(AbstractResolver):
    """As libc resolves names, without the event loop's own threads."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await addresses_of(host)
        kinds = {address: socket.AF_INET6 if ":" in address else socket.AF_INET for address in found}
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for address, kind in kinds.items()
            if family in (socket.AF_UNSPEC, kind)
        ]

    async def close(self) -> None:
        """Nothing is held."""


class _FixedResolver(AbstractResolver):
    """Answers every name with one configured address, and with its port, where it has one."""

    def __init__(self, address: str, port: int | None) -> None:
        self._address = address
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=self._address,
                port=self._port or port,
                family=socket.AF_INET6 if ":" in self._address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing is held."""
