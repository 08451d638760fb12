"""The pages: overview, lists, one node, one certificate, one incident, one path. Reads the store, fills templates."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from itertools import groupby
from urllib.parse import quote

import msgspec
from aiohttp import web
from sqlalchemy import Connection

from certagent.collector.access import (
    READERS,
    Handler,
    HttpProblem,
    Route,
    caller_of,
    check_form_token,
    credential_key,
    form_token_of,
)
from certagent.collector.agent_link import AgentLinks
from certagent.collector.bodies import Bodies
from certagent.collector.dashboard.rendering import Renderer
from certagent.collector.dashboard.timeline_text import NameAnswer, name_answers, timeline_entry
from certagent.collector.records import KnownAgent, KnownCertificate, NodeDetail, Page, TokenRole
from certagent.collector.sql import page_queries
from certagent.collector.sql.api_queries import find_incident, find_path_evidence, list_incidents
from certagent.collector.sql.incident_writer import acknowledge_incident
from certagent.collector.store import Store
from certagent.collector.views import (
    AgentView,
    EvidenceView,
    show_agent,
    show_certificate,
    show_evidence,
    trace_path,
)
from certagent.domain.incidents import Incident, IncidentState
from certagent.domain.mermaid import to_mermaid
from certagent.domain.path_trace import Path
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import RehearsalOutcome
from certagent.domain.resolution.files import RESOLVER_FILES
from certagent.domain.survival import living_of, survive

_MOST_INCIDENTS = 20
_MOST_RESOLVED = 5
_FEW_ROWS, _MANY_ROWS = 12, 100
_MOST_PICTURES = 3
_MOST_RUNS = 40
_UNRESOLVED = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)


class PathView(msgspec.Struct, frozen=True):
    """A path, and what hosts files and nameservers answer for its name, as the rehearsal at `seen_at` saw it."""

    path: Path
    answers: list[NameAnswer]
    seen_at: datetime | None


class Dashboard:
    """The handlers of the pages, all for users: operators and viewers."""

    def __init__(self, store: Store, links: AgentLinks, bodies: Bodies, renderer: Renderer, clock: Clock) -> None:
        self._store = store
        self._links = links
        self._bodies = bodies
        self._renderer = renderer
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """Pages, the one form, and style and script, which are open to everybody."""
        pages = {
            "/": self.show_overview,
            "/incidents": self.list_incidents,
            "/incidents/{id}": self.show_incident,
            "/certificates": self.list_certificates,
            "/nodes": self.list_nodes,
            "/nodes/{node}": self.show_node,
            "/nodes/{node}/certificates/{name}": self.show_certificate,
            "/paths": self.find_path,
            "/paths/{identifier}": self.show_path,
            "/paths/{identifier}/mermaid": self.show_mermaid,
        }
        return (
            *(Route("GET", path, self._with_error_page(handler), READERS) for path, handler in pages.items()),
            Route("POST", "/incidents/{id}/acknowledge", self._with_error_page(self.acknowledge), READERS),
            Route("GET", "/assets/{name}", self._renderer.show_asset, None),
        )

    async def show_overview(self, request: web.Request) -> web.Response:
        """What is broken, what expires when, what to do."""
        unresolved = await self._unresolved()
        resolved = await self._store.read(list_incidents, None, _MOST_RESOLVED, states=(IncidentState.RESOLVED,))
        certificates = await self._store.read(page_queries.list_expiring_first, None, _FEW_ROWS)
        agents = await self._store.read(page_queries.list_silent_first, None, _FEW_ROWS)
        drawn, others = unresolved.items[:_MOST_PICTURES], unresolved.items[_MOST_PICTURES:]
        lifetimes, now = await self._store.read(page_queries.list_lifetimes), self._clock.now()
        return self._render(
            request,
            "overview.html",
            incidents=[
                *[(incident, await self._paths_of(incident, 1)) for incident in drawn],
                *((incident, []) for incident in others),
            ],
            more_incidents=unresolved.next is not None,
            resolved=resolved.items,
            certificates=[show_certificate(certificate) for certificate in certificates.items],
            agents=self._show_agents(agents.items),
            connected=len(self._links.names()),
            totals=await self._store.read(page_queries.fleet_totals),
            survival=survive(lifetimes, now),
            ends=[lifetime.expires_at for lifetime in living_of(lifetimes, now)],
            endangered=_endangered(unresolved.items),
            first_victim=_first_victim(unresolved.items),
        )

    async def list_incidents(self, request: web.Request) -> web.Response:
        """All incidents, the latest first."""
        page = await self._page_of(request, list_incidents)
        return self._render(request, "incidents.html", incidents=page.items, following=page.next)

    async def list_certificates(self, request: web.Request) -> web.Response:
        """All certificates, expiring first."""
        page = await self._page_of(request, page_queries.list_expiring_first)
        unresolved = await self._unresolved()
        return self._render(
            request,
            "certificates.html",
            certificates=[show_certificate(certificate) for certificate in page.items],
            following=page.next,
            endangered=_endangered(unresolved.items),
            totals=await self._store.read(page_queries.fleet_totals),
        )

    async def list_nodes(self, request: web.Request) -> web.Response:
        """All nodes, the longest silent first."""
        page = await self._page_of(request, page_queries.list_silent_first)
        return self._render(
            request,
            "nodes.html",
            agents=self._show_agents(page.items),
            following=page.next,
            totals=await self._store.read(page_queries.fleet_totals),
            connected=len(self._links.names()),
        )

    async def show_node(self, request: web.Request) -> web.Response:
        """One node: files, resolver, findings, certificates, incidents."""
        name = request.match_info["node"]
        node = await self._store.read(page_queries.find_node, name)
        if node is None:
            raise HttpProblem(404, "Not Found", f"there is no node {name!r}")
        unresolved = await self._unresolved(name)
        (agent,) = self._show_agents([node.agent])
        return self._render(
            request,
            "node.html",
            agent=agent,
            certificates=[show_certificate(certificate) for certificate in node.certificates],
            files=node.files,
            evidence=show_evidence(node.sightings),
            incidents=unresolved.items,
            endangered=_endangered(unresolved.items),
        )

    async def show_certificate(self, request: web.Request) -> web.Response:
        """One certificate: its lifetime, what is served against what is on disk, and the runs for it."""
        node, name = request.match_info["node"], request.match_info["name"]
        known = _certificate_of(await self._store.read(page_queries.find_node, node), name)
        if known is None:
            raise HttpProblem(404, "Not Found", f"there is no certificate {name!r} on {node!r}")
        certificate = show_certificate(known)
        unresolved = await self._unresolved(node)
        runs = await self._store.read(page_queries.list_timeline, node, name, certificate.identifiers, _MOST_RUNS)
        return self._render(
            request,
            "certificate.html",
            certificate=certificate,
            incidents=[incident for incident in unresolved.items if (node, name) in _endangered([incident])],
            timeline=[timeline_entry(report) for report in runs],
        )

    async def show_incident(self, request: web.Request) -> web.Response:
        """One incident: culprit, fix, victims, evidence of every vantage, path, history."""
        found = await self._store.read(find_incident, request.match_info["id"])
        if found is None:
            raise HttpProblem(404, "Not Found", f"there is no incident {request.match_info['id']!r}")
        return self._render(
            request,
            "incident.html",
            incident=found.incident,
            views=await self._paths_of(found.incident, _MOST_PICTURES),
            history=found.transitions,
            evidence=_by_vantage(show_evidence(found.sightings)),
        )

    async def acknowledge(self, request: web.Request) -> web.Response:
        """The button of the page: a plain form, good without any script."""
        caller, identity = caller_of(request), request.match_info["id"]
        if caller.role is not TokenRole.OPERATOR:
            raise HttpProblem(403, "Forbidden", f"this needs the role operator, not {caller.role}")
        form = await self._bodies.form_of(request)
        check_form_token(request, form.get("token"))
        incident = await self._store.write(acknowledge_incident, identity, caller.name)
        if incident is None:
            raise HttpProblem(404, "Not Found", f"there is no incident {identity!r}")
        raise web.HTTPSeeOther(f"/incidents/{incident.id}")

    async def find_path(self, request: web.Request) -> web.Response:
        """Where the search field leads."""
        wanted = request.query.get("identifier", "").strip().lower().rstrip(".")
        raise web.HTTPSeeOther(f"/paths/{quote(wanted, safe='')}" if wanted else "/")

    async def show_path(self, request: web.Request) -> web.Response:
        """The path of any identifier, as a picture, a table and Mermaid text."""
        view = await self._requested_path(request)
        return self._render(request, "path.html", view=view, path=view.path, mermaid=to_mermaid(view.path))

    async def show_mermaid(self, request: web.Request) -> web.Response:
        """The same as Mermaid text, to be saved."""
        path = (await self._requested_path(request)).path
        headers = {"Content-Disposition": f'attachment; filename="{quote(path.identifier)}.mmd"'}
        return web.Response(text=to_mermaid(path), content_type="text/plain", headers=headers)

    async def _requested_path(self, request: web.Request) -> PathView:
        identifier = request.match_info["identifier"].lower()
        view = await self._path_to(identifier)
        if view is None:
            raise HttpProblem(404, "Not Found", f"nothing is known of {identifier!r}")
        return view

    async def _path_to(self, identifier: str) -> PathView | None:
        known = await self._store.read(find_path_evidence, identifier)
        if known.is_empty():
            return None
        path, seen = trace_path(identifier, known), known.rehearsal
        if seen is None or path.broken == (seen.rehearsal.outcome is RehearsalOutcome.PASSED):
            return PathView(path, [], None)  # later findings outweigh it
        return PathView(path, name_answers(seen.rehearsal, {**seen.rehearsal.owners, **known.fleet.owners}), seen.at)

    async def _paths_of(self, incident: Incident, most: int) -> list[PathView]:
        identifiers = list(dict.fromkeys(victim.identifier for victim in incident.victims))
        views = [await self._path_to(identifier) for identifier in identifiers[:most]]
        return [view for view in views if view is not None]

    async def _unresolved(self, party: str | None = None) -> Page:
        return await self._store.read(list_incidents, None, _MOST_INCIDENTS, party=party, states=_UNRESOLVED)

    async def _page_of(self, request: web.Request, query: Callable[[Connection, str | None, int], Page]) -> Page:
        try:
            return await self._store.read(query, request.query.get("cursor"), _MANY_ROWS)
        except ValueError as error:
            raise HttpProblem(400, "Bad Request", str(error)) from error

    def _show_agents(self, agents: Sequence[KnownAgent]) -> list[AgentView]:
        names = self._links.names()
        return [show_agent(agent, connected=agent.name in names) for agent in agents]

    def _with_error_page(self, handler: Callable[[web.Request], Awaitable[web.Response]]) -> Handler:
        """The handler, whose problems are pages, too."""

        async def show(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except HttpProblem as problem:
                return self._render(request, "problem.html", status=problem.status, problem=problem.document)

        return show

    def _render(self, request: web.Request, template: str, *, status: int = 200, **values: object) -> web.Response:
        caller = caller_of(request)
        return self._renderer.page(
            template,
            status=status,
            caller=caller,
            is_operator=caller.role is TokenRole.OPERATOR,
            is_session=request[credential_key].by_browser,
            form_token=form_token_of(request),
            here=request.path,
            resolver_files=RESOLVER_FILES,
            **values,
        )


def _certificate_of(node: NodeDetail | None, name: str) -> KnownCertificate | None:
    certificates = node.certificates if node is not None else ()
    return next((known for known in certificates if known.certificate.name == name), None)


def _endangered(incidents: Sequence[Incident]) -> frozenset[tuple[str, str]]:
    """(node, certificate) of all victims."""
    return frozenset((victim.node, victim.certificate) for incident in incidents for victim in incident.victims)


def _first_victim(incidents: Sequence[Incident]) -> object:
    """The victim that expires first, or None."""
    victims = [victim for incident in incidents for victim in incident.victims if victim.expires_at is not None]
    return min(victims, key=lambda victim: victim.expires_at or 0, default=None)


def _by_vantage(evidence: Sequence[EvidenceView]) -> list[tuple[str, str, list[EvidenceView]]]:
    """(vantage, node, its findings), the authority's first: to be shown beside each other."""

    def key(view: EvidenceView) -> tuple[bool, str, str]:
        vantage = str(view.finding.vantage)
        return vantage != "authority", vantage, view.agent

    ordered = sorted(evidence, key=lambda view: (*key(view), view.finding.severity.rank))
    return [(vantage, node, list(group)) for (_, vantage, node), group in groupby(ordered, key=key)]
