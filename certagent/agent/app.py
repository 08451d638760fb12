"""The agent's wiring: every part made once, started in order, stopped in reverse."""

import asyncio
import logging
import signal
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import msgspec

from certagent.agent.certificate_locks import CertificateLocks
from certagent.agent.collector_health import CollectorHealth
from certagent.agent.collector_link import CollectorLink
from certagent.agent.control_socket import serve
from certagent.agent.deployment import DeploymentService
from certagent.agent.drift import DriftMonitor, watch_live_files
from certagent.agent.instance_lock import hold_instance_lock
from certagent.agent.inventory import InventoryReporter
from certagent.agent.lifecycle import Lifecycle
from certagent.agent.local_observer import LocalObserver
from certagent.agent.local_webhook import LocalWebhook
from certagent.agent.orders import OrderPlacer
from certagent.agent.preflight import CheckDirectory, FindFaults, Preflight
from certagent.agent.recheck import RecheckSchedule
from certagent.agent.rehearsal import through_collector
from certagent.agent.removed_config import report_removed
from certagent.agent.renewal import RenewalRunner
from certagent.agent.renewal_info import RenewalInfoPoller
from certagent.agent.reporter import Reporter
from certagent.agent.resolver_changes import ResolverChangeHandler
from certagent.agent.resolver_watch import watch_resolver_files
from certagent.agent.revocation import Revoker
from certagent.agent.schedule import Schedule
from certagent.agent.solvers import ChallengeResponder, open_solvers
from certagent.config import (
    AgentSettings,
    AuthoritySection,
    CollectorSection,
    load_agent,
    load_policy,
    read_binding,
    read_credential,
)
from certagent.domain import catalogue
from certagent.domain.deployments import Fault
from certagent.domain.findings import Culprit, Vantage
from certagent.domain.link_messages import Refused
from certagent.domain.policy import Policy
from certagent.domain.ports import Clock
from certagent.domain.reports import Outcome, RunKind, Trigger
from certagent.issuance.directory import check_directory
from certagent.issuance.renewal_info import RenewalInfoClient
from certagent.proof import Prover
from certagent.reporting import Spool, Uplink
from certagent.state import State
from certagent.system.clock import SystemClock
from certagent.system.pinned_http import PinnedClient
from certagent.system.systemd import feed_watchdog, notify
from certagent.vantage.configured_certificates import ConfiguredCertificates
from certagent.vantage.nameserver_config import NameserverObserver
from certagent.vantage.node_vantage import NodeVantage

if TYPE_CHECKING:
    from certagent.vantage.authority_vantage import AuthorityVantage

MOST_ORDERS_AT_ONCE = 4


def main(path: Path) -> None:
    """Run until SIGTERM or SIGINT. Raises `ConfigurationError`, and `LockedError` beside another agent."""
    settings = load_agent(path)
    policy = load_policy(settings.agent.policy)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    with hold_instance_lock(settings.agent):
        asyncio.run(_until_signalled(settings, policy, SystemClock()))


async def _until_signalled(settings: AgentSettings, policy: Policy, clock: Clock) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stop.set)
    async with asyncio.TaskGroup() as group:
        agent = group.create_task(run(settings, policy, clock), name="agent")
        stopped = group.create_task(stop.wait(), name="wait for a signal")
        await asyncio.wait({agent, stopped}, return_when=asyncio.FIRST_COMPLETED)
        notify("STOPPING=1")
        agent.cancel()
        stopped.cancel()


class _Link(msgspec.Struct, frozen=True, kw_only=True):
    """The way to the collector."""

    client: PinnedClient
    spool: Spool
    watch: CollectorHealth


class _Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What the parts are made with."""

    settings: AgentSettings
    policy: Policy
    clock: Clock
    state: State
    node: NodeVantage
    beside: "AuthorityVantage | None"
    link: _Link | None
    reporter: Reporter
    schedule: Schedule

    @property
    def name(self) -> str:
        """This agent's."""
        return self.settings.agent.name


class _Wired(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that run."""

    lifecycle: Lifecycle
    advising: RenewalInfoPoller
    stock: InventoryReporter
    serving: DriftMonitor
    reporter: Reporter
    state: State
    nameserver: NameserverObserver
    link: _Link | None
    channel: CollectorLink | None


async def run(settings: AgentSettings, policy: Policy, clock: Clock) -> None:
    """Run for ever."""
    async with AsyncExitStack() as stack:
        wired = await _wire(settings, policy, clock, stack)
        stack.callback(wired.reporter.flush)
        await asyncio.to_thread(report_removed, settings, wired.state, wired.reporter)
        await stack.enter_async_context(serve(settings.agent.socket, wired.lifecycle))
        async with asyncio.TaskGroup() as group:
            group.create_task(wired.lifecycle.run(), name="lifecycle")
            others = await asyncio.to_thread(_files_of, wired.nameserver)
            watch = watch_resolver_files(wired.lifecycle.files_changed, policy, wired.reporter, wired.state, others)
            group.create_task(watch, name="watch")
            group.create_task(wired.stock.keep(policy.proof.look_every), name="stock")
            group.create_task(wired.advising.run(), name="advising")
            look = partial(wired.stock.report, Trigger.FILE)
            group.create_task(watch_live_files(wired.serving, look, policy), name="watch live files")
            if (link := wired.link) is not None and wired.channel is not None:
                group.create_task(Uplink(link.spool, link.client, clock, link.watch).run(), name="uplink")
                group.create_task(wired.channel.run(), name="channel")
                group.create_task(link.watch.run(), name="collector watch")
            group.create_task(feed_watchdog(clock), name="watchdog")
            notify("READY=1")


async def _wire(settings: AgentSettings, policy: Policy, clock: Clock, stack: AsyncExitStack) -> _Wired:
    state = await asyncio.to_thread(State, settings.agent.state)
    link = await _link(settings, settings.collector, state, policy, clock, stack) if settings.collector else None
    ground = _Ground(
        settings=settings,
        policy=policy,
        clock=clock,
        state=state,
        node=NodeVantage(settings.dns.nameservers, settings.dns.zones),
        beside=_beside_authority(settings, clock),
        link=link,
        reporter=Reporter(settings.agent.name, link.spool if link else None, clock),
        schedule=Schedule(settings.agent.name, policy.renewal),
    )
    binding = await asyncio.to_thread(read_binding, settings.authority, settings.agent.state)
    solvers = await open_solvers(settings, state, clock, stack)
    ordering = await stack.enter_async_context(OrderPlacer(settings.authority, solvers, state, clock, binding))
    prover = Prover(settings.authority.root, clock)
    deploying = DeploymentService(prover, settings.authority.root, policy.proof, clock)
    preflight = _preflight(ground, solvers, deploying)
    renewal = _renewal(ground, ordering, deploying, preflight)
    serving = _serving(ground, prover, deploying)
    stock = _stock(ground, renewal, serving)
    nameserver = NameserverObserver()
    lifecycle = Lifecycle(
        ground.name,
        settings.certificate,
        authority=(urlsplit(settings.authority.directory).hostname or "").rstrip("."),
        preflight=preflight,
        renewal=renewal,
        files=_file_runs(ground, nameserver),
        stock=stock,
        revoking=Revoker(state, ordering),
        schedule=ground.schedule,
        attention=RecheckSchedule(policy.preflight),
        claims=stack.enter_context(CertificateLocks(ground.name, state, deploying.lock_files)),
        own=link.watch.findings if link else list,
        policy=policy,
        reporter=ground.reporter,
        clock=clock,
    )
    return _Wired(
        lifecycle=lifecycle,
        advising=_advising(ground, renewal, lifecycle),
        stock=stock,
        serving=serving,
        reporter=ground.reporter,
        state=state,
        nameserver=nameserver,
        link=link,
        channel=_channel(link, ground, lifecycle) if link is not None else None,
    )


def _preflight(ground: _Ground, solvers: Mapping[str, ChallengeResponder], deploying: DeploymentService) -> Preflight:
    looks = LocalObserver(ground.settings, ground.node, ground.state, ground.schedule.due_at)
    return Preflight(
        ground.name,
        ground.node.addresses,
        responders=_responders(ground.settings, solvers),
        challenges={name: one.challenge for one in ground.settings.certificate for name in one.identifiers},
        ask=through_collector(ground.link.client, ground.clock) if ground.link else None,
        check_directory=_directory_check(ground.settings.authority),
        find_faults=_fault_finder(ground.settings, deploying),
        looking=looks,
        impact_on=looks.impact_on,
        policy=ground.policy,
        clock=ground.clock,
    )


def _renewal(
    ground: _Ground, ordering: OrderPlacer, deploying: DeploymentService, preflight: Preflight
) -> RenewalRunner:
    return RenewalRunner(
        ground.name,
        state=ground.state,
        place_order=ordering.place,
        renew_unchallenged=ordering.renew,
        deploy=deploying.deploy,
        expecting=deploying.expecting,
        preflight=preflight,
        reporter=ground.reporter,
        policy=ground.policy,
        clock=ground.clock,
    )


def _serving(ground: _Ground, prover: Prover, deploying: DeploymentService) -> DriftMonitor:
    return DriftMonitor(
        ground.settings.certificate,
        live=deploying.live,
        configured=ConfiguredCertificates(),
        prover=prover,
        state=ground.state,
        reporter=ground.reporter,
        policy=ground.policy,
        clock=ground.clock,
    )


def _stock(ground: _Ground, renewal: RenewalRunner, serving: DriftMonitor) -> InventoryReporter:
    return InventoryReporter(
        ground.settings,
        looking=ground.node,
        facts=renewal.facts,
        serving=serving,
        state=ground.state,
        due_at=ground.schedule.due_at,
        reporter=ground.reporter,
        clock=ground.clock,
    )


def _file_runs(ground: _Ground, nameserver: NameserverObserver) -> ResolverChangeHandler:
    return ResolverChangeHandler(
        ground.name,
        ground.beside.inspect_files if ground.beside is not None else ground.node.inspect_files,
        is_authority=ground.beside is not None,
        zones=ground.settings.dns.zones,
        look_at_nameserver=nameserver.observe,
        policy=ground.policy,
        reporter=ground.reporter,
        clock=ground.clock,
    )


def _advising(ground: _Ground, renewal: RenewalRunner, lifecycle: Lifecycle) -> RenewalInfoPoller:
    authority = ground.settings.authority
    certificates = {one.name: one for one in ground.settings.certificate if one.manage}
    return RenewalInfoPoller(
        tuple(certificates),
        standing=lambda one: renewal.standing(certificates[one]),
        ask=RenewalInfoClient(authority.directory, authority.root, authority.addresses).ask,
        schedule=ground.schedule,
        wake=lifecycle.wake,
        clock=ground.clock,
    )


async def _link(
    settings: AgentSettings,
    section: CollectorSection,
    state: State,
    policy: Policy,
    clock: Clock,
    stack: AsyncExitStack,
) -> _Link:
    headers, pair = read_credential(section)
    root = section.root or settings.authority.root
    client = PinnedClient(section.url, root, section.addresses, headers, pair)
    spool = await asyncio.to_thread(Spool, settings.agent.state / "spool")
    tell = None
    if section.webhook is not None:
        trust = await asyncio.to_thread(ssl.create_default_context)
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust))
        tell = LocalWebhook(section.webhook, await stack.enter_async_context(session))
    watch = CollectorHealth(
        settings.agent.name, client, spool=spool, state=state, tell=tell, policy=policy, clock=clock
    )
    return _Link(client=await stack.enter_async_context(client), spool=spool, watch=watch)


def _beside_authority(settings: AgentSettings, clock: Clock) -> "AuthorityVantage | None":
    if settings.vantage is None:
        return None
    from certagent.vantage.authority_vantage import AuthorityVantage

    return AuthorityVantage(settings, settings.vantage, clock)


def _files_of(nameserver: NameserverObserver) -> tuple[str, ...]:
    look = nameserver.observe()
    return look.files() if look is not None else ()


def _responders(settings: AgentSettings, solvers: Mapping[str, ChallengeResponder]) -> dict[str, ChallengeResponder]:
    return {
        identifier: solvers[certificate.name]
        for certificate in settings.certificate
        for identifier in certificate.identifiers
        if certificate.name in solvers
    }


def _directory_check(section: AuthoritySection) -> CheckDirectory:
    return partial(check_directory, section.directory, section.root, section.addresses)


def _fault_finder(settings: AgentSettings, deploying: DeploymentService) -> FindFaults:
    certificates = {identifier: one for one in settings.certificate for identifier in one.identifiers if one.manage}

    async def find(identifier: str) -> list[Fault]:
        certificate = certificates.get(identifier)
        return await deploying.faults(certificate) if certificate is not None else []

    return find


def _channel(link: _Link, ground: _Ground, lifecycle: Lifecycle) -> CollectorLink:
    def report_refused(refused: Refused) -> None:
        finding = catalogue.finding(
            "channel.refused_question",
            vantage=Vantage.PEER,
            reporter=ground.name,
            culprit=Culprit(role="collector"),
            said=refused.reason,
        )
        run = ground.reporter.begin(RunKind.INVENTORY, Trigger.REQUEST)
        ground.reporter.end(run, Outcome.FOUND, findings=[ground.policy.grade(finding)])

    return CollectorLink(
        link.client,
        ground.clock,
        rehearse=ground.beside.rehearse if ground.beside is not None else None,
        judge_again=lifecycle.judge_again,
        refused=report_refused,
        contact=link.watch,
    )
