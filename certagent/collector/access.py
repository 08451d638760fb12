"""Who may: tokens, roles, and the Host header. Decides for every request before its handler sees it."""

import asyncio
import base64
import binascii
import ipaddress
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from certagent.collector.problems import Handler, Problem
from certagent.collector.store import Caller, Store, TokenRole
from certagent.collector.tokens import digest_of
from certagent.domain.ports import Clock

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
AGENTS = frozenset({TokenRole.AGENT, TokenRole.AUTHORITY})

_REMEMBER_SECONDS = 1.0
_MOST_REMEMBERED = 20_000

caller_key: web.RequestKey[Caller] = web.RequestKey("caller", Caller)


class Access:
    """Recognises tokens. What the store said is believed for a second, so a revoked token lives that much longer."""

    def __init__(self, store: Store, clock: Clock, names: frozenset[str]) -> None:
        self._store = store
        self._clock = clock
        self._configured = names
        self._served: Callable[[], frozenset[str]] = frozenset
        self._valid: Mapping[str, Caller] = {}
        self._read_at = -_REMEMBER_SECONDS
        self._reading = asyncio.Lock()
        self._remembered: dict[str, tuple[float, Caller | None]] = {}

    def answer_for(self, names: Callable[[], frozenset[str]]) -> None:
        """Also answer for these names (those of the certificate that is served now)."""
        self._served = names

    async def recognise(self, secret: str) -> Caller | None:
        """Whose valid token that is. All of them are read at once: thousands of agents come in the same second."""
        digest = digest_of(secret)
        if self._clock.monotonic() - self._read_at >= _REMEMBER_SECONDS:
            await self._read()
        return self._valid.get(digest) or await self._look_up(digest)

    async def _read(self) -> None:
        async with self._reading:
            now = self._clock.monotonic()
            if now - self._read_at >= _REMEMBER_SECONDS:
                self._valid = await self._store.callers()
                self._read_at = now

    async def _look_up(self, digest: str) -> Caller | None:
        """One that was not there a moment ago; what the store says is remembered, whoever comes again and again."""
        now = self._clock.monotonic()
        known = self._remembered.get(digest)
        if known is not None and now - known[0] < _REMEMBER_SECONDS:
            return known[1]
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        caller = await self._store.caller(digest)
        self._remembered[digest] = (now, caller)
        return caller

    async def still_holds(self, secret: str | None, caller: Caller) -> bool:
        """Whether the token is still that caller's."""
        return secret is not None and await self.recognise(secret) == caller

    def middleware(self) -> Middleware:
        """Checks Host, token, and that a browser's own credentials are not used by another site."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._check_host(request)
            if request.path not in OPEN_PATHS:
                secret, by_browser = secret_of(request)
                caller = await self.recognise(secret) if secret else None
                if caller is None:
                    raise _who_are_you()
                if by_browser and request.method not in {"GET", "HEAD"}:
                    _check_same_origin(request)
                request[caller_key] = caller
            return await handler(request)

        return check

    def _check_host(self, request: web.Request) -> None:
        """RFC 9110 section 7.4: a request for a name that is not ours is misdirected (DNS rebinding, for one)."""
        host = (urlsplit(f"//{request.host}").hostname or "").rstrip(".")
        if host in self._configured | self._served() or host == "localhost":
            return
        transport = request.transport
        reached = transport.get_extra_info("sockname")[0] if transport is not None else None
        if host == reached or _is_loopback(host):
            return
        raise Problem(421, "Misdirected Request", f"this collector does not answer for {host!r}")


def secret_of(request: web.Request) -> tuple[str | None, bool]:
    """(token, whether it came as a password that a browser keeps)."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip(), False
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2], True
        except (binascii.Error, UnicodeDecodeError):
            return None, True
    return None, False


def caller_of(request: web.Request, *roles: TokenRole) -> Caller:
    """The caller, who must have one of these roles. Raises `Problem` 403."""
    caller = request[caller_key]
    if caller.role not in roles:
        wanted = " or ".join(roles)
        raise Problem(403, "Forbidden", f"this needs a token of the role {wanted}, not {caller.role}")
    return caller


def _who_are_you() -> Problem:
    challenge = 'Basic realm="certagent: any name, an operator token as password", charset="UTF-8"'
    return Problem(
        401,
        "Unauthorized",
        "a valid token is needed: Authorization: Bearer ...",
        headers={"WWW-Authenticate": challenge},
    )


def _check_same_origin(request: web.Request) -> None:
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site == "same-origin" or (site is None and origin is not None and urlsplit(origin).netloc == request.host):
        return
    raise Problem(403, "Forbidden", "a change with a browser's credentials must come from the collector's own page")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
