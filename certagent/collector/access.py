"""Who may: tokens, certificates, sessions, roles, and the Host header. Decides for every request before its handler."""

import asyncio
import hmac
import ipaddress
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from certagent.collector.problems import Handler, HttpProblem
from certagent.collector.store import Caller, Store, TokenRole
from certagent.collector.tokens import certificate_digest_of, digest_of, session_digest_of
from certagent.domain.ports import Clock

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/login"})
AGENTS = frozenset({TokenRole.AGENT, TokenRole.AUTHORITY})
READERS = frozenset({TokenRole.OPERATOR, TokenRole.VIEWER})
"""Who may read the whole fleet."""

_ASSETS = "/assets/"  # style and script, the same for everybody
_REMEMBER_SECONDS = 1.0
_MOST_REMEMBERED = 20_000
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class Credential(msgspec.Struct, frozen=True):
    """What a request is recognised by. `secret` binds forms to it; `by_browser`: sent without anybody's doing;
    `expires_at`: a certificate's end, however long the connection lasts that it opened."""

    digest: str
    secret: str
    by_browser: bool = False
    expires_at: datetime | None = None


caller_key: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
credential_key: web.RequestKey[Credential] = web.RequestKey("credential", Credential)


class Access:
    """Recognises callers. What the store said is believed for a second, so a revoked token lives that much longer."""

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

    def forget(self, credential: Credential) -> None:
        """Ask the store again: it has been ended."""
        self._remembered.pop(credential.digest, None)

    async def still_holds(self, credential: Credential, caller: Caller) -> bool:
        """Whether that is still the caller's."""
        return not self._is_over(credential) and await self._recognise(credential.digest) == caller

    def seconds_left(self, credential: Credential) -> float | None:
        """Until it ends by itself; None: it does not."""
        if credential.expires_at is None:
            return None
        return max(0.0, (credential.expires_at - self._clock.now()).total_seconds())

    def _is_over(self, credential: Credential) -> bool:
        return self.seconds_left(credential) == 0.0

    def middleware(self) -> Middleware:
        """Checks Host and credential, and that what a browser sends by itself is not used by another site."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._check_host(request)
            if request.path not in OPEN_PATHS and not request.path.startswith(_ASSETS):
                await self._admit(request)
            return await handler(request)

        return check

    async def _admit(self, request: web.Request) -> None:
        for credential in _credentials_of(request):
            caller = await self._recognise(credential.digest)
            if caller is not None and not self._is_over(credential):
                if credential.by_browser and request.method not in _SAFE_METHODS:
                    check_same_origin(request)
                request[caller_key], request[credential_key] = caller, credential
                return
        raise _who_are_you(request)

    async def _recognise(self, digest: str) -> Caller | None:
        """Whose that is. All tokens are read at once: thousands of agents come in the same second."""
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
        """One that was not there a moment ago, or a session; the answer is remembered, whoever comes again."""
        now = self._clock.monotonic()
        known = self._remembered.get(digest)
        if known is not None and now - known[0] < _REMEMBER_SECONDS:
            return known[1]
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        caller = await self._store.caller(digest)
        self._remembered[digest] = (now, caller)
        return caller

    def _check_host(self, request: web.Request) -> None:
        """RFC 9110 section 7.4: a request for a name that is not ours is misdirected (DNS rebinding, for one)."""
        host = (urlsplit(f"//{request.host}").hostname or "").rstrip(".")
        if host in self._configured | self._served() or host == "localhost":
            return
        transport = request.transport
        reached = transport.get_extra_info("sockname")[0] if transport is not None else None
        if host == reached or _is_loopback(host):
            return
        raise HttpProblem(421, "Misdirected Request", f"this collector does not answer for {host!r}")


def caller_of(request: web.Request, *roles: TokenRole) -> Caller:
    """The caller, who must have one of these roles. Raises `HttpProblem` 403."""
    caller = request[caller_key]
    if caller.role not in roles:
        wanted = " or ".join(sorted(roles))
        raise HttpProblem(403, "Forbidden", f"this needs the role {wanted}, not {caller.role}")
    return caller


def session_cookie(request: web.Request) -> str:
    """The cookie's name: over TLS one that no other host can set (RFC 6265bis, `__Host-`)."""
    return "__Host-certagent" if request.secure else "certagent"


def form_token_of(request: web.Request) -> str:
    """What a form of ours must send back: another site can neither read nor guess it."""
    return hmac.new(request[credential_key].secret.encode(), b"form", "sha256").hexdigest()


def check_form_token(request: web.Request, sent: object) -> None:
    """Raises `HttpProblem` 403 unless the form is one of ours."""
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), form_token_of(request).encode()):
        raise HttpProblem(403, "Forbidden", "this form is not one of this page, or is too old: load the page again")


def check_same_origin(request: web.Request) -> None:
    """Raises `HttpProblem` 403 unless the browser says that the request comes from the collector's own page."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site == "same-origin" or (site is None and origin is not None and urlsplit(origin).netloc == request.host):
        return
    raise HttpProblem(403, "Forbidden", "a change with a browser's credentials must come from the collector's own page")


def _credentials_of(request: web.Request) -> list[Credential]:
    """A token stands for itself; else a session, else each identifier of the certificate that the TLS layer proved."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme:
        return [Credential(digest_of(value.strip()), value.strip())] if scheme.lower() == "bearer" else []
    session = request.cookies.get(session_cookie(request))
    if session:
        return [Credential(session_digest_of(session), session, by_browser=True)]
    return _proven_identifiers(request)


def _proven_identifiers(request: web.Request) -> list[Credential]:
    """The DNS names of the client's certificate; the handshake has verified it by `server.client_root`.

    A browser shows it to the collector whoever's page makes it ask.
    """
    proven = request.get_extra_info("peercert")
    if not proven:
        return []
    names = sorted(name.lower() for kind, name in proven.get("subjectAltName", ()) if kind == "DNS")
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(proven["notAfter"]), UTC)
    by_browser = "Origin" in request.headers or "Sec-Fetch-Site" in request.headers
    return [
        Credential(certificate_digest_of(name), f"{name} {proven.get('serialNumber')}", by_browser, ends)
        for name in names
    ]


def _who_are_you(request: web.Request) -> Exception:
    """A page leads a person to the entrance; everything else gets a problem."""
    is_page = not request.path.startswith("/v1/") and "text/html" in request.headers.get("Accept", "")
    if is_page and request.method == "GET":
        return web.HTTPSeeOther(f"/login?next={quote(request.rel_url.raw_path_qs, safe='')}")
    challenge = {"WWW-Authenticate": 'Bearer realm="certagent"'}
    return HttpProblem(401, "Unauthorized", "a valid token is needed: Authorization: Bearer ...", headers=challenge)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
