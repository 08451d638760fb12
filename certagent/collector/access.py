"""What every request passes before its handler: errors as documents (RFC 9457), the Host header, credentials, roles."""

import asyncio
import hashlib
import hmac
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from certagent.collector.credentials import (
    ValidTokens,
    certificate_digest_of,
    digest_of,
    find_caller,
    fingerprint_digest_of,
    read_tokens,
    session_digest_of,
)
from certagent.collector.host_names import HostNames, host_of
from certagent.collector.records import Author, Caller, StoreFailed, TokenRole
from certagent.collector.store import Store
from certagent.domain.ports import Clock

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

AGENTS = frozenset({TokenRole.AGENT, TokenRole.AUTHORITY})
READERS = frozenset({TokenRole.OPERATOR, TokenRole.VIEWER})
"""Who may read the whole fleet."""

_REMEMBER_SECONDS = 1.0
_MOST_REMEMBERED = 20_000
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class Credential(msgspec.Struct, frozen=True):
    """What a request is recognised by. `secret` binds forms to it; `by_browser`: a browser sends it by itself;
    `expires_at`: a certificate's end, however long the connection lasts that it opened."""

    digest: str
    secret: str
    by_browser: bool = False
    expires_at: datetime | None = None


caller_key: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
credential_key: web.RequestKey[Credential] = web.RequestKey("credential", Credential)
encode = msgspec.json.Encoder().encode


class HttpProblem(Exception):
    """What the caller did wrong, or what the collector cannot do now. `extra` are further members of the document."""

    def __init__(self, status: int, title: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any):
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}
        self.document = {"type": "about:blank", "title": title, "status": status, "detail": detail, **extra}

    def response(self) -> web.Response:
        """The problem as it is sent."""
        return web.Response(
            status=self.status,
            body=msgspec.json.encode(self.document),
            content_type="application/problem+json",
            headers=self.headers,
        )


class Listing(msgspec.Struct, frozen=True):
    """An answer that is one page of a list of these: `{"items": [...], "next": cursor|null}`."""

    item: type


class Route(msgspec.Struct, frozen=True):
    """One entry of the route table: what aiohttp serves, who may, and what /openapi.json describes.

    `roles`: None for everybody, even without a credential. `summary`: empty for what is not described. `body`: a type.
    `answer`: a type, a `Listing`, a media type as text; None: the connection is upgraded. `query`: JSON Schemas.
    """

    method: str
    path: str
    handler: Handler
    roles: frozenset[TokenRole] | None
    summary: str = ""
    body: Any = None
    answer: Any = None
    query: Mapping[str, Any] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Check the caller's role, then call the handler. Raises `HttpProblem` 403."""
        if self.roles is not None and request[caller_key].role not in self.roles:
            wanted = " or ".join(sorted(self.roles))
            detail = f"this needs the role {wanted}, not {request[caller_key].role}"
            raise HttpProblem(403, "Forbidden", detail)
        return await self.handler(request)


class Access:
    """Recognises callers. An answer of the store is valid for a second, so a revoked token lives that much longer."""

    def __init__(self, store: Store, clock: Clock, names: HostNames) -> None:
        self._store = store
        self._clock = clock
        self._names = names
        self._open_paths: frozenset[str] = frozenset()
        self._valid = ValidTokens()
        self._read_at = -_REMEMBER_SECONDS
        self._reading = asyncio.Lock()
        self._asked_about: tuple[Any, ...] = ()
        self._remembered: dict[str, tuple[float, Caller | None]] = {}

    def serve(self, application: web.Application, routes: Iterable[Route]) -> None:
        """Let the application serve these routes, each for its roles."""
        table = list(routes)
        add = {"GET": web.get, "POST": web.post}
        self._open_paths = frozenset(route.path for route in table if route.roles is None)
        application.add_routes([add[route.method](route.path, route.handle) for route in table])

    def forget(self, credential: Credential) -> None:
        """Ask the store again: the session has been ended."""
        self._remembered.pop(credential.digest, None)

    async def still_holds(self, credential: Credential, caller: Caller) -> bool:
        """Whether that is still the caller's."""
        return not self._is_over(credential) and await self._recognise(credential.digest) == caller

    async def has_changed(self) -> bool:
        """Whether a token was added or revoked since this was asked last."""
        if self._clock.monotonic() - self._read_at >= _REMEMBER_SECONDS:
            await self._read()
        before, self._asked_about = self._asked_about, self._valid.revision
        return before != self._asked_about

    def seconds_left(self, credential: Credential) -> float | None:
        """Until it ends by itself; None: it does not."""
        if credential.expires_at is None:
            return None
        return max(0.0, (credential.expires_at - self._clock.now()).total_seconds())

    def _is_over(self, credential: Credential) -> bool:
        return self.seconds_left(credential) == 0.0

    def middleware(self) -> Middleware:
        """Checks Host and credential, and that no other site uses what a browser sends by itself."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._check_host(request)
            _check_text(request)
            resource = request.match_info.route.resource
            path = resource.canonical if resource is not None else request.path
            if path not in self._open_paths:
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
        raise _unauthorized(request)

    async def _recognise(self, digest: str) -> Caller | None:
        """Whose that is. All tokens are read at once: thousands of agents come in the same second."""
        if self._clock.monotonic() - self._read_at >= _REMEMBER_SECONDS:
            await self._read()
        return self._valid.callers.get(digest) or await self._look_up(digest)

    async def _read(self) -> None:
        async with self._reading:
            now = self._clock.monotonic()
            if now - self._read_at >= _REMEMBER_SECONDS:
                self._valid = await self._store.read(read_tokens, self._valid)
                self._read_at = now

    async def _look_up(self, digest: str) -> Caller | None:
        """A token that is newer than the last reading, or a session; either answer is remembered."""
        now = self._clock.monotonic()
        known = self._remembered.get(digest)
        if known is not None and now - known[0] < _REMEMBER_SECONDS:
            return known[1]
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        caller = await self._store.read(find_caller, digest, self._clock.now())
        self._remembered[digest] = (now, caller)
        return caller

    def _check_host(self, request: web.Request) -> None:
        """RFC 9110 section 7.4: a request for another host's name is misdirected (DNS rebinding, for one)."""
        said = host_of(request)
        transport = request.transport
        address = transport.get_extra_info("sockname") if transport is not None else None  # None: it is gone already
        reached = address[0] if address else None
        if said is None or self._names.include(said, reached):
            return  # without a host it is HTTP/1.0, which no browser speaks
        raise HttpProblem(421, "Misdirected Request", f"this collector does not serve the host {_shown(said)!r}")


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into its document; aiohttp's errors, too."""
    try:
        return await handler(request)
    except HttpProblem as problem:
        return problem.response()
    except StoreFailed as error:
        log.error("%s %s: %s", request.method, request.path, error)
        retry = {"Retry-After": "5"}
        return HttpProblem(503, "Service Unavailable", "the store is unavailable", headers=retry).response()
    except web.HTTPException as error:
        if error.status < 400:
            raise
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return HttpProblem(error.status, error.reason, error.text or error.reason, headers=allowed).response()
    except web.RequestPayloadError as error:
        return HttpProblem(400, "Bad Request", f"the body cannot be read: {error}").response()
    except (ConnectionError, TimeoutError):
        raise  # the client is gone
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return HttpProblem(500, "Internal Server Error", "internal error; see the collector's log").response()


def json_response(value: object, headers: Mapping[str, str] | None = None) -> web.Response:
    """The value as a JSON document."""
    return web.Response(body=encode(value), content_type="application/json", headers=headers)


def caller_of(request: web.Request) -> Caller:
    """The caller, who has one of the route's roles."""
    return request[caller_key]


def author_of(request: web.Request) -> Author:
    """The caller, as the audit names who did something."""
    return Author(caller_of(request).name, request.remote or "")


def session_cookie(request: web.Request) -> str:
    """The cookie's name: over TLS one that no other host can set (RFC 6265bis, `__Host-`)."""
    return "__Host-certagent" if request.secure else "certagent"


def form_token_of(request: web.Request) -> str:
    """What a form of the dashboard must send back: another site can neither read nor guess it."""
    return hmac.new(request[credential_key].secret.encode(errors="surrogatepass"), b"form", "sha256").hexdigest()


def check_form_token(request: web.Request, sent: object) -> None:
    """Raises `HttpProblem` 403 unless the form is one of the dashboard's."""
    wanted = form_token_of(request).encode()
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(errors="surrogatepass"), wanted):
        raise HttpProblem(403, "Forbidden", "this form is outdated, or from another site: reload the page")


def check_same_origin(request: web.Request) -> None:
    """Raises `HttpProblem` 403 unless the browser says that the request comes from the collector's own page."""
    site, origin, host = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin"), host_of(request)
    is_ours = host is not None and origin in (f"https://{host}", f"http://{host}")
    if site == "same-origin" or (site is None and is_ours):
        return
    raise HttpProblem(403, "Forbidden", "a change with a browser's credentials must come from the collector's own page")


def _credentials_of(request: web.Request) -> list[Credential]:
    """A token, else a session, else the client certificate that the TLS layer verified."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme:
        return [Credential(digest_of(value.strip()), value.strip())] if scheme.lower() == "bearer" else []
    session = request.cookies.get(session_cookie(request))
    if session:
        return [Credential(session_digest_of(session), session, by_browser=True)]
    return _verified_identifiers(request)


def _verified_identifiers(request: web.Request) -> list[Credential]:
    """Each DNS name of the client's certificate, with its fingerprint and alone; the handshake has verified it by
    `server.client_root`.

    A browser shows it to the collector whichever site makes it ask.
    """
    certificate = request.get_extra_info("peercert")
    if not certificate:
        return []
    names = sorted(name.lower() for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS")
    shown = request.get_extra_info("ssl_object").getpeercert(binary_form=True)
    fingerprint = hashlib.sha256(shown).hexdigest()
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
    by_browser = "Origin" in request.headers or "Sec-Fetch-Site" in request.headers
    return [
        Credential(digest, f"{name} {certificate.get('serialNumber')}", by_browser, ends)
        for name in names
        for identity in (certificate_digest_of(name),)
        for digest in (fingerprint_digest_of(identity, fingerprint), identity)
    ]


def _unauthorized(request: web.Request) -> Exception:
    """A page redirects to the login; everything else gets a problem."""
    is_page = not request.path.startswith("/v1/") and "text/html" in request.headers.get("Accept", "")
    if is_page and request.method == "GET":
        return web.HTTPSeeOther(f"/login?next={quote(request.rel_url.raw_path_qs, safe='')}")
    challenge = {"WWW-Authenticate": 'Bearer realm="certagent"'}
    return HttpProblem(401, "Unauthorized", "a valid token is needed: Authorization: Bearer ...", headers=challenge)


def _check_text(request: web.Request) -> None:
    """Raises `HttpProblem` 400 for what no path or query of ours has, and no database takes."""
    if "\0" in request.path or "\0" in unquote(request.query_string):
        raise HttpProblem(400, "Bad Request", "the address contains a NUL character")


def _shown(text: str) -> str:
    return text[:80].encode("ascii", "replace").decode()
