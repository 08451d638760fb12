"""The collector's wiring and life: from start to signal, where it listens, and with which certificate."""

import asyncio
import gc
import logging
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from certagent.collector.access import Access, HostNames, answer_problems
from certagent.collector.agent_link import AgentLinks, RehearsalBroker
from certagent.collector.api import Api
from certagent.collector.bodies import LARGEST_BODY, Bodies
from certagent.collector.connections import HANDSHAKE_SECONDS, Connections
from certagent.collector.dashboard import Dashboard, Login, Renderer
from certagent.collector.dispatch import AlertSender, ChangeDispatcher, EventStream
from certagent.collector.housekeeping import Heartbeat, Housekeeping
from certagent.collector.intake import Intake
from certagent.collector.metrics import Metrics
from certagent.collector.notifiers import NOTIFIERS
from certagent.collector.store import Store, open_store
from certagent.config import CollectorSettings, split_endpoint
from certagent.domain import catalogue
from certagent.domain.certificates import read_leaf
from certagent.domain.policy import Alerting, Policy
from certagent.domain.ports import Clock
from certagent.system.systemd import feed_watchdog, notify

log = logging.getLogger(__name__)

_BACKLOG = 4_096
_SHUTDOWN_SECONDS = 5.0
_IDLE_SECONDS = 1.0  # of a connection without a request, of 40 KiB each: an agent needs none beside its link
_LINGER_SECONDS = 2.0  # what is left of a refused body is read for no longer
_READ_AHEAD = 64 * 1024  # bytes of a body that nobody has asked for yet
_WAIT_SECONDS = 0.2
_CHECK_SECONDS = 1.0

_Stamp = tuple[int, ...]


class ListenFailed(Exception):
    """The collector's address cannot be listened on; the message is a sentence."""


async def run(settings: CollectorSettings, policy: Policy, clock: Clock) -> None:
    """Collect until SIGTERM or SIGINT. SIGHUP loads the certificate again. Raises `ListenFailed`, in a group."""
    logging.getLogger("aiohttp.server").addFilter(shorten_disconnects)
    catalogue.load()
    gc.freeze()  # what is there by now stays
    server = Server(settings, clock)
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
        _running(settings, policy, store, session, server, clock),
    ):
        notify("READY=1")
        await stopping.wait()
        notify("STOPPING=1")


@asynccontextmanager
async def _running(
    settings: CollectorSettings,
    policy: Policy,
    store: Store,
    session: aiohttp.ClientSession,
    server: "Server",
    clock: Clock,
) -> AsyncIterator[None]:
    """Everything that runs on the store; at the end each task is cancelled and waited for."""
    access = Access(store, clock, server.names)
    links = AgentLinks()
    events = EventStream()
    senders = [
        AlertSender(section.name, NOTIFIERS[section.kind](section, session), store, clock, _url_of(settings))
        for section in settings.channel
    ]
    dispatcher = ChangeDispatcher(store, links, events, senders)
    pulse, every = settings.heartbeat, policy.collector.heartbeat_every
    heartbeat = Heartbeat(pulse, session, every) if pulse is not None else None
    housekeeping = Housekeeping(store, links, policy, clock, heartbeat)
    metrics = Metrics(store, links, clock)
    bodies = Bodies()
    intake = Intake(store, bodies, metrics.registry)
    api = Api(store, access, intake, RehearsalBroker(store, links, clock), events, metrics, clock)
    renderer = Renderer(clock)
    pages = Dashboard(store, links, bodies, renderer, clock)
    login = Login(store, access, bodies, renderer, clock)
    middlewares = [server.connections.middleware(), answer_problems, access.middleware()]
    application = web.Application(middlewares=middlewares, client_max_size=LARGEST_BODY)
    access.serve(application, (*api.routes(), *pages.routes(), *login.routes()))
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(server.run(application, links, events), name="server"),
            tasks.create_task(dispatcher.run(), name="change dispatcher"),
            tasks.create_task(housekeeping.run(), name="housekeeping"),
            tasks.create_task(feed_watchdog(clock), name="watchdog"),
            *(tasks.create_task(sender.run(), name=f"alerts to {sender.channel}") for sender in senders),
        ]
        try:
            yield
        finally:
            for task in running:
                task.cancel()


class Server:
    """Where the collector listens, with which certificate, and the names that it answers to."""

    def __init__(self, settings: CollectorSettings, clock: Clock) -> None:
        section = settings.server
        self.names = HostNames(_names_of(settings))
        self.connections = Connections(clock)
        self._listen = section.listen
        self._certificate: ServerCertificate | None = None
        if section.certificate is not None and section.key is not None:
            pair = (section.certificate, section.key)
            self._certificate = ServerCertificate(pair, clock, self.names, section.client_root)

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
        listener: asyncio.Server | None = None
        try:
            listener = await self._start(accept)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.connections.run(accept), name="end silent connections")
                if self._certificate is not None:
                    tasks.create_task(self._certificate.follow(), name="follow the certificate")
                await asyncio.Event().wait()
        finally:
            if listener is not None:
                listener.close()
            events.close()
            await links.close()
            await runner.cleanup()

    async def _start(self, accept: web.Server) -> asyncio.Server:
        host, port = split_endpoint(self._listen)
        context = self._certificate.context if self._certificate is not None else None
        try:
            listener = await asyncio.get_running_loop().create_server(
                accept,
                host,
                port,
                ssl=context,
                backlog=_BACKLOG,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if context is not None else None,
            )
        except OSError as error:
            reason = f"the collector cannot listen on {self._listen}: {error.strerror or error}"
            raise ListenFailed(reason) from error
        log.info("listening on %s", self._listen)
        return listener


class ServerCertificate:
    """A certificate chain and its key on disk: waited for, loaded, loaded again when they change; never written.

    `context` always serves the newest good pair. A client may show a certificate; one that `client_root` does not
    vouch for ends the handshake.
    """

    def __init__(self, pair: tuple[Path, Path], clock: Clock, names: HostNames, client_root: Path | None) -> None:
        self._certificate, self._key = pair
        self._clock = clock
        self._names = names
        self._client_root = client_root
        self._stamp: _Stamp | None = None
        self._current: ssl.SSLContext | None = None
        self.context = self._new_context()
        self.context.sni_callback = self._switch

    async def wait(self) -> None:
        """Return once there is a usable pair, logging once what is missing."""
        logged = None
        while (complaint := self._load()) is not None:
            if complaint != logged:
                log.warning("nothing is served yet: %s", complaint)
                logged = complaint
            await self._clock.sleep(_WAIT_SECONDS)

    async def follow(self) -> None:
        """Load the pair again whenever its files change, for ever. A bad pair changes nothing."""
        while True:
            await self._clock.sleep(_CHECK_SECONDS)
            self.reload()

    def reload(self, *, always: bool = False) -> None:
        """Load the pair again if its files changed."""
        stamp = self._stamp_now()
        if stamp is None or (stamp == self._stamp and not always):
            return
        complaint = self._load()
        if complaint is None:
            log.info("serving the certificate of %s", ", ".join(sorted(self._names.served)))
        else:
            self._stamp = stamp
            log.warning("still serving the earlier certificate: %s", complaint)

    def _load(self) -> str | None:
        """Take the pair on disk; why not, if it is not usable."""
        stamp = self._stamp_now()
        if stamp is None:
            return f"{self._certificate} or {self._key} is not there"
        try:
            context = self._new_context()
            context.load_cert_chain(self._certificate, self._key, password="")  # never ask on a terminal
            names = frozenset(read_leaf(self._certificate.read_bytes()).identifiers)
        except (OSError, ValueError) as error:
            return f"{self._certificate} and {self._key}: {error}"
        if self._current is None:
            self.context.load_cert_chain(self._certificate, self._key, password="")  # never ask on a terminal
        self._names.served, self._current, self._stamp = names, context, stamp
        return None

    def _switch(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if self._current is not None:
            connection.context = self._current

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.num_tickets = 0  # a resumed session would go on with the certificate of then
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        if self._client_root is not None:
            context.verify_mode = ssl.CERT_OPTIONAL  # a client without a certificate has a token
            context.load_verify_locations(self._client_root)
        return context

    def _stamp_now(self) -> _Stamp | None:
        try:
            stats = [path.stat() for path in (self._certificate, self._key)]
        except OSError:
            return None
        return tuple(value for stat in stats for value in (stat.st_ino, stat.st_size, stat.st_mtime_ns))


def shorten_disconnects(record: logging.LogRecord) -> bool:
    """A filter for the server's log: a client that sends no HTTP, or disconnects, gets one line, without any part of
    what it sent: that may hold a token."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError | ConnectionError):
        reason = "not HTTP" if isinstance(error, HttpProcessingError) else "the client disconnected"
        record.msg, record.exc_info, record.levelno, record.levelname = f"{record.msg}: {reason}", None, 20, "INFO"
    return True


def _url_of(settings: CollectorSettings) -> str:
    scheme = "https" if settings.server.certificate is not None else "http"
    return settings.url or f"{scheme}://{settings.server.listen}"


def _names_of(settings: CollectorSettings) -> frozenset[str]:
    """The host names that the configuration names."""
    configured = (urlsplit(_url_of(settings)).hostname, split_endpoint(settings.server.listen)[0])
    return frozenset(name for name in configured if name)
