"""The entrance: people log in by name and password, and out again. A session is a secret that only the browser has."""

import asyncio
import logging
import math
import secrets
from datetime import timedelta

from aiohttp import web

from certagent.collector.access import (
    READERS,
    Access,
    caller_of,
    check_form_token,
    check_same_origin,
    credential_key,
    session_cookie,
)
from certagent.collector.dashboard.rendering import Renderer
from certagent.collector.problems import HttpProblem
from certagent.collector.store import Store
from certagent.collector.tokens import session_digest_of
from certagent.collector.users import is_password
from certagent.domain.ports import Clock
from certagent.domain.rate_limiter import RateLimiter

log = logging.getLogger(__name__)

SESSION_FOR = timedelta(hours=12)
_TRIES, _TRY_EVERY = 5, timedelta(seconds=12)  # of one name from one address
_ADDRESS_TRIES, _ADDRESS_TRY_EVERY = 30, timedelta(seconds=2)
_HASHING_AT_ONCE = 2  # each takes 32 MiB
_LARGEST_FORM = 8_192


class Login:
    """The handlers of /login and /logout."""

    def __init__(self, store: Store, access: Access, renderer: Renderer, clock: Clock) -> None:
        self._store = store
        self._access = access
        self._renderer = renderer
        self._clock = clock
        self._by_name = RateLimiter(clock, burst=_TRIES, every=_TRY_EVERY)
        self._by_address = RateLimiter(clock, burst=_ADDRESS_TRIES, every=_ADDRESS_TRY_EVERY)
        self._hashing = asyncio.Semaphore(_HASHING_AT_ONCE)

    def routes(self) -> list[web.RouteDef]:
        """Path and handler."""
        return [
            web.get("/login", self.show_login),
            web.post("/login", self.log_in),
            web.post("/logout", self.log_out),
        ]

    async def show_login(self, request: web.Request) -> web.Response:
        """The form."""
        return self._form(_place(request.query.get("next")))

    async def log_in(self, request: web.Request) -> web.Response:
        """A session for whoever has the password; says of nobody whether the name or the password was wrong."""
        check_same_origin(request)
        if (request.content_length or 0) > _LARGEST_FORM:
            raise HttpProblem(413, "Content Too Large", "that is no login")
        form = await request.post()
        name, password = str(form.get("name", "")), str(form.get("password", ""))
        place = _place(str(form.get("next", "/")))
        wait = self._wait(name, request.remote or "")
        if wait > 0:
            headers = {"Retry-After": str(math.ceil(wait))}
            return self._form(place, f"Too many tries. Wait {math.ceil(wait)} s.", status=429, headers=headers)
        person = await self._store.person(name)
        async with self._hashing:
            is_right = await asyncio.to_thread(is_password, password, person.password if person is not None else None)
        if person is None or not is_right:
            log.warning("a login from %s failed", request.remote)
            return self._form(place, "That is not a name and its password.", status=403)
        secret = secrets.token_urlsafe(32)
        await self._store.open_session(person.name, session_digest_of(secret), self._clock.now() + SESSION_FOR)
        log.info("%s logged in", person.name)
        return _enter(request, secret, place)

    async def log_out(self, request: web.Request) -> web.Response:
        """The session is gone, here and in the browser."""
        caller_of(request, *READERS)
        check_form_token(request, (await request.post()).get("token"))
        credential = request[credential_key]
        await self._store.end_session(credential.digest)
        self._access.forget(credential)
        answer = web.HTTPSeeOther("/login")
        answer.del_cookie(session_cookie(request), path="/", secure=request.secure, httponly=True, samesite="Strict")
        raise answer

    def _wait(self, name: str, address: str) -> float:
        return max(self._by_address.take(address), self._by_name.take(f"{name[:128]} {address}"))

    def _form(
        self, place: str, complaint: str = "", *, status: int = 200, headers: dict[str, str] | None = None
    ) -> web.Response:
        answer = self._renderer.page("login.html", status=status, place=place, complaint=complaint)
        answer.headers.update(headers or {})
        return answer


def _enter(request: web.Request, secret: str, place: str) -> web.Response:
    answer = web.Response(status=303, headers={"Location": place, "Cache-Control": "no-store"})
    answer.set_cookie(
        session_cookie(request),
        secret,
        path="/",
        max_age=int(SESSION_FOR.total_seconds()),
        secure=request.secure,
        httponly=True,
        samesite="Strict",
    )
    return answer


def _place(wanted: str | None) -> str:
    """A place of this page, never of another site."""
    is_ours = wanted is not None and wanted.startswith("/") and wanted[1:2] not in ("/", "\\") and wanted.isprintable()
    return wanted if wanted is not None and is_ours else "/"
