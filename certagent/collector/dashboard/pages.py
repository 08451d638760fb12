"""The pages: overview, lists, one node, one certificate, one incident, one path. Reads the store, fills templates."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from itertools import groupby
from urllib.parse import quote

import msgspec
from aiohttp import web

from certagent.collector.access import READERS, caller_of, check_form_token, credential_key, form_token_of
from certagent.collector.agent_link import AgentLinks
from certagent.collector.dashboard.rendering import Renderer
from certagent.collector.dashboard.timeline_text import Side, sides_of, timeline_entry
from certagent.collector.problems import Handler, HttpProblem
from certagent.collector.store import KnownAgent, KnownCertificate, Page, Store, TokenRole
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
_MOST_DEEDS = 40
_STANDING = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)


class Way(msgspec.Struct, frozen=True):
    """A path, and what each side says of its name, as the rehearsal at `seen_at` saw it."""

    path: Path
    sides: list[Side]
    seen_at: datetime | None


class Dashboard:
    """The handlers of the pages, all for people: operators and viewers."""

    def __init__(self, store: Store, channels: AgentLinks, renderer: Renderer, clock: Clock) -> None:
        self._store = store
        self._channels = channels
        self._renderer = renderer
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Path and handler."""
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
        return [
            *(web.get(path, self._shown(handler)) for path, handler in pages.items()),
            web.post("/incidents/{id}/acknowledge", self._shown(self.acknowledge)),
            web.get("/assets/{name}", self._renderer.show_asset),
        ]

    async def show_overview(self, request: web.Request) -> web.Response:
        """What is broken, what dies when, what to do."""
        standing = await self._store.incidents(None, _MOST_INCIDENTS, states=_STANDING)
        resolved = await self._store.incidents(None, _MOST_RESOLVED, states=(IncidentState.RESOLVED,))
        certificates = await self._store.certificates(None, _FEW_ROWS, soonest_first=True)
        agents = await self._store.agents(None, _FEW_ROWS, silent_first=True)
        pictured = [(one, await self._ways_of(one, 1)) for one in standing.items[:_MOST_PICTURES]]
        now = self._clock.now()
        lives = await self._store.lives()
        return self._render(
            request,
            "overview.html",
            incidents=[*pictured, *((one, []) for one in standing.items[_MOST_PICTURES:])],
            more_incidents=standing.next is not None,
            resolved=resolved.items,
            certificates=[show_certificate(one) for one in certificates.items],
            agents=self._show_agents(agents.items),
            connected=len(self._channels.names()),
            stock=await self._store.stock(),
            survival=survive(lives, now),
            ends=[life.expires_at for life in living_of(lives, now)],
            endangered=_endangered(standing.items),
            first_victim=_first_victim(standing.items),
        )

    async def list_incidents(self, request: web.Request) -> web.Response:
        """All of them, the latest first."""
        page = await _page_of(request, self._store.incidents)
        return self._render(request, "incidents.html", incidents=page.items, following=page.next)

    async def list_certificates(self, request: web.Request) -> web.Response:
        """All of them, the soonest to die first."""
        page = await _page_of(request, lambda after, limit: self._store.certificates(after, limit, soonest_first=True))
        standing = await self._store.incidents(None, _MOST_INCIDENTS, states=_STANDING)
        shown = [show_certificate(one) for one in page.items]
        return self._render(
            request,
            "certificates.html",
            certificates=shown,
            following=page.next,
            endangered=_endangered(standing.items),
            stock=await self._store.stock(),
        )

    async def list_nodes(self, request: web.Request) -> web.Response:
        """All of them, the longest silent first."""
        page = await _page_of(request, lambda after, limit: self._store.agents(after, limit, silent_first=True))
        stock = await self._store.stock()
        connected = len(self._channels.names())
        agents = self._show_agents(page.items)
        return self._render(request, "nodes.html", agents=agents, following=page.next, stock=stock, connected=connected)

    async def show_node(self, request: web.Request) -> web.Response:
        """One node: files, resolver, findings, certificates, incidents."""
        name = request.match_info["node"]
        facts = await self._store.node(name)
        if facts is None:
            raise HttpProblem(404, "Not Found", f"there is no node {name!r}")
        standing = await self._store.incidents(None, _MOST_INCIDENTS, party=name, states=_STANDING)
        (agent,) = self._show_agents([facts.agent])
        return self._render(
            request,
            "node.html",
            agent=agent,
            certificates=[show_certificate(one) for one in facts.certificates],
            files=facts.files,
            evidence=show_evidence(facts.sightings),
            incidents=standing.items,
            endangered=_endangered(standing.items),
        )

    async def show_certificate(self, request: web.Request) -> web.Response:
        """One certificate: its life, what is served against what lies on disk, and what was done."""
        node, name = request.match_info["node"], request.match_info["name"]
        facts = await self._store.node(node)
        found: Sequence[KnownCertificate] = facts.certificates if facts is not None else ()
        known = next((one for one in found if one.certificate.name == name), None)
        if known is None:
            raise HttpProblem(404, "Not Found", f"there is no certificate {name!r} on {node!r}")
        certificate = show_certificate(known)
        standing = await self._store.incidents(None, _MOST_INCIDENTS, party=node, states=_STANDING)
        deeds = await self._store.deeds(node, name, certificate.identifiers, _MOST_DEEDS)
        return self._render(
            request,
            "certificate.html",
            certificate=certificate,
            incidents=[one for one in standing.items if (node, name) in _endangered([one])],
            deeds=[timeline_entry(one) for one in deeds],
        )

    async def show_incident(self, request: web.Request) -> web.Response:
        """One incident: culprit, fix, victims, evidence of every vantage, path, history."""
        found = await self._store.incident(request.match_info["id"])
        if found is None:
            raise HttpProblem(404, "Not Found", f"there is no incident {request.match_info['id']!r}")
        incident, history, sightings = found
        return self._render(
            request,
            "incident.html",
            incident=incident,
            ways=await self._ways_of(incident, _MOST_PICTURES),
            history=history,
            sides=_sides(show_evidence(sightings)),
        )

    async def acknowledge(self, request: web.Request) -> web.Response:
        """The button of the page: a form of its own, good without any script."""
        caller = caller_of(request, TokenRole.OPERATOR)
        form = await request.post()
        check_form_token(request, form.get("token"))
        incident = await self._store.acknowledge(request.match_info["id"], caller.name)
        if incident is None:
            raise HttpProblem(404, "Not Found", f"there is no incident {request.match_info['id']!r}")
        raise web.HTTPSeeOther(f"/incidents/{incident.id}")

    async def find_path(self, request: web.Request) -> web.Response:
        """Where the search field leads."""
        wanted = request.query.get("identifier", "").strip().lower().rstrip(".")
        raise web.HTTPSeeOther(f"/paths/{quote(wanted, safe='')}" if wanted else "/")

    async def show_path(self, request: web.Request) -> web.Response:
        """The path of any identifier, as a picture, a table and Mermaid text."""
        way = await self._way_asked_for(request)
        return self._render(request, "path.html", way=way, path=way.path, mermaid=to_mermaid(way.path))

    async def show_mermaid(self, request: web.Request) -> web.Response:
        """The same as Mermaid text, to be kept."""
        path = (await self._way_asked_for(request)).path
        kept = {"Content-Disposition": f'attachment; filename="{quote(path.identifier)}.mmd"'}
        return web.Response(text=to_mermaid(path), content_type="text/plain", headers=kept)

    async def _way_asked_for(self, request: web.Request) -> Way:
        identifier = request.match_info["identifier"].lower()
        way = await self._way_to(identifier)
        if way is None:
            raise HttpProblem(404, "Not Found", f"nothing is known of {identifier!r}")
        return way

    async def _way_to(self, identifier: str) -> Way | None:
        known, sightings, fleet = await self._store.path_facts(identifier)
        if known is None and not sightings and not fleet.victims:
            return None
        path = trace_path(identifier, known, sightings, fleet)
        if known is None or path.broken == (known.rehearsal.outcome is RehearsalOutcome.PASSED):
            return Way(path, [], None)  # what has been found since outweighs it
        return Way(path, sides_of(known.rehearsal, {**known.rehearsal.owners, **fleet.owners}), known.at)

    async def _ways_of(self, incident: Incident, most: int) -> list[Way]:
        identifiers = list(dict.fromkeys(victim.identifier for victim in incident.victims))
        ways = [await self._way_to(one) for one in identifiers[:most]]
        return [way for way in ways if way is not None]

    def _show_agents(self, agents: Sequence[KnownAgent]) -> list[AgentView]:
        names = self._channels.names()
        return [show_agent(one, connected=one.name in names) for one in agents]

    def _shown(self, handler: Callable[[web.Request], Awaitable[web.Response]]) -> Handler:
        """The handler for people alone, whose problems are pages, too."""

        async def show(request: web.Request) -> web.StreamResponse:
            caller_of(request, *READERS)
            try:
                return await handler(request)
            except HttpProblem as problem:
                return self._render(request, "problem.html", status=problem.status, problem=problem.document)

        return show

    def _render(self, request: web.Request, template: str, *, status: int = 200, **values: object) -> web.Response:
        caller = caller_of(request, *READERS)
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


async def _page_of(request: web.Request, read: Callable[[str | None, int], Awaitable[Page]]) -> Page:
    try:
        return await read(request.query.get("cursor"), _MANY_ROWS)
    except ValueError as error:
        raise HttpProblem(400, "Bad Request", str(error)) from error


def _endangered(incidents: Sequence[Incident]) -> frozenset[tuple[str, str]]:
    """(node, certificate) of all victims."""
    return frozenset((victim.node, victim.certificate) for one in incidents for victim in one.victims)


def _first_victim(incidents: Sequence[Incident]) -> object:
    """The victim that dies first, or None."""
    victims = [victim for one in incidents for victim in one.victims if victim.expires_at is not None]
    return min(victims, key=lambda one: one.expires_at or 0, default=None)


def _sides(evidence: Sequence[EvidenceView]) -> list[tuple[str, str, list[EvidenceView]]]:
    """(vantage, node, what it says), the CA's side first: to be shown beside each other."""

    def side(one: EvidenceView) -> tuple[bool, str, str]:
        vantage = str(one.finding.vantage)
        return vantage != "authority", vantage, one.agent

    ordered = sorted(evidence, key=lambda one: (*side(one), one.finding.severity.rank))
    return [(key[1], key[2], list(group)) for key, group in groupby(ordered, key=side)]
