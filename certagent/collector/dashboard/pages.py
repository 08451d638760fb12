"""The pages: overview, lists, one node, one certificate, one incident, one path. Reads the store, fills templates."""

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import groupby
from urllib.parse import quote

import msgspec
from aiohttp import web
from sqlalchemy import Connection

from certagent.collector.access import (
    READERS,
    HttpProblem,
    Route,
    author_of,
    caller_of,
    check_form_token,
)
from certagent.collector.agent_link import AgentLinks
from certagent.collector.bodies import Bodies
from certagent.collector.dashboard.beginning import FirstCommands
from certagent.collector.dashboard.history_text import draw_renewals, history_lines
from certagent.collector.dashboard.list_pages import show_agents
from certagent.collector.dashboard.page_frame import PageFrame
from certagent.collector.dashboard.rendering import Renderer
from certagent.collector.dashboard.timeline_text import NameAnswer, name_answers
from certagent.collector.records import Caller, KnownCertificate, NodeDetail, Page, TokenRole
from certagent.collector.sql import page_queries
from certagent.collector.sql.api_queries import find_incident, find_path_evidence, list_incidents
from certagent.collector.sql.audit_queries import acknowledge, list_audit
from certagent.collector.sql.history_queries import find_history
from certagent.collector.sql.list_queries import (
    CertificateFilter,
    ListPage,
    NodeFilter,
    list_certificates_by,
    list_nodes_by,
)
from certagent.collector.store import Store
from certagent.collector.views import (
    EvidenceView,
    show_certificate,
    show_evidence,
    trace_path,
)
from certagent.domain.incidents import Incident, IncidentState
from certagent.domain.mermaid import to_mermaid
from certagent.domain.path_trace import Path
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import RehearsalOutcome
from certagent.domain.survival import living_of, survive

_MOST_INCIDENTS, _MOST_CARDS = 6, 5  # on the overview; more than those are a short list
_MOST_OF_NODE = 20
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

    def __init__(
        self,
        store: Store,
        links: AgentLinks,
        frame: PageFrame,
        bodies: Bodies,
        renderer: Renderer,
        clock: Clock,
        first_commands: FirstCommands,
    ) -> None:
        self._store = store
        self._links = links
        self._frame = frame
        self._bodies = bodies
        self._renderer = renderer
        self._clock = clock
        self._first_commands = first_commands

    def routes(self) -> tuple[Route, ...]:
        """Pages, the one form, and style and script, which are open to everybody."""
        pages = {
            "/": self.show_overview,
            "/incidents/{id}": self.show_incident,
            "/audit": self.list_audit,
            "/nodes/{node}": self.show_node,
            "/nodes/{node}/certificates/{name}": self.show_certificate,
            "/paths": self.find_path,
            "/paths/{identifier}": self.show_path,
            "/paths/{identifier}/mermaid": self.show_mermaid,
        }
        return (
            *(Route("GET", path, self._frame.with_error_page(handler), READERS) for path, handler in pages.items()),
            Route("POST", "/incidents/{id}/acknowledge", self._frame.with_error_page(self.acknowledge), READERS),
            Route("GET", "/assets/{name}", self._renderer.show_asset, None),
        )

    async def show_overview(self, request: web.Request) -> web.Response:
        """What is broken, what expires when, what to do."""
        urgent = await self._store.read(page_queries.list_urgent, _MOST_INCIDENTS)
        resolved = await self._store.read(list_incidents, None, _MOST_RESOLVED, states=(IncidentState.RESOLVED,))
        (managed, others), now = await self._store.read(page_queries.list_managed), self._clock.now()
        lifetimes = [one.life for one in managed]
        first = await self._store.read(list_certificates_by, CertificateFilter(), now, _FEW_ROWS)
        connected = self._links.names()
        silent = await self._store.read(list_nodes_by, NodeFilter(), connected, _FEW_ROWS)
        drawn = urgent if len(urgent) <= _MOST_CARDS else urgent[:1]
        pictures = _MOST_PICTURES if len(urgent) <= _MOST_CARDS else 0
        return await self._frame.render(
            request,
            "overview.html",
            incidents=[
                (incident, await self._paths_of(incident, 1) if number < pictures else [])
                for number, incident in enumerate(drawn)
            ],
            further=urgent[len(drawn) :],
            resolved=resolved.items,
            certificates=[show_certificate(certificate) for certificate in first.items],
            agents=show_agents(silent.items, connected),
            connected=len(connected),
            survival=survive(lifetimes, now),
            renewed_elsewhere=others,
            ends=[lifetime.expires_at for lifetime in living_of(lifetimes, now)],
            dues=sorted(one.due_at or now for one in managed if one.life.expires_at > now),
            first_commands=self._first_commands,
            host=request.host,
            disputes=show_evidence(await self._store.read(page_queries.list_disputes)),
        )

    async def list_audit(self, request: web.Request) -> web.Response:
        """What people and tokens did, the latest first; for operators."""
        _check_operator(caller_of(request))
        page = await self._page_of(request, list_audit)
        return await self._frame.render(request, "audit.html", page=ListPage([*page.items], page.next, None))

    async def show_node(self, request: web.Request) -> web.Response:
        """One node: files, resolver, findings, certificates, incidents."""
        name = request.match_info["node"]
        node = await self._store.read(page_queries.find_node, name)
        if node is None:
            raise HttpProblem(404, "Not Found", f"there is no node {name!r}")
        unresolved = await self._unresolved(name)
        now = self._clock.now()
        ends = sorted(known.certificate.on_disk.ends_at for known in node.certificates if known.certificate.on_disk)
        (agent,) = show_agents([node.agent], self._links.names())
        return await self._frame.render(
            request,
            "node.html",
            agent=agent,
            certificates=[show_certificate(certificate) for certificate in node.certificates],
            files=node.files,
            evidence=show_evidence(node.sightings),
            incidents=unresolved.items,
            timeline=history_lines(await self._store.read(find_history, name, None, _MOST_RUNS))[:_MOST_RUNS],
            ends=[end for end in ends if end > now],
            expired=sum(end <= now for end in ends),
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
        history = await self._store.read(find_history, node, name, _MOST_RUNS)
        return await self._frame.render(
            request,
            "certificate.html",
            certificate=certificate,
            incidents=[incident for incident in unresolved.items if _concerns(incident, node, name)],
            timeline=history_lines(history, runs)[:_MOST_RUNS],
            strip=draw_renewals(history.renewals, self._clock.now()),
        )

    async def show_incident(self, request: web.Request) -> web.Response:
        """One incident: culprit, fix, victims, evidence of every vantage, path, history."""
        found = await self._store.read(find_incident, request.match_info["id"])
        if found is None:
            raise HttpProblem(404, "Not Found", f"there is no incident {request.match_info['id']!r}")
        return await self._frame.render(
            request,
            "incident.html",
            incident=found.incident,
            views=await self._paths_of(found.incident, _MOST_PICTURES),
            history=found.transitions,
            evidence=_by_vantage(show_evidence(found.sightings)),
        )

    async def acknowledge(self, request: web.Request) -> web.Response:
        """The button of the page: a plain form, good without any script."""
        identity = request.match_info["id"]
        _check_operator(caller_of(request))
        form = await self._bodies.form_of(request)
        check_form_token(request, form.get("token"))
        incident = await self._store.write(acknowledge, identity, author_of(request))
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
        return await self._frame.render(request, "path.html", view=view, path=view.path, mermaid=to_mermaid(view.path))

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

    async def _unresolved(self, party: str) -> Page:
        return await self._store.read(list_incidents, None, _MOST_OF_NODE, party=party, states=_UNRESOLVED)

    async def _page_of(self, request: web.Request, query: Callable[[Connection, str | None, int], Page]) -> Page:
        try:
            return await self._store.read(query, request.query.get("cursor"), _MANY_ROWS)
        except ValueError as error:
            raise HttpProblem(400, "Bad Request", str(error)) from error


def _check_operator(caller: Caller) -> None:
    if caller.role is not TokenRole.OPERATOR:
        raise HttpProblem(403, "Forbidden", f"this needs the role operator, not {caller.role}")


def _certificate_of(node: NodeDetail | None, name: str) -> KnownCertificate | None:
    certificates = node.certificates if node is not None else ()
    return next((known for known in certificates if known.certificate.name == name), None)


def _concerns(incident: Incident, node: str, certificate: str) -> bool:
    return any((victim.node, victim.certificate) == (node, certificate) for victim in incident.victims)


def _by_vantage(evidence: Sequence[EvidenceView]) -> list[tuple[str, str, list[EvidenceView]]]:
    """(vantage, node, its findings), the authority's first: to be shown beside each other."""

    def key(view: EvidenceView) -> tuple[bool, str, str]:
        vantage = str(view.finding.vantage)
        return vantage != "authority", vantage, view.agent

    ordered = sorted(evidence, key=lambda view: (*key(view), view.finding.severity.rank))
    return [(vantage, node, list(group)) for (_, vantage, node), group in groupby(ordered, key=key)]
