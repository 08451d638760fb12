"""The HTTP API: its route table, and the handlers but for reports, which come in by `intake`. Shapes are in `views`."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, TypeVar

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
    author_of,
    caller_of,
    credential_key,
    encode,
    json_response,
)
from certagent.collector.agent_link import (
    CLOSE_SECONDS,
    LARGEST_ANSWER,
    AgentLink,
    ask_to_judge_again,
    ping_seconds_for,
)
from certagent.collector.bodies import LARGEST_DOCUMENT
from certagent.collector.dispatch import EventStream
from certagent.collector.intake import Intake
from certagent.collector.metrics import Metrics
from certagent.collector.openapi import describe_api
from certagent.collector.records import Acceptance, AuditAction, AuditEntry, KnownAgent, Page, TokenRole
from certagent.collector.rehearsal_broker import LONGEST_WAIT_SECONDS, RehearsalBroker
from certagent.collector.sql import api_queries
from certagent.collector.sql.audit_queries import acknowledge, list_audit
from certagent.collector.sql.claim_queries import is_holder
from certagent.collector.sql.ingest import note_agents
from certagent.collector.sql.page_queries import list_managed
from certagent.collector.store import Store
from certagent.collector.views import (
    AgentView,
    CertificateView,
    IncidentView,
    NodeRoots,
    show_agent,
    show_certificate,
    show_incident,
    show_roots,
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
_BEAT_SECONDS = 2.0
_DEFAULT_LIMIT, _LARGEST_LIMIT = 100, 1_000
_STALLED_SECONDS = 10.0
_DISCONNECT_SECONDS = 0.1  # between two looks whether a client still waits; nothing tells a handler

_TEXT, _EVENTS = "text/plain", "text/event-stream"
_PAGING = {"cursor": {"type": "string"}, "limit": {"type": "integer", "minimum": 1, "maximum": _LARGEST_LIMIT}}
_AGENT = {"agent": {"type": "string"}}
_STATES = {"state": {"type": "array", "items": {"enum": [str(state) for state in IncidentState]}}}
_AUDIT = {"action": {"enum": [str(action) for action in AuditAction]}, "who": {"type": "string"}}
_TIMEOUT = {"timeout": {"type": "number", "minimum": 0}}

Result = TypeVar("Result")

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
        """The route table: the API's contract, which /openapi.json shows."""
        # fmt: off
        return (
            Route("POST", "/v1/reports", self._intake.post_reports, AGENTS,
                  "Post the agent's own reports", body=list[Report], answer=Acceptance),
            Route("GET", "/v1/reports", self.list_reports, READERS,
                  "Reports, latest first", answer=Listing(Report), query=_PAGING | _AGENT),
            Route("GET", "/v1/agents", self.list_agents, READERS,
                  "Agents by name", answer=Listing(AgentView), query=_PAGING),
            Route("GET", "/v1/roots", self.list_roots, READERS | {TokenRole.AUTHORITY},
                  "Which of the CA's roots each node trusts", answer=Listing(NodeRoots), query=_PAGING),
            Route("GET", "/v1/certificates", self.list_certificates, READERS,
                  "Certificates by node and name", answer=Listing(CertificateView), query=_PAGING),
            Route("GET", "/v1/incidents", self.list_incidents, _EVERYBODY,
                  "Incidents, latest first", answer=Listing(Incident), query=_PAGING | _STATES),
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
            Route("GET", "/v1/audit", self.list_audit, _OPERATORS,
                  "Audit log of users and tokens, latest first", answer=Listing(AuditEntry), query=_PAGING | _AUDIT),
            Route("GET", "/v1/events", self.stream_events, READERS,
                  "Server-sent events: incident, agent, certificate, beat", answer=_EVENTS),
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

    async def list_roots(self, request: web.Request) -> web.Response:
        """Which of the CA's roots each node trusts; for the agent beside the CA, too, where they are changed."""
        return await self._list(request, api_queries.list_agents, show=show_roots)

    async def list_certificates(self, request: web.Request) -> web.Response:
        """All certificates by node and name."""
        return await self._list(request, api_queries.list_certificates, show=show_certificate)

    async def list_incidents(self, request: web.Request) -> web.Response:
        """Incidents, latest first; `?state=` for some; those that concern the agent, if an agent asks."""
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
        incident = await self._store.write(acknowledge, identity, author_of(request))
        if incident is None:
            raise _no_such("incident", identity)
        return json_response(incident)

    async def list_audit(self, request: web.Request) -> web.Response:
        """Audit log: what users and tokens did, latest first; `?action=` and `?who=` for some."""
        action, who = request.query.get("action"), request.query.get("who")
        if action is not None and action not in set(AuditAction):
            raise HttpProblem(400, "Bad Request", f"action: {action[:64]!r} is not one of {', '.join(AuditAction)}")
        return await self._list(request, list_audit, action=action, who=who)

    async def show_path(self, request: web.Request) -> web.Response:
        """The intended and the actual path of one identifier; of the agent's own identifiers, if an agent asks."""
        caller, identifier = caller_of(request), request.match_info["identifier"].lower()
        may_see = caller.role in READERS or await self._store.read(is_holder, caller.name, identifier)
        known = await self._store.read(api_queries.find_path_evidence, identifier)
        if not may_see or known.is_empty():
            raise _no_such("identifier", identifier)
        return json_response(trace_path(identifier, known))

    async def show_survival(self, request: web.Request) -> web.Response:
        """When which certificate expires if none can be renewed from now on, of those that certagent renews."""
        managed, _ = await self._store.read(list_managed)
        return json_response(survive((one.life for one in managed), self._clock.now()))

    async def rehearse(self, request: web.Request) -> web.Response:
        """Have a token fetched by the agent beside the CA; `?timeout=` bounds the wait in seconds. It ends when the
        caller disconnects."""
        caller = caller_of(request)
        await self._intake.admission.admit(request)
        async with self._intake.bodies.body_of(request, caller.name, LARGEST_DOCUMENT) as body:
            pass
        try:
            wanted = _decode_request(body)
            if not f"{wanted.identifier}{wanted.challenge}".isprintable():
                raise ValueError("identifier, challenge: not printable")
            wait = float(request.query.get("timeout", LONGEST_WAIT_SECONDS))
            if not 0 <= wait < math.inf:
                raise ValueError("timeout: from 0 seconds")
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise HttpProblem(400, "Bad Request", str(error)) from error
        return json_response(await _while_connected(request, self._broker.rehearse(caller, wanted, wait)))

    async def open_link(self, request: web.Request) -> web.WebSocketResponse:
        """The agent link, open until either side ends it; its credential is checked again at each use."""
        caller, credential = caller_of(request), request[credential_key]
        async with self._intake.admission.admit_link(request) as voice:
            socket = web.WebSocketResponse(
                timeout=CLOSE_SECONDS, heartbeat=ping_seconds_for(caller), max_msg_size=LARGEST_ANSWER, compress=False
            )
            await socket.prepare(request)
            socket.headers.clear()  # they are sent, and would stay as long as the link
            link = AgentLink(caller, socket, lambda: self._access.still_holds(credential, caller), voice)
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
        """Server-sent events: `incident`, `agent`, `certificate`, each with the changed thing; every two seconds a
        `beat` with how many seconds ago the collector last looked at the whole fleet."""
        caller, credential = caller_of(request), request[credential_key]
        loop = asyncio.get_running_loop()
        response = web.StreamResponse(headers={"Content-Type": _EVENTS, "Cache-Control": "no-store"})
        await response.prepare(request)
        with self._events.watch() as queue:
            message: bytes | None = b"retry: 1000\n\n" + self._beat()
            beat_at = loop.time() + _BEAT_SECONDS
            while message is not None and await self._access.still_holds(credential, caller):
                await response.write(message)
                try:
                    async with asyncio.timeout_at(beat_at):
                        message = await queue.get()
                except TimeoutError:
                    message, beat_at = self._beat(), loop.time() + _BEAT_SECONDS
        return response

    def _beat(self) -> bytes:
        last = self._events.last_round_at
        seconds = None if last is None else round((self._clock.now() - last).total_seconds(), 1)
        return b"event: beat\ndata: %b\n\n" % encode({"round_seconds": seconds})

    async def show_metrics(self, request: web.Request) -> web.Response:
        """For Prometheus."""
        body, content_type = await self._metrics.render()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def show_health(self, request: web.Request) -> web.Response:
        """That it answers is all it says."""
        return web.Response(text="ok\n")

    async def show_readiness(self, request: web.Request) -> web.Response:
        """Ready as long as what is due gets written and other collectors, where there may be some, are heard; 404 while
        it leaves its work to them. Answered from memory: nobody waits for the database."""
        if self._links.is_draining:
            raise HttpProblem(404, "Not Found", "this collector is shutting down")
        complaint = self._complaint()
        if complaint is not None:
            raise HttpProblem(503, "Service Unavailable", complaint, headers={"Retry-After": "5"})
        peers = self._broker.peers
        note = peers.duty.complaint if peers is not None else None
        return web.Response(text="ok\n" if note is None else f"ok\n{note}\n")

    def _complaint(self) -> str | None:
        if self._store.stalled_for() >= _STALLED_SECONDS:
            return f"nothing could be stored for {_STALLED_SECONDS:.0f} s"
        peers = self._broker.peers
        if peers is not None and peers.deaf_for() >= _STALLED_SECONDS:
            return f"no contact with the other collectors for {_STALLED_SECONDS:.0f} s"
        return peers.schema_complaint if peers is not None else None

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
        return show_agent(agent, connected=self._links.is_connected(agent.name))


async def _while_connected(request: web.Request, answer: Coroutine[Any, Any, Result]) -> Result:
    """The answer; cancelled soon after the client that waits for it disconnected."""
    asked = asyncio.ensure_future(answer)
    try:
        while not asked.done():
            await asyncio.wait((asked,), timeout=_DISCONNECT_SECONDS)
            if request.transport is None or request.transport.is_closing():
                break
    finally:
        asked.cancel()
        await asyncio.wait((asked,))
    if asked.cancelled():
        raise ConnectionResetError("the client disconnected")
    return asked.result()


def _state_of(word: str) -> IncidentState:
    try:
        return IncidentState(word)
    except ValueError as error:
        raise HttpProblem(400, "Bad Request", f"state: {word!r} is not one of {', '.join(IncidentState)}") from error


def _no_such(kind: str, name: str) -> HttpProblem:
    return HttpProblem(404, "Not Found", f"there is no {kind} {name!r}, or you may not see it")
