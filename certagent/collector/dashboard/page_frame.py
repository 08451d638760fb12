"""What every page has around its content: who reads it, the fleet's totals, errors as pages. Reads the store."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from certagent import __version__
from certagent.collector.access import (
    READERS,
    Handler,
    HttpProblem,
    caller_key,
    caller_of,
    credential_key,
    form_token_of,
)
from certagent.collector.dashboard.rendering import Renderer
from certagent.collector.dispatch import EventStream
from certagent.collector.records import TokenRole
from certagent.collector.sql import page_queries
from certagent.collector.store import Store
from certagent.domain.ports import Clock
from certagent.domain.resolution.files import RESOLVER_FILES

PageHandler = Callable[[web.Request], Awaitable[web.Response]]


class PageFrame:
    """Fills the pages for whoever asks."""

    def __init__(self, store: Store, events: EventStream, renderer: Renderer, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._renderer = renderer
        self._clock = clock

    async def render(self, request: web.Request, template: str, *, status: int = 200, **values: object) -> web.Response:
        """The page for the caller, as of now."""
        caller = caller_of(request)
        now = self._clock.now()
        return self._renderer.page(
            template,
            status=status,
            caller=caller,
            is_operator=caller.role is TokenRole.OPERATOR,
            is_session=request[credential_key].by_browser,
            form_token=form_token_of(request),
            here=request.path,
            resolver_files=RESOLVER_FILES,
            totals=await self._store.read(page_queries.fleet_totals, now),
            round_at=self._events.last_round_at,
            version=__version__,
            **values,
        )

    def with_error_page(self, handler: PageHandler) -> Handler:
        """The handler, whose problems are pages, too."""

        async def show(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except HttpProblem as problem:
                return await self._show_problem(request, problem)

        return show

    def middleware(self) -> Middleware:
        """An address that nothing has is a page for whoever reads pages; programs get their document. No coroutine of
        its own lies around a request for what there is: each agent's link is one that lasts."""

        @web.middleware
        def choose(request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
            is_there = request.match_info.route.resource is not None
            return handler(request) if is_there else show(request, handler)

        async def show(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                return await handler(request)
            except web.HTTPNotFound:
                if not _reads_pages(request):
                    raise
                return await self._show_problem(
                    request, HttpProblem(404, "Not Found", "there is no page at this address")
                )

        return choose

    async def _show_problem(self, request: web.Request, problem: HttpProblem) -> web.Response:
        return await self.render(request, "problem.html", status=problem.status, problem=problem.document)


def _reads_pages(request: web.Request) -> bool:
    is_reader = caller_key in request and request[caller_key].role in READERS
    is_page = not request.path.startswith("/v1/") and "text/html" in request.headers.get("Accept", "")
    return is_reader and is_page and request.method == "GET"
