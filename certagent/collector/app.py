"""The collector's wiring and life: from start to signal, where it listens, and with which certificate."""

import asyncio
import gc
import logging
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import cast
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from certagent.collector.access import Access, answer_problems
from certagent.collector.admission import Admission
from certagent.collector.agent_link import AgentLinks
from certagent.collector.api import Api
from certagent.collector.bodies import LARGEST_BODY, Bodies
from certagent.collector.broken_requests import BrokenRequests
from certagent.collector.connections import Connections
from certagent.collector.dashboard import (
    CodePages,
    Dashboard,
    FirstCommands,
    HistoryPages,
    ListPages,
    Login,
    PageFrame,
    Renderer,
)
from certagent.collector.dispatch import AlertSender, ChangeDispatcher, EventStream
from certagent.collector.dispute_review import DisputeReview
from certagent.collector.enrolments import Enrolments
from certagent.collector.host_names import HostNames
from certagent.collector.housekeeping import Heartbeat, Housekeeping
from certagent.collector.intake import Intake
from certagent.collector.link_shares import LinkShares
from certagent.collector.listener import ConnectionListener, Introductions
from certagent.collector.metrics import Metrics
from certagent.collector.notifiers import NOTIFIERS
from certagent.collector.peers import Peers
from certagent.collector.provisioning_sources import ProvisioningSources
from certagent.collector.records import Overloaded, StoreFailed
from certagent.collector.rehearsal_broker import RehearsalBroker
from certagent.collector.rounds import RoundDuty, policy_digest
from certagent.collector.server_certificate import ServerCertificate
from certagent.collector.sql.audit_queries import append_policy
from certagent.collector.sql.leases import DatabaseClock
from certagent.collector.sql.ready_connection import ReadyConnection
from certagent.collector.store import Store, open_store
from certagent.config import CollectorSettings, split_endpoint
from certagent.config.policy_files import load_policy
from certagent.config.store_url import is_postgresql
from certagent.domain import catalogue
from certagent.domain.policy import Alerting, Policy, policy_differences
from certagent.domain.ports import Clock
from certagent.system.systemd import feed_watchdog, notify

log = logging.getLogger(__name__)

_BACKLOG = 4_096
_SHUTDOWN_SECONDS = 5.0
_IDLE_SECONDS = 1.0  # of a connection without a request, of 40 KiB each: an agent needs none beside its link
_LINGER_SECONDS = 2.0  # what is left of a refused body is read for no longer
_READ_AHEAD = 64 * 1024  # bytes of a body that nobody has asked for yet
_DRAIN_SECONDS = 4.0  # in which a balancer sees that it stops
_SPREAD_SECONDS = 4.0  # over which its links are closed


class ListenFailed(Exception):
    """The collector's address cannot be listened on; the message is a sentence."""


async def run(settings: CollectorSettings, policy: Policy, clock: Clock) -> None:
    """Collect until SIGTERM or SIGINT. SIGHUP loads the certificate again. Raises `ListenFailed`, in a group."""
    catalogue.load()
    if is_postgresql(settings.store.url):
        clock = DatabaseClock(clock)
    gc.freeze()  # what is there by now stays
    server = Server(settings, clock)
    logging.getLogger("aiohttp.server").addFilter(server.broken.take_record)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, server.reload)
    alerting = Alerting(
        channels=tuple(channel.name for channel in settings.channel),
        rules=policy.alerts,
        flapping_hold=policy.collector.flapping_hold,
    )
    async with (
        open_store(settings.store.url, alerting, clock) as store,
        aiohttp.ClientSession() as session,
        _running(settings, policy, store, session, server, clock) as handover,
    ):
        await _note_policy(store, _name_of(settings), policy)
        notify("READY=1")
        await stopping.wait()
        notify("STOPPING=1")
        await handover.complete()


async def _note_policy(store: Store, name: str, policy: Policy) -> None:
    """In the audit. A store that takes nothing now does not keep the collector from its work."""
    changed = policy_differences(policy, load_policy(None))
    try:
        await store.write(append_policy, name, policy_digest(policy), changed)
    except (StoreFailed, Overloaded) as error:
        log.warning("the policy in force could not be recorded in the audit log: %s", error)


@asynccontextmanager
async def _running(
    settings: CollectorSettings,
    policy: Policy,
    store: Store,
    session: aiohttp.ClientSession,
    server: "Server",
    clock: Clock,
) -> AsyncIterator["Handover"]:
    """Everything that runs on the store; at the end each task is cancelled and waited for."""
    access = Access(store, clock, server.names)
    links = AgentLinks()
    events = EventStream()
    senders = [
        AlertSender(
            section.name, NOTIFIERS[section.kind](section, session), store, clock, _url_of(settings), policy.collector
        )
        for section in settings.channel
    ]
    dispatcher = ChangeDispatcher(store, links, events, senders)
    url = settings.store.url
    duty = RoundDuty(store, _name_of(settings), policy_digest(policy), clock)
    line = ReadyConnection(url) if is_postgresql(url) else None
    peers = Peers(url, store, links, dispatcher, duty, clock, line) if line is not None else None
    pulse, every = settings.heartbeat, policy.collector.heartbeat_every
    heartbeat = Heartbeat(pulse, session, every) if pulse is not None else None
    admission = Admission(store, access, links, clock)
    housekeeping = Housekeeping(store, events, admission, policy, duty, clock, heartbeat)
    sources = (
        ProvisioningSources(settings.sources.path, store, policy, clock, duty) if settings.sources is not None else None
    )
    metrics = Metrics(store, links, clock)
    for metric in (server.broken.metric, duty.metric, *([sources.metric] if sources is not None else [])):
        metrics.registry.register(metric)
    bodies = Bodies()
    intake = Intake(store, bodies, admission, metrics.registry, clock)
    api = Api(store, access, intake, RehearsalBroker(store, links, peers, clock), events, metrics, clock)
    renderer = Renderer(clock)
    frame = PageFrame(store, events, renderer, clock)
    pages = Dashboard(store, links, frame, bodies, renderer, clock, _first_commands(settings))
    login = Login(store, access, bodies, renderer, clock, line)
    enrolments = Enrolments(store, bodies, clock)
    middlewares = [server.connections.middleware(), answer_problems, access.middleware(), frame.middleware()]
    application = web.Application(middlewares=middlewares, client_max_size=LARGEST_BODY)
    lists, codes = ListPages(store, links, frame, clock), CodePages(frame)
    served = (api, pages, lists, codes, HistoryPages(store, frame, clock), login, enrolments)
    access.serve(application, [route for part in served for route in part.routes()])
    async with line or nullcontext(), asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(server.run(application, links, events), name="server"),
            tasks.create_task(dispatcher.run(), name="change dispatcher"),
            tasks.create_task(housekeeping.run(), name="housekeeping"),
            tasks.create_task(DisputeReview(store, links, clock).run(), name="disputed identifiers"),
            tasks.create_task(feed_watchdog(clock), name="watchdog"),
            *([tasks.create_task(peers.run(), name="other collectors")] if peers is not None else []),
            *([tasks.create_task(LinkShares(store, links, clock).run(), name="shares of links")] if peers else []),
            *([tasks.create_task(sources.run(), name="provisioning code")] if sources is not None else []),
            *(tasks.create_task(sender.run(), name=f"alerts to {sender.channel}") for sender in senders),
        ]
        try:
            yield Handover(links, peers)
        finally:
            for task in running:
                task.cancel()


class Handover:
    """How a collector ends: others take over what it has, where there are others."""

    def __init__(self, links: AgentLinks, peers: Peers | None) -> None:
        self._links = links
        self._peers = peers

    async def complete(self) -> None:
        """Return once nobody needs this collector; at once when it is the only one."""
        if self._peers is not None and self._peers.others():
            log.info("the other collectors take over")
            await self._links.drain(_DRAIN_SECONDS, _SPREAD_SECONDS)


class Server:
    """Where the collector listens, with which certificate, and the names that it answers to."""

    def __init__(self, settings: CollectorSettings, clock: Clock) -> None:
        section = settings.server
        self.names = HostNames(_names_of(settings))
        self.connections = Connections(clock)
        self.broken = BrokenRequests(clock)
        self._listen = section.listen
        self._balancers = section.proxy_protocol_from
        self._certificate: ServerCertificate | None = None
        if section.certificate is not None and section.key is not None:
            pair = (section.certificate, section.key)
            self._certificate = ServerCertificate(pair, clock, self.names, section.client_root)
            self.broken.watch_handshakes(self._certificate.context)

    def reload(self) -> None:
        """Load the certificate again, changed or not."""
        if self._certificate is not None:
            self._certificate.reload(always=True)

    async def run(self, application: web.Application, links: AgentLinks, events: EventStream) -> None:
        """Wait for the certificate, listen, and follow the certificate's changes until cancelled."""
        if self._certificate is not None:
            await self._certificate.wait()
        runner = web.AppRunner(
            application,
            access_log=None,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            keepalive_timeout=_IDLE_SECONDS,
            lingering_time=_LINGER_SECONDS,
            read_bufsize=_READ_AHEAD,
            auto_decompress=False,
        )
        await runner.setup()
        accept = cast("web.Server", runner.server)
        self.broken.guard(accept)
        listener: ConnectionListener | None = None
        try:
            listener = await self._start(accept)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.connections.run(accept), name="end silent connections")
                tasks.create_task(self.broken.run(), name="report broken requests")
                if self._certificate is not None:
                    tasks.create_task(self._certificate.follow(), name="follow the certificate")
                await asyncio.Event().wait()
        finally:
            if listener is not None:
                listener.close()
            events.close()
            await links.close()
            await runner.cleanup()

    async def _start(self, accept: web.Server) -> ConnectionListener:
        listener = ConnectionListener(
            accept, self._context, self._introductions(), lambda: self.connections.bound(accept)
        )
        try:
            await listener.listen(*split_endpoint(self._listen), _BACKLOG)
        except OSError as error:
            reason = f"the collector cannot listen on {self._listen}: {(error.strerror or str(error)).lower()}"
            raise ListenFailed(reason) from error
        log.info("listening on %s", self._listen)
        return listener

    def _introductions(self) -> Introductions | None:
        if not self._balancers:
            return None
        from certagent.collector.proxy_protocol import Balancers  # for whoever has a balancer

        return Balancers(self._balancers, self.broken)

    @property
    def _context(self) -> ssl.SSLContext | None:
        return self._certificate.context if self._certificate is not None else None


def _url_of(settings: CollectorSettings) -> str:
    scheme = "https" if settings.server.certificate is not None else "http"
    return settings.url or f"{scheme}://{settings.server.listen}"


def _name_of(settings: CollectorSettings) -> str:
    """This collector's name among several."""
    return (settings.server.name or socket.gethostname())[:128]


def _first_commands(settings: CollectorSettings) -> FirstCommands:
    can_enrol = settings.server.certificate is not None
    return FirstCommands(node=socket.gethostname(), has_url=settings.url is not None, can_enrol=can_enrol)


def _names_of(settings: CollectorSettings) -> frozenset[str]:
    """The host names that the configuration names."""
    configured = (urlsplit(_url_of(settings)).hostname, split_endpoint(settings.server.listen)[0])
    return frozenset(name for name in configured if name)
