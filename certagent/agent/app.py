"""The agent's wiring: every part made once, started in order, stopped in reverse."""

import asyncio
import os
import signal
import ssl
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from certagent.agent.ca_health import CaHealth, CaWatch
from certagent.agent.collector_health import CollectorHealth, LocalWebhook
from certagent.agent.collector_link import CollectorLink
from certagent.agent.context import AgentContext
from certagent.agent.control_socket import AgentApi, serve
from certagent.agent.deployment import CertificateLocks, DeploymentService, TargetWatch
from certagent.agent.drift import DriftMonitor, ForeignFiles
from certagent.agent.inventory import InventoryReporter, report_removed
from certagent.agent.lifecycle import Lifecycle
from certagent.agent.live_files import LiveFiles
from certagent.agent.orders import OrderPlacer
from certagent.agent.preflight import OwnRehearsals, Preflight, RehearsalClient, Rehearsals
from certagent.agent.renewal import RenewalRunner
from certagent.agent.renewal_info import RenewalInfoPoller
from certagent.agent.reporter import FixEvents, Reporter
from certagent.agent.resolver_changes import ResolverChangeHandler, ResolverWatch
from certagent.agent.schedule import Schedule
from certagent.agent.solvers import open_solvers
from certagent.config import (
    AgentSection,
    AgentSettings,
    CollectorSection,
    ConfigurationError,
    load_agent,
    read_binding,
    read_credential,
)
from certagent.config.policy_files import load_policy
from certagent.domain import catalogue
from certagent.domain.certificates import read_roots
from certagent.domain.chains import Roots
from certagent.domain.link_messages import INSTANCE_HEADER
from certagent.domain.policy import Policy
from certagent.domain.ports import Clock
from certagent.issuance.renewal_info import RenewalInfoClient
from certagent.proof import Prover
from certagent.reporting import Spool, Uplink
from certagent.state import State
from certagent.system.clock import SystemClock
from certagent.system.file_content import PRIVATE_FOLDER
from certagent.system.files import LockedError, lock_file, make_own_folder
from certagent.system.journal import write_log
from certagent.system.malloc import give_back
from certagent.system.path_walk import make_folders
from certagent.system.pinned_http import PinnedClient
from certagent.system.systemd import feed_watchdog, notify
from certagent.system.tls import RootFiles, read_root_files
from certagent.system.unsafe_paths import UnsafePathError
from certagent.vantage.configured_certificates import ConfiguredCertificates
from certagent.vantage.nameserver_config import NameserverObserver
from certagent.vantage.node_vantage import NodeVantage
from certagent.vantage.web_server_config import WebServerConfigs

if TYPE_CHECKING:
    from certagent.vantage.authority_vantage import AuthorityVantage

_GIVES_BACK_EVERY = 30.0  # seconds


def main(path: Path) -> None:
    """Run until SIGTERM or SIGINT. Raises `ConfigurationError`, and `LockedError` beside another agent."""
    settings = load_agent(path)
    policy = load_policy(settings.agent.policy)
    write_log()
    with hold_instance_lock(settings.agent):
        asyncio.run(_until_signalled(settings, policy, SystemClock()))


@contextmanager
def hold_instance_lock(section: AgentSection) -> Iterator[None]:
    """One agent per state folder, and per socket: a second one ends before it has written anything.

    Hold both until the end, or until this process ends, however it does. Blocks. Raises `LockedError` with a sentence
    when another agent holds one of them, and `ConfigurationError` for a state folder that others can exchange."""
    with ExitStack() as held:
        with suppress(OSError):  # a folder that cannot be created is reported by whoever writes there
            _make_state_folder(section.state)
        with suppress(OSError):
            make_folders(section.socket.parent, PRIVATE_FOLDER)
        for path, what in (
            (section.state / "lock", f"the state folder {section.state}"),
            (Path(f"{section.socket}.lock"), f"the socket {section.socket}"),
        ):
            try:
                with suppress(OSError):  # then nobody else can lock it, either
                    held.enter_context(lock_file(path, f"{section.name}, process {os.getpid()}"))
            except LockedError as error:
                raise LockedError(f"another agent is already running with {what}: {error}") from error
        yield


def _make_state_folder(folder: Path) -> None:
    """Where keys and accounts lie, nobody else may put others in their place."""
    try:
        make_own_folder(folder)
    except UnsafePathError as error:
        where = error.folder.path
        raise ConfigurationError(
            folder,
            f"the agent's state cannot be kept there: {error.strerror}; set `state` in [agent] to another "
            f"folder, or make this one writable by root only (chown root {where}; chmod go-w {where})",
        ) from error


async def _until_signalled(settings: AgentSettings, policy: Policy, clock: Clock) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        agent = group.create_task(run(settings, policy, clock), name="agent")
        stopped = group.create_task(stop.wait(), name="wait for a signal")
        await asyncio.wait({agent, stopped}, return_when=asyncio.FIRST_COMPLETED)
        notify("STOPPING=1")
        agent.cancel()
        stopped.cancel()


def _known_roots(root: RootFiles) -> Roots:
    """The pinned ones; none where they cannot be read, which is told by whoever needs them."""
    try:
        return read_roots(read_root_files(root))
    except (OSError, ValueError):
        return ()


async def run(settings: AgentSettings, policy: Policy, clock: Clock) -> None:
    """Run until cancelled."""
    catalogue.load()
    async with AsyncExitStack() as stack:
        state = await asyncio.to_thread(State, settings.agent.state, _known_roots(settings.authority.root))
        spool = await asyncio.to_thread(Spool, settings.agent.state / "spool") if settings.collector else None
        reporter = Reporter(settings.agent.name, spool, clock, FixEvents(state) if spool else None)
        context = AgentContext(
            node=settings.agent.name, settings=settings, policy=policy, clock=clock, state=state, reporter=reporter
        )
        agent = await _wire(context, spool, stack)
        stack.callback(reporter.flush)
        await asyncio.to_thread(report_removed, context)
        await stack.enter_async_context(serve(settings.agent.socket, agent.api))
        async with asyncio.TaskGroup() as group:
            agent.start(group)
            group.create_task(feed_watchdog(clock), name="watchdog")
            group.create_task(_stay_small(clock), name="give memory back")
            notify("READY=1")


async def _stay_small(clock: Clock) -> None:
    """What starting, checking and renewing took goes back to the system, a millisecond each time; never returns."""
    while True:
        await clock.sleep(_GIVES_BACK_EVERY)
        await asyncio.to_thread(give_back)


class _Connection(msgspec.Struct, frozen=True, kw_only=True):
    """The connection to the collector: `client` makes the requests, `health` knows how they go."""

    client: PinnedClient
    spool: Spool
    health: CollectorHealth


class _Agent(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that run, each until it is cancelled."""

    api: AgentApi
    lifecycle: Lifecycle
    ca_watch: CaWatch
    resolver_watch: ResolverWatch
    resolver_changes: ResolverChangeHandler
    live_files: LiveFiles
    renewal_info: RenewalInfoPoller
    uplink: Uplink | None
    collector_link: CollectorLink | None
    collector_health: CollectorHealth | None

    def start(self, group: asyncio.TaskGroup) -> None:
        """A task for each."""
        group.create_task(self.lifecycle.run(), name="lifecycle")
        group.create_task(self.ca_watch.run(), name="look at the CA")
        group.create_task(self.resolver_watch.run(), name="watch resolver files")
        group.create_task(self.resolver_changes.repeat_until_settled(), name="repeat unsettled runs")
        group.create_task(self.live_files.run(), name="look at what is served")
        group.create_task(self.live_files.watch(), name="watch live files")
        group.create_task(self.renewal_info.run(), name="renewal info")
        for name, part in (
            ("uplink", self.uplink),
            ("collector link", self.collector_link),
            ("collector health", self.collector_health),
        ):
            if part is not None:
                group.create_task(part.run(), name=name)


async def _wire(context: AgentContext, spool: Spool | None, stack: AsyncExitStack) -> _Agent:
    settings, clock = context.settings, context.clock
    section, authority = settings.authority, _authority_vantage(settings, clock)
    connection = await _connect(context, settings.collector, spool, stack) if settings.collector and spool else None
    schedule = Schedule(context.node, context.policy.renewal)
    node = NodeVantage(settings.dns.nameservers, settings.dns.zones)
    binding = await asyncio.to_thread(read_binding, section, settings.agent.state)
    solvers = await open_solvers(settings, context.state, clock, stack)
    orders = await stack.enter_async_context(OrderPlacer(section, solvers, context.state, clock, binding))
    prover = Prover(section.root, clock)
    deployment = DeploymentService(context, prover)
    web_servers = WebServerConfigs()
    rehearsals: Rehearsals | None = RehearsalClient(connection.client, clock) if connection else None
    if authority is not None:
        rehearsals = OwnRehearsals(authority, context.node, rehearsals)
    preflight = Preflight(
        context,
        node,
        responders=solvers,
        rehearsals=rehearsals,
        deployment=deployment,
        schedule=schedule,
        web_servers=web_servers,
    )
    renewal = RenewalRunner(context, orders, deployment, preflight)
    resolver_changes = ResolverChangeHandler(context, authority or node, NameserverObserver())
    files: tuple[ForeignFiles, ...] = (web_servers, resolver_changes, *([authority] if authority is not None else []))
    drift = DriftMonitor(context, deployment, prover, ConfiguredCertificates(), files)
    inventory = InventoryReporter(context, node, drift, schedule)
    locks = stack.enter_context(CertificateLocks(context, deployment))
    lifecycle = Lifecycle(
        context,
        preflight=preflight,
        renewal=renewal,
        inventory=inventory,
        schedule=schedule,
        locks=locks,
        targets=TargetWatch(context, deployment),
    )
    ca_health = CaHealth(context, node, authority) if authority is not None else None
    renewal_info_client = RenewalInfoClient(section.directory, section.root, section.addresses)
    return _Agent(
        api=AgentApi(
            context,
            lifecycle,
            orders,
            inventory,
            connection.health if connection else None,
            ca_health,
            connection.client if connection else None,
        ),
        lifecycle=lifecycle,
        ca_watch=CaWatch(context, ca_health),
        resolver_watch=ResolverWatch(context, resolver_changes, lifecycle),
        resolver_changes=resolver_changes,
        live_files=LiveFiles(
            context, lifecycle=lifecycle, inventory=inventory, renewal=renewal, deployment=deployment, locks=locks
        ),
        renewal_info=RenewalInfoPoller(context, renewal_info_client, renewal, schedule, lifecycle),
        uplink=Uplink(connection.spool, connection.client, clock, connection.health) if connection else None,
        collector_link=(
            CollectorLink(context, connection.client, lifecycle, connection.health, authority) if connection else None
        ),
        collector_health=connection.health if connection else None,
    )


async def _connect(
    context: AgentContext, section: CollectorSection, spool: Spool, stack: AsyncExitStack
) -> _Connection:
    headers, pair = read_credential(section)
    headers = headers | {INSTANCE_HEADER: uuid.uuid4().hex}
    root = section.root or context.settings.authority.root
    client = PinnedClient(section.url, root, section.addresses, headers, pair)
    webhook = None
    if section.webhook is not None:
        trust = await asyncio.to_thread(ssl.create_default_context)
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust))
        webhook = LocalWebhook(section.webhook, await stack.enter_async_context(session))
    health = CollectorHealth(context, client, spool, webhook)
    return _Connection(client=await stack.enter_async_context(client), spool=spool, health=health)


def _authority_vantage(settings: AgentSettings, clock: Clock) -> "AuthorityVantage | None":
    """Beside the CA alone; elsewhere its modules are not even imported."""
    if settings.vantage is None:
        return None
    from certagent.vantage.authority_vantage import AuthorityVantage

    return AuthorityVantage(settings, settings.vantage, clock)
