"""The login: users log in by name and password, and out again. A session is a secret that only the browser has."""

import asyncio
import logging
import math
import secrets
from datetime import timedelta

from aiohttp import web

from certagent.collector.access import (
    READERS,
    Access,
    Route,
    author_of,
    check_form_token,
    check_same_origin,
    credential_key,
    session_cookie,
)
from certagent.collector.bodies import Bodies
from certagent.collector.credentials import end_session, find_user, is_password, open_session, session_digest_of
from certagent.collector.dashboard.rendering import Renderer
from certagent.collector.records import Author
from certagent.collector.shared_limiter import SharedLimiter
from certagent.collector.sql.audit_queries import append_failed_login
from certagent.collector.sql.ready_connection import ReadyConnection
from certagent.collector.store import Store
from certagent.domain.ports import Clock
from certagent.domain.rate_limiter import network_of

log = logging.getLogger(__name__)

_SESSION_FOR = timedelta(hours=12)
_TRIES, _TRY_EVERY = 5, timedelta(seconds=12)  # of one name from one address
_ADDRESS_TRIES, _ADDRESS_TRY_EVERY = 30, timedelta(seconds=2)
_HASHING_AT_ONCE = 2  # each takes 32 MiB


class Login:
    """The handlers of /login and /logout. `line`: None where one collector is alone."""

    def __init__(
        self,
        store: Store,
        access: Access,
        bodies: Bodies,
        renderer: Renderer,
        clock: Clock,
        line: ReadyConnection | None,
    ) -> None:
        self._store = store
        self._access = access
        self._bodies = bodies
        self._renderer = renderer
        self._clock = clock
        self._by_name = SharedLimiter(line, clock, "login of", burst=_TRIES, every=_TRY_EVERY)
        self._by_address = SharedLimiter(line, clock, "login from", burst=_ADDRESS_TRIES, every=_ADDRESS_TRY_EVERY)
        self._hashing = asyncio.Semaphore(_HASHING_AT_ONCE)

    def routes(self) -> tuple[Route, ...]:
        """The login is open to everybody."""
        return (
            Route("GET", "/login", self.show_login, None),
            Route("POST", "/login", self.log_in, None),
            Route("POST", "/logout", self.log_out, READERS),
        )

    async def show_login(self, request: web.Request) -> web.Response:
        """The form."""
        return self._form(_local_path(request.query.get("next")))

    async def log_in(self, request: web.Request) -> web.Response:
        """A session for whoever has the password; does not tell whether the name or the password was wrong."""
        check_same_origin(request)
        address = request.remote or ""
        if (wait := await self._by_address.take(network := network_of(address))) > 0:  # before anything is read
            return self._too_many_tries("/", wait)
        form = await self._bodies.form_of(request)
        name, password, target = form.get("name", ""), form.get("password", ""), _local_path(form.get("next", "/"))
        if (wait := await self._by_name.take(f"{name[:128]} {network}")) > 0:
            return self._too_many_tries(target, wait)
        user = await self._store.read(find_user, name)
        async with self._hashing:
            is_right = await asyncio.to_thread(is_password, password, user.password if user is not None else None)
        if user is None or not is_right:
            if await self._store.write(append_failed_login, user.name if user is not None else None, address):
                log.warning("a login from %s failed; the audit log counts further ones", address)
            return self._form(target, "Wrong name or password.", status=403)
        secret, expires_at = secrets.token_urlsafe(32), self._clock.now() + _SESSION_FOR
        await self._store.write(open_session, Author(user.name, address), session_digest_of(secret), expires_at)
        log.info("%s logged in", user.name)
        return _logged_in(request, secret, target)

    async def log_out(self, request: web.Request) -> web.Response:
        """End the session, here and in the browser."""
        check_form_token(request, (await self._bodies.form_of(request)).get("token"))
        credential = request[credential_key]
        await self._store.write(end_session, author_of(request), credential.digest)
        self._access.forget(credential)
        answer = web.HTTPSeeOther("/login")
        answer.del_cookie(session_cookie(request), path="/", secure=request.secure, httponly=True, samesite="Strict")
        raise answer

    def _too_many_tries(self, target: str, wait: float) -> web.Response:
        seconds = math.ceil(wait)
        headers = {"Retry-After": str(seconds)}
        return self._form(target, f"Too many attempts. Wait {seconds} s.", status=429, headers=headers)

    def _form(
        self, target: str, complaint: str = "", *, status: int = 200, headers: dict[str, str] | None = None
    ) -> web.Response:
        answer = self._renderer.page("login.html", status=status, target=target, complaint=complaint)
        answer.headers.update(headers or {})
        return answer


def _logged_in(request: web.Request, secret: str, target: str) -> web.Response:
    answer = web.Response(status=303, headers={"Location": target, "Cache-Control": "no-store"})
    answer.set_cookie(
        session_cookie(request),
        secret,
        path="/",
        max_age=int(_SESSION_FOR.total_seconds()),
        secure=request.secure,
        httponly=True,
        samesite="Strict",
    )
    return answer


def _local_path(wanted: str | None) -> str:
    """The path if it is one of this site's, else the overview's."""
    if wanted is not None and wanted.startswith("/") and wanted[1:2] not in ("/", "\\") and wanted.isprintable():
        return wanted
    return "/"
