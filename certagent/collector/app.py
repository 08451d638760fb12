"""The collector's wiring and life: store, API, couriers and certificate, from start to signal. Decides nothing."""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from certagent.collector.access import Access
from certagent.collector.agent_link import AgentLinks
from certagent.collector.alerts import Sender
from certagent.collector.api import Api
from certagent.collector.change_dispatcher import ChangeDispatcher
from certagent.collector.dashboard import Dashboard, Login, Renderer
from certagent.collector.events import Events
from certagent.collector.heartbeat import Heartbeat
from certagent.collector.housekeeping import Housekeeping
from certagent.collector.ingest import LARGEST_BODY
from certagent.collector.metrics import Metrics
from certagent.collector.notifiers import KINDS
from certagent.collector.problems import answer_problems, say_less
from certagent.collector.rehearsals import Broker
from certagent.collector.sql.store import open_store
from certagent.collector.store import Store
from certagent.collector.tls import ServerCertificate
from certagent.config import CollectorSettings
from certagent.domain.alerting import Alerting
from certagent.domain.deployments import split_endpoint
from certagent.domain.policy import Policy
from certagent.domain.ports import Clock
from certagent.system.systemd import feed_watchdog, notify

log = logging.getLogger(__name__)

_BACKLOG = 4_096
_FAREWELL_SECONDS = 5.0
_IDLE_SECONDS = 1.0  # without a request; an agent keeps it for less. Beside the channel it needs none, of 40 KiB each


class ListenFailed(Exception):
    """Its own address cannot be listened on; the message is a sentence."""


async def run(settings: CollectorSettings, policy: Policy, clock: Clock) -> None:
    """Collect until SIGTERM or SIGINT. SIGHUP loads the certificate again. Raises `ListenFailed`, in a group."""
    logging.getLogger("aiohttp.server").addFilter(say_less)
    gc.freeze()  # what is there by now stays
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    pair = _pair_of(settings, clock)
    loop.add_signal_handler(signal.SIGHUP, lambda: pair.reload(always=True) if pair is not None else None)
    alerting = Alerting(
        channels=tuple(channel.name for channel in settings.channel),
        rules=policy.alerts,
        flapping_hold=policy.collector.flapping_hold,
    )
    async with (
        open_store(settings.store.url, alerting, clock) as store,
        aiohttp.ClientSession() as session,
        _serving(settings, policy, store, session, pair, clock),
    ):
        notify("READY=1")
        await stopping.wait()
        notify("STOPPING=1")


@asynccontextmanager
async def _serving(
    settings: CollectorSettings,
    policy: Policy,
    store: Store,
    session: aiohttp.ClientSession,
    pair: ServerCertificate | None,
    clock: Clock,
) -> AsyncIterator[None]:
    """Everything that runs beside the store; at the end each is ended and waited for."""
    events = Events()
    channels = AgentLinks(lambda name: announcer.note_agent(name))
    couriers = [
        Sender(section.name, KINDS[section.kind](section, session), store, clock, _url_of(settings))
        for section in settings.channel
    ]
    pulse = settings.heartbeat
    heartbeat = Heartbeat(pulse, session, policy.collector.heartbeat_every) if pulse is not None else None
    watchman = Housekeeping(store, channels, policy, clock, heartbeat)
    announcer = ChangeDispatcher(store, channels, events, couriers)
    access = Access(store, clock, _names_of(settings))
    application = web.Application(middlewares=[answer_problems, access.middleware()], client_max_size=LARGEST_BODY)
    api = Api(store, access, channels, Broker(store, channels, clock), events, Metrics(store, channels, clock), clock)
    renderer = Renderer(clock)
    pages = Dashboard(store, channels, renderer, clock).routes()
    application.add_routes([*api.routes(), *pages, *Login(store, access, renderer, clock).routes()])
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(_serve(settings, application, access, pair, channels, events), name="server"),
            tasks.create_task(announcer.run(), name="announcer"),
            tasks.create_task(watchman.run(), name="watchman"),
            tasks.create_task(feed_watchdog(clock), name="watchdog"),
            *(tasks.create_task(courier.run(), name=f"courier {courier.name}") for courier in couriers),
        ]
        try:
            yield
        finally:
            for task in running:
                task.cancel()


async def _serve(
    settings: CollectorSettings,
    application: web.Application,
    access: Access,
    pair: ServerCertificate | None,
    channels: AgentLinks,
    events: Events,
) -> None:
    """Wait for the certificate, listen, and follow the certificate's changes until cancelled."""
    if pair is not None:
        await pair.wait()
        access.answer_for(lambda: pair.names)
    host, port = split_endpoint(settings.server.listen)
    runner = web.AppRunner(
        application, access_log=None, shutdown_timeout=_FAREWELL_SECONDS, keepalive_timeout=_IDLE_SECONDS
    )
    await runner.setup()
    try:
        context = pair.context if pair is not None else None
        site = web.TCPSite(runner, host, port, ssl_context=context, backlog=_BACKLOG)
        try:
            await site.start()
        except OSError as error:
            reason = f"the collector cannot listen on {settings.server.listen}: {error.strerror or error}"
            raise ListenFailed(reason) from error
        log.info("listening on %s", settings.server.listen)
        if pair is not None:
            await pair.follow()
        await asyncio.Event().wait()
    finally:
        events.close()
        await channels.close()
        await runner.cleanup()


def _pair_of(settings: CollectorSettings, clock: Clock) -> ServerCertificate | None:
    server = settings.server
    if server.certificate is None or server.key is None:
        return None
    return ServerCertificate(server.certificate, server.key, clock, server.client_root)


def _url_of(settings: CollectorSettings) -> str:
    scheme = "https" if settings.server.certificate is not None else "http"
    return settings.url or f"{scheme}://{settings.server.listen}"


def _names_of(settings: CollectorSettings) -> frozenset[str]:
    """The names by configuration under which the collector may be asked."""
    configured = (urlsplit(_url_of(settings)).hostname, split_endpoint(settings.server.listen)[0])
    return frozenset(name for name in configured if name)
