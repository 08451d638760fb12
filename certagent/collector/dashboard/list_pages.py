"""The lists of incidents, certificates and nodes, with filters and order in their addresses, and the one search."""

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import quote

import msgspec
from aiohttp import web

from certagent.collector.access import READERS, HttpProblem, Route
from certagent.collector.agent_link import AgentLinks
from certagent.collector.dashboard.page_frame import PageFrame
from certagent.collector.records import KnownAgent
from certagent.collector.sql.list_queries import (
    CertificateFilter,
    IncidentFilter,
    NodeFilter,
    list_certificates_by,
    list_incidents_by,
    list_nodes_by,
)
from certagent.collector.sql.search_queries import Found, in_ascii, search
from certagent.collector.store import Store
from certagent.collector.views import AgentView, show_agent, show_certificate
from certagent.domain.catalogue.entries import CATALOGUE
from certagent.domain.ports import Clock

_ROWS = 100
_MOST_FOUND = 20  # of each kind
_LONGEST_TEXT = 256

Wanted = TypeVar("Wanted", IncidentFilter, CertificateFilter, NodeFilter)


class ListPages:
    """The handlers of the lists and of the search."""

    def __init__(self, store: Store, links: AgentLinks, frame: PageFrame, clock: Clock) -> None:
        self._store = store
        self._links = links
        self._frame = frame
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """For users."""
        pages = {
            "/incidents": self.list_incidents,
            "/certificates": self.list_certificates,
            "/nodes": self.list_nodes,
            "/search": self.search,
        }
        return tuple(
            Route("GET", path, self._frame.with_error_page(handler), READERS) for path, handler in pages.items()
        )

    async def list_incidents(self, request: web.Request) -> web.Response:
        """Incidents; those that are not over, by what expires first, unless the address says otherwise."""
        wanted = _filter_of(request, IncidentFilter)
        after, before = _cursors_of(request)
        try:
            page = await self._store.read(list_incidents_by, wanted, _ROWS, after, before)
        except ValueError as error:
            raise HttpProblem(400, "Bad Request", str(error)) from error
        return await self._frame.render(request, "incidents.html", page=page, wanted=wanted, codes=tuple(CATALOGUE))

    async def list_certificates(self, request: web.Request) -> web.Response:
        """Certificates, expiring first unless the address says otherwise."""
        wanted = _filter_of(request, CertificateFilter)
        after, before = _cursors_of(request)
        try:
            now = self._clock.now()
            page = await self._store.read(list_certificates_by, wanted, now, _ROWS, after, before)
        except ValueError as error:
            raise HttpProblem(400, "Bad Request", str(error)) from error
        shown = [show_certificate(known) for known in page.items]
        return await self._frame.render(request, "certificates.html", page=page, wanted=wanted, certificates=shown)

    async def list_nodes(self, request: web.Request) -> web.Response:
        """Nodes, the longest silent first unless the address says otherwise."""
        wanted, connected = _filter_of(request, NodeFilter), self._links.names()
        after, before = _cursors_of(request)
        try:
            page = await self._store.read(list_nodes_by, wanted, connected, _ROWS, after, before)
        except ValueError as error:
            raise HttpProblem(400, "Bad Request", str(error)) from error
        return await self._frame.render(
            request,
            "nodes.html",
            page=page,
            wanted=wanted,
            agents=show_agents(page.items, connected),
            connected=len(connected),
        )

    async def search(self, request: web.Request) -> web.Response:
        """What has the text in it; leads on by itself where exactly one thing is called so."""
        text = request.query.get("q", "").strip().rstrip(".")
        if not text:
            raise web.HTTPSeeOther("/")
        if len(text) > _LONGEST_TEXT:
            raise HttpProblem(400, "Bad Request", f"names have at most {_LONGEST_TEXT} characters")
        found = await self._store.read(search, text, _MOST_FOUND)
        codes = [code for code in CATALOGUE if text.lower() in code]
        places = _places_called(text.lower(), found, codes)
        if len(places) == 1:
            raise web.HTTPSeeOther(places.pop())
        return await self._frame.render(
            request,
            "search.html",
            text=text,
            found=found,
            agents=show_agents(found.nodes, self._links.names()),
            certificates=[show_certificate(known) for known in found.certificates],
            codes=codes[:_MOST_FOUND],
            has_more=found.more | ({"codes"} if len(codes) > _MOST_FOUND else set()),
        )


def show_agents(agents: Sequence[KnownAgent], connected: frozenset[str]) -> list[AgentView]:
    """The nodes as a page shows them."""
    return [show_agent(agent, connected=agent.name in connected) for agent in agents]


def _filter_of(request: web.Request, kind: type[Wanted]) -> Wanted:
    names = {field.name for field in msgspec.structs.fields(kind)}
    given = {name: text.strip() for name, text in request.query.items() if name in names and text.strip()}
    if any(len(text) > _LONGEST_TEXT for text in given.values()):
        raise HttpProblem(400, "Bad Request", f"a filter has {_LONGEST_TEXT} characters at most")
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise HttpProblem(400, "Bad Request", f"no such list: {error}") from error


def _cursors_of(request: web.Request) -> tuple[str | None, str | None]:
    return request.query.get("cursor"), request.query.get("before")


def _places_called(name: str, found: Found, codes: Sequence[str]) -> set[str]:
    """The addresses of all that has exactly that name."""
    places = {f"/nodes/{quote(one.name, safe='')}" for one in found.nodes if one.name.lower() == name}
    places |= {
        f"/paths/{quote(one.identifier, safe='')}" for one in found.identifiers if one.identifier == in_ascii(name)
    }
    places |= {
        f"/nodes/{quote(one.node, safe='')}/certificates/{quote(one.certificate.name, safe='')}"
        for one in found.certificates
        if one.certificate.name.lower() == name
    }
    return places | {f"/findings/{code}" for code in codes if code == name}
