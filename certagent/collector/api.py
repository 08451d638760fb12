"""The HTTP API: its route table, and the handlers but for reports, which come in by `intake`. Shapes are in `views`."""

import asyncio
import math
from collections.abc import Callable
from typing import Any, Concatenate

import msgspec
from aiohttp import web
from sqlalchemy import Connection

from certagent.collector.access import (
    AGENTS,
    READERS,
    Access,
    HttpProblem,
    Listing,
    Route,
    caller_of,
    credential_key,
    json_response,
)
from certagent.collector.agent_link import (
    CLOSE_SECONDS,
    LARGEST_ANSWER,
    LONGEST_WAIT_SECONDS,
    AgentLink,
    RehearsalBroker,
    ask_to_judge_again,
    ping_seconds_for,
)
from certagent.collector.bodies import LARGEST_DOCUMENT
from certagent.collector.dispatch import EventStream
from certagent.collector.intake import Intake
from certagent.collector.metrics import Metrics
from certagent.collector.openapi import describe_api
from certagent.collector.records import Acceptance, KnownAgent, Page, TokenRole
from certagent.collector.sql import api_queries
from certagent.collector.sql.fleet_queries import find_identifiers
from certagent.collector.sql.incident_writer import acknowledge_incident
from certagent.collector.sql.ingest import note_agents
from certagent.collector.sql.page_queries import list_lifetimes
from certagent.collector.store import Store
from certagent.collector.views import (
    AgentView,
    CertificateView,
    IncidentView,
    show_agent,
    show_certificate,
    show_incident,
    trace_path,
)
from certagent.domain.incidents import Incident, IncidentState
from certagent.domain.path_trace import Path
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import Rehearsal, RehearsalRequest
from certagent.domain.reports import Report
from certagent.domain.survival import Survival, survive

_EVERYBODY = frozenset(TokenRole)
_OPERATORS = frozenset({TokenRole.OPERATOR})
_KEEP_ALIVE_SECONDS = 15.0
_DEFAULT_LIMIT, _LARGEST_LIMIT = 100, 1_000
_STALLED_SECONDS = 10.0

_TEXT, _EVENTS = "text/plain", "text/event-stream"
_PAGING = {"cursor": {"type": "string"}, "limit": {"type": "integer", "minimum": 1, "maximum": _LARGEST_LIMIT}}
_AGENT = {"agent": {"type": "string"}}
_STATES = {"state": {"type": "array", "items": {"enum": [str(state) for state in IncidentState]}}}
_TIMEOUT = {"timeout": {"type": "number", "minimum": 0}}

_decode_request = msgspec.json.Decoder(RehearsalRequest).decode


class Api:
    """The handlers of the API, but for the reports."""

    def __init__(
        self,
        store: Store,
        access: Access,
        intake: Intake,
        broker: RehearsalBroker,
        events: EventStream,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._store = store
        self._access = access
        self._intake = intake
        self._broker = broker
        self._links = broker.links
        self._events = events
        self._metrics = metrics
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """The route table: the contract of DESIGN, section 7."""
        # fmt: off
        return (
            Route("POST", "/v1/reports", self._intake.post_reports, AGENTS,
                  "Hand in the agent's own reports", body=list[Report], answer=Acceptance),
            Route("GET", "/v1/reports", self.list_reports, READERS,
                  "Reports, the latest first", answer=Listing(Report), query=_PAGING | _AGENT),
            Route("GET", "/v1/agents", self.list_agents, READERS,
                  "Agents by name", answer=Listing(AgentView), query=_PAGING),
            Route("GET", "/v1/certificates", self.list_certificates, READERS,
                  "Certificates by node and name", answer=Listing(CertificateView), query=_PAGING),
            Route("GET", "/v1/incidents", self.list_incidents, _EVERYBODY,
                  "Incidents, the latest first", answer=Listing(Incident), query=_PAGING | _STATES),
            Route("GET", "/v1/incidents/{id}", self.show_incident, _EVERYBODY,
                  "One incident, its history and evidence", answer=IncidentView),
            Route("POST", "/v1/incidents/{id}/ack", self.acknowledge, _OPERATORS,
                  "Acknowledge an open incident", answer=Incident),
            Route("GET", "/v1/paths/{identifier}", self.show_path, _EVERYBODY,
                  "Intended and actual path of an identifier", answer=Path),
            Route("GET", "/v1/survival", self.show_survival, READERS,
                  "When certificates expire if none can be renewed", answer=Survival),
            Route("POST", "/v1/rehearsals", self.rehearse, AGENTS | _OPERATORS,
                  "Have the agent beside the CA fetch a token",
                  body=RehearsalRequest, answer=Rehearsal, query=_TIMEOUT),
            Route("GET", "/v1/channel", self.open_link, AGENTS, "The agent link (WebSocket)"),
            Route("GET", "/v1/events", self.stream_events, READERS,
                  "Server-sent events: incident, agent, certificate", answer=_EVENTS),
            Route("GET", "/metrics", self.show_metrics, READERS, "Metrics for Prometheus", answer=_TEXT),
            Route("GET", "/healthz", self.show_health, None, "Whether the process answers", answer=_TEXT),
            Route("GET", "/readyz", self.show_readiness, None, "Whether reports can be stored", answer=_TEXT),
            Route("GET", "/openapi.json", self.show_openapi, _EVERYBODY, "This document", answer=dict[str, Any]),
        )
        # fmt: on

    async def list_reports(self, request: web.Request) -> web.Response:
        """All reports, the latest first; `?agent=` for one agent's."""
        return await self._list(request, api_queries.list_reports, agent=request.query.get("agent"))

    async def list_agents(self, request: web.Request) -> web.Response:
        """All agents by name."""
        return await self._list(request, api_queries.list_agents, show=self._show_agent)

    async def list_certificates(self, request: web.Request) -> web.Response:
        """All certificates by node and name."""
        return await self._list(request, api_queries.list_certificates, show=show_certificate)

    async def list_incidents(self, request: web.Request) -> web.Response:
        """Incidents, the latest first; `?state=` for some; those that concern the agent, if an agent asks."""
        caller = caller_of(request)
        party = caller.name if caller.role in AGENTS else None
        states = [_state_of(word) for word in request.query.getall("state", [])]
        return await self._list(request, api_queries.list_incidents, party=party, states=states)

    async def show_incident(self, request: web.Request) -> web.Response:
        """One incident with its transitions and the findings that it rests on."""
        caller = caller_of(request)
        found = await self._store.read(api_queries.find_incident, request.match_info["id"])
        if found is None or (caller.role in AGENTS and caller.name not in found.incident.parties()):
            raise _no_such("incident", request.match_info["id"])
        return json_response(show_incident(found))

    async def acknowledge(self, request: web.Request) -> web.Response:
        """Put the operator's name on an open incident."""
        identity = request.match_info["id"]
        incident = await self._store.write(acknowledge_incident, identity, caller_of(request).name)
        if incident is None:
            raise _no_such("incident", identity)
        return json_response(incident)

    async def show_path(self, request: web.Request) -> web.Response:
        """The intended and the actual path of one identifier; of the agent's own identifiers, if an agent asks."""
        caller, identifier = caller_of(request), request.match_info["identifier"].lower()
        may_see = caller.role in READERS or identifier in await self._store.read(find_identifiers, caller.name)
        known = await self._store.read(api_queries.find_path_evidence, identifier)
        if not may_see or known.is_empty():
            raise _no_such("identifier", identifier)
        return json_response(trace_path(identifier, known))

    async def show_survival(self, request: web.Request) -> web.Response:
        """When which certificate expires if none can be renewed from now on."""
        return json_response(survive(await self._store.read(list_lifetimes), self._clock.now()))

    async def rehearse(self, request: web.Request) -> web.Response:
        """Have a token fetched by the agent beside the CA; `?timeout=` bounds the wait in seconds."""
        caller = caller_of(request)
        async with self._intake.bodies.body_of(request, caller.name, LARGEST_DOCUMENT) as body:
            pass
        try:
            wanted = _decode_request(body)
            wait = float(request.query.get("timeout", LONGEST_WAIT_SECONDS))
            if not 0 <= wait < math.inf:
                raise ValueError("timeout: from 0 seconds")
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise HttpProblem(400, "Bad Request", str(error)) from error
        return json_response(await self._broker.rehearse(caller, wanted, wait))

    async def open_link(self, request: web.Request) -> web.WebSocketResponse:
        """The agent link, open until either side ends it; its credential is checked again at each use."""
        caller, credential = caller_of(request), request[credential_key]
        socket = web.WebSocketResponse(
            timeout=CLOSE_SECONDS, heartbeat=ping_seconds_for(caller), max_msg_size=LARGEST_ANSWER, compress=False
        )
        await socket.prepare(request)
        link = AgentLink(caller, socket, lambda: self._access.still_holds(credential, caller))
        await self._store.write(note_agents, {caller.name: caller})
        await self._links.add(link)
        try:
            stale = await self._store.read(api_queries.find_stale_identifiers, caller.name)
            await ask_to_judge_again(self._links, {caller.name: stale})
            await link.listen(self._access.seconds_left(credential))
        finally:
            self._links.remove(link)
        return socket

    async def stream_events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: `incident`, `agent`, `certificate`, each with the changed thing."""
        caller, credential = caller_of(request), request[credential_key]
        response = web.StreamResponse(headers={"Content-Type": _EVENTS, "Cache-Control": "no-store"})
        await response.prepare(request)
        with self._events.watch() as queue:
            message: bytes | None = b"retry: 1000\n\n"
            while message is not None and await self._access.still_holds(credential, caller):
                await response.write(message)
                try:
                    async with asyncio.timeout(_KEEP_ALIVE_SECONDS):
                        message = await queue.get()
                except TimeoutError:
                    message = b": still here\n\n"
        return response

    async def show_metrics(self, request: web.Request) -> web.Response:
        """For Prometheus."""
        body, content_type = await self._metrics.render()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def show_health(self, request: web.Request) -> web.Response:
        """That it answers is all it says."""
        return web.Response(text="ok\n")

    async def show_readiness(self, request: web.Request) -> web.Response:
        """Ready as long as what is due gets written. Answered from memory: nobody waits for the database."""
        if self._store.stalled_for() >= _STALLED_SECONDS:
            detail = f"nothing could be stored for {_STALLED_SECONDS:.0f} s"
            raise HttpProblem(503, "Service Unavailable", detail, headers={"Retry-After": "5"})
        return web.Response(text="ok\n")

    async def show_openapi(self, request: web.Request) -> web.Response:
        """This API, described."""
        return json_response(describe_api(self.routes()))

    async def _list(
        self,
        request: web.Request,
        query: Callable[Concatenate[Connection, str | None, int, ...], Page],
        *,
        show: Callable[[Any], object] = lambda item: item,
        **options: object,
    ) -> web.Response:
        """One page: `?limit=` items, then `next` as `?cursor=`."""
        try:
            limit = int(request.query.get("limit", _DEFAULT_LIMIT))
            if not 1 <= limit <= _LARGEST_LIMIT:
                raise ValueError(f"limit: from 1 to {_LARGEST_LIMIT}")
            page = await self._store.read(query, request.query.get("cursor"), limit, **options)
        except ValueError as error:
            raise HttpProblem(400, "Bad Request", str(error)) from error
        return json_response({"items": [show(item) for item in page.items], "next": page.next})

    def _show_agent(self, agent: KnownAgent) -> AgentView:
        return show_agent(agent, connected=self._links.find(agent.name) is not None)


def _state_of(word: str) -> IncidentState:
    try:
        return IncidentState(word)
    except ValueError as error:
        raise HttpProblem(400, "Bad Request", f"state: {word!r} is none of {', '.join(IncidentState)}") from error


def _no_such(kind: str, name: str) -> HttpProblem:
    return HttpProblem(404, "Not Found", f"there is no {kind} {name!r}, or it is not for you")
