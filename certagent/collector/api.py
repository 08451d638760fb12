"""The HTTP API under /v1: reads, reports, rehearsals, the agents' channel, events. Shapes are in `views`."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from certagent.collector.access import AGENTS, READERS, Access, caller_of, credential_key
from certagent.collector.agent_link import CLOSE_SECONDS, LARGEST_ANSWER, AgentLink, AgentLinks, heartbeat_for
from certagent.collector.events import Events
from certagent.collector.ingest import Intake, read_reports
from certagent.collector.metrics import Metrics
from certagent.collector.openapi import describe_api
from certagent.collector.problems import HttpProblem
from certagent.collector.rehearsals import LONGEST_WAIT_SECONDS, Broker, tell_to_judge_again
from certagent.collector.store import Overloaded, Page, Store, TokenRole
from certagent.collector.views import show_agent, show_certificate, show_evidence, trace_path
from certagent.domain.incidents import IncidentState
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import RehearsalRequest
from certagent.domain.survival import survive

_OPERATOR = TokenRole.OPERATOR
_EVERYBODY = tuple(TokenRole)
_KEEP_ALIVE_SECONDS = 15.0
_DEFAULT_LIMIT, _LARGEST_LIMIT = 100, 1_000

encode = msgspec.json.Encoder().encode
_decode_request = msgspec.json.Decoder(RehearsalRequest).decode


class Api:
    """The handlers; what they need is handed in by `app`."""

    def __init__(
        self,
        store: Store,
        access: Access,
        channels: AgentLinks,
        broker: Broker,
        events: Events,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._store = store
        self._access = access
        self._channels = channels
        self._broker = broker
        self._events = events
        self._metrics = metrics
        self._clock = clock
        self._intake = Intake()

    def routes(self) -> list[web.RouteDef]:
        """Method, path, handler: the contract of DESIGN, section 7."""
        return [
            web.post("/v1/reports", self.post_reports),
            web.get("/v1/reports", self.list_reports),
            web.get("/v1/agents", self.list_agents),
            web.get("/v1/certificates", self.list_certificates),
            web.get("/v1/incidents", self.list_incidents),
            web.get("/v1/incidents/{id}", self.show_incident),
            web.post("/v1/incidents/{id}/ack", self.acknowledge),
            web.get("/v1/paths/{identifier}", self.show_path),
            web.get("/v1/survival", self.show_survival),
            web.post("/v1/rehearsals", self.rehearse),
            web.get("/v1/channel", self.open_channel),
            web.get("/v1/events", self.stream_events),
            web.get("/metrics", self.show_metrics),
            web.get("/healthz", self.show_health),
            web.get("/readyz", self.show_health),
            web.get("/openapi.json", self.show_openapi),
        ]

    async def post_reports(self, request: web.Request) -> web.Response:
        """Reports of the agent itself; answered once they are on disk."""
        caller = caller_of(request, *AGENTS)
        async with self._intake.body_of(request, caller.name) as body:
            if not body:
                raise HttpProblem(400, "Bad Request", "there is no report")
            reports, refused = read_reports(body, caller.name)
            try:
                answer = await self._store.accept(caller, reports)
            except Overloaded:
                retry = {"Retry-After": "1"}
                raise HttpProblem(429, "Too Many Requests", "too much waits to be written", headers=retry) from None
        self._metrics.count_reports(answer.accepted, answer.duplicates, len(refused))
        if answer.accepted:
            self._metrics.count_verdicts(reports)
        counts = msgspec.structs.asdict(answer)
        if refused:
            raise HttpProblem(422, "Unprocessable Content", f"{len(refused)} refused", **counts, refused=refused)
        return _json(counts)

    async def list_reports(self, request: web.Request) -> web.Response:
        """All reports, the latest first; `?agent=` for one agent's."""
        caller_of(request, *READERS)
        agent = request.query.get("agent")
        return await _list(request, lambda after, limit: self._store.reports(after, limit, agent=agent))

    async def list_agents(self, request: web.Request) -> web.Response:
        """All agents by name."""
        caller_of(request, *READERS)
        connected = self._channels.names()
        return await _list(
            request, self._store.agents, lambda agent: show_agent(agent, connected=agent.name in connected)
        )

    async def list_certificates(self, request: web.Request) -> web.Response:
        """All certificates by node and name."""
        caller_of(request, *READERS)
        return await _list(request, self._store.certificates, show_certificate)

    async def list_incidents(self, request: web.Request) -> web.Response:
        """Incidents, the latest first; `?state=` for some; an agent's own, if an agent asks."""
        caller = caller_of(request, *_EVERYBODY)
        party = caller.name if caller.role in AGENTS else None
        states = [_state_of(word) for word in request.query.getall("state", [])]
        return await _list(
            request, lambda after, limit: self._store.incidents(after, limit, party=party, states=states)
        )

    async def show_incident(self, request: web.Request) -> web.Response:
        """One incident with its transitions and the findings that speak for it."""
        caller = caller_of(request, *_EVERYBODY)
        found = await self._store.incident(request.match_info["id"])
        if found is None or (caller.role in AGENTS and caller.name not in found[0].parties()):
            raise _no_such("incident", request.match_info["id"])
        incident, history, sightings = found
        extra = {"transitions": history, "findings": show_evidence(sightings)}
        return _json(msgspec.structs.asdict(incident) | extra)

    async def acknowledge(self, request: web.Request) -> web.Response:
        """Put the operator's name on an open incident."""
        caller = caller_of(request, _OPERATOR)
        incident = await self._store.acknowledge(request.match_info["id"], caller.name)
        if incident is None:
            raise _no_such("incident", request.match_info["id"])
        return _json(incident)

    async def show_path(self, request: web.Request) -> web.Response:
        """The intended and the actual path of one identifier; an agent's own, if an agent asks."""
        caller = caller_of(request, *_EVERYBODY)
        identifier = request.match_info["identifier"].lower()
        own = caller.role in READERS or identifier in await self._store.identifiers_of(caller.name)
        known, sightings, fleet = await self._store.path_facts(identifier)
        if not own or (known is None and not sightings and not fleet.victims):
            raise _no_such("identifier", identifier)
        return _json(trace_path(identifier, known, sightings, fleet))

    async def show_survival(self, request: web.Request) -> web.Response:
        """When which certificate dies if none can be renewed from now on."""
        caller_of(request, *READERS)
        return _json(survive(await self._store.lives(), self._clock.now()))

    async def rehearse(self, request: web.Request) -> web.Response:
        """Have a token fetched by the agent beside the CA; `?timeout=` bounds the wait in seconds."""
        caller = caller_of(request, *AGENTS, _OPERATOR)
        try:
            asked = _decode_request(await request.read())
            wait = float(request.query.get("timeout", LONGEST_WAIT_SECONDS))
            if not 0 <= wait < math.inf:
                raise ValueError("timeout: from 0 seconds")
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise HttpProblem(400, "Bad Request", str(error)) from error
        return _json(await self._broker.rehearse(caller, asked, wait))

    async def open_channel(self, request: web.Request) -> web.WebSocketResponse:
        """The agent's own channel, open until either side ends it; checked again at each use."""
        caller = caller_of(request, *AGENTS)
        heartbeat = heartbeat_for(caller)
        socket = web.WebSocketResponse(
            timeout=CLOSE_SECONDS, heartbeat=heartbeat, max_msg_size=LARGEST_ANSWER, compress=False
        )
        await socket.prepare(request)
        credential = request[credential_key]
        channel = AgentLink(caller, socket, lambda: self._access.still_holds(credential, caller))
        await self._store.greet(caller)
        await self._channels.admit(channel)
        try:
            stale = await self._store.stale_identifiers_of(caller.name)
            await tell_to_judge_again(self._channels, {caller.name: stale})
            await channel.listen(self._access.seconds_left(credential))
        finally:
            self._channels.dismiss(channel)
        return socket

    async def stream_events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: `incident`, `agent`, `certificate`, each with the changed thing."""
        caller, credential = caller_of(request, *READERS), request[credential_key]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
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
        caller_of(request, *READERS)
        body, content_type = await self._metrics.render()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def show_health(self, _: web.Request) -> web.Response:
        """That it answers is all it says."""
        return web.Response(text="ok\n")

    async def show_openapi(self, request: web.Request) -> web.Response:
        """This API, described."""
        caller_of(request, *_EVERYBODY)
        return _json(describe_api())


def _json(value: object) -> web.Response:
    return web.Response(body=encode(value), content_type="application/json")


def _state_of(word: str) -> IncidentState:
    try:
        return IncidentState(word)
    except ValueError as error:
        raise HttpProblem(400, "Bad Request", f"state: {word!r} is none of {', '.join(IncidentState)}") from error


def _no_such(kind: str, name: str) -> HttpProblem:
    return HttpProblem(404, "Not Found", f"there is no {kind} {name!r}, or it is not for you")


async def _list(request: web.Request, read: Any, show: Callable[[Any], object] = lambda item: item) -> web.Response:
    """One page: `?limit=` items, then `next` as `?cursor=`."""
    try:
        limit = int(request.query.get("limit", _DEFAULT_LIMIT))
        if not 1 <= limit <= _LARGEST_LIMIT:
            raise ValueError(f"limit: from 1 to {_LARGEST_LIMIT}")
        page: Page = await read(request.query.get("cursor"), limit)
    except ValueError as error:
        raise HttpProblem(400, "Bad Request", str(error)) from error
    return _json({"items": [show(item) for item in page.items], "next": page.next})
