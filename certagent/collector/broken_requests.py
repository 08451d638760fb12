"""Broken requests of strangers: what is no HTTP, handshakes that fail, callers that go. Counted, and a quiet line each
minute says how many; nothing of what they sent is kept or logged: it may hold a token."""

import logging
import ssl
from collections import Counter
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import Counter as MetricCounter

from certagent.domain.ports import Clock

log = logging.getLogger(__name__)

NOT_HTTP, NO_TLS, GONE = "not HTTP", "the TLS handshake failed", "the client disconnected"
NO_HEADER = "a balancer's connection without a PROXY protocol header"
_NOBODY = "["  # no host has that name
_TELL_EVERY = 60.0  # seconds
_GOING_ON = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class _Request(web.Request):
    """No cache keeps its answer unless that says otherwise, and no browser guesses what it is; not even where aiohttp
    answers by itself."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        await super()._prepare_hook(response)


class BrokenRequests:
    """Counts them by what is wrong; the first of a kind is told at once, the others once a minute."""

    def __init__(self, clock: Clock) -> None:
        self.metric = MetricCounter(
            "certagent_broken_requests", "Requests that could not be read, by reason.", ["reason"], registry=None
        )
        self._clock = clock
        self._told_at: dict[str, float] = {}
        self._untold: Counter[str] = Counter()

    def note(self, reason: str) -> None:
        """Count one."""
        self.metric.labels(reason).inc()
        now = self._clock.monotonic()
        if now - self._told_at.get(reason, -_TELL_EVERY) < _TELL_EVERY:
            self._untold[reason] += 1
            return
        self._told_at[reason] = now
        log.info("a broken request: %s%s", reason, self._others(reason))

    async def run(self) -> None:
        """Tell for ever how many more there were."""
        while True:
            await self._clock.sleep(_TELL_EVERY)
            self.tell()

    def tell(self) -> None:
        """Those that no line has told of yet."""
        for reason in list(self._untold):
            log.info("more broken requests: %s%s", reason, self._others(reason))

    def take_record(self, record: logging.LogRecord) -> bool:
        """A filter for the log of aiohttp's server: what strangers did wrong is counted here instead."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | ConnectionError):
            self.note(NOT_HTTP if isinstance(error, HttpProcessingError) else GONE)
            return False
        return True

    def watch_handshakes(self, context: ssl.SSLContext) -> None:
        """Count the handshakes that fail in that context."""
        note = self.note

        class WatchedObject(ssl.SSLObject):
            """A connection's TLS."""

            def do_handshake(self) -> None:
                """One step of it."""
                try:
                    super().do_handshake()
                except _GOING_ON:
                    raise
                except ssl.SSLError:
                    note(NO_TLS)
                    raise

        context.sslobject_class = WatchedObject

    def guard(self, server: web.Server) -> None:
        """Let the server answer also a request whose address cannot be read: aiohttp would leave its connection open,
        without an answer, and log a traceback. It becomes one for a host that nobody has. aiohttp's own answer to what
        is no HTTP comes past the application; it gets the headers of all others here."""
        make_request: Any = partial(server.request_factory, _cls=_Request)  # type: ignore[call-arg]

        def make(message: Any, *rest: Any) -> Any:
            try:
                return make_request(message, *rest)
            except ValueError:
                self.note(NOT_HTTP)
                headers = message.headers.copy()
                headers["Host"] = _NOBODY
                readable = {"url": message.url.relative(), "headers": type(message.headers)(headers)}
                return make_request(message._replace(**readable, should_close=True), *rest)

        server.request_factory = make

    def _others(self, reason: str) -> str:
        count = self._untold.pop(reason, 0)
        return f" ({count} more since the last line)" if count else ""
