"""The vantage next to the CA: it runs rehearsals and observes what a change to the resolver files does. Draws no
conclusions."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec

from certagent.config import AgentSettings, VantageSection
from certagent.domain.observations import Unreadable
from certagent.domain.ports import Clock
from certagent.domain.rate_limiter import RateLimiter
from certagent.domain.rehearsals import (
    BUSY,
    Attempt,
    Connection,
    LastWords,
    Provisioner,
    Rehearsal,
    RehearsalOutcome,
    RehearsalRequest,
    Resolution,
)
from certagent.domain.resolution.file_formats import HOSTS_FILE
from certagent.domain.resolution.go import Lookup
from certagent.system.procfs import ProcFs
from certagent.system.tcp_sockets import TcpSocket
from certagent.vantage import proxy
from certagent.vantage.ca_journal import CaJournal
from certagent.vantage.ca_process import BlindError, CaEnvironment, CaProcess, NoCaError
from certagent.vantage.ca_resolver import (
    MOST_NAMES,
    ResolverSession,
    names_of_fleet,
    resolve_all,
)
from certagent.vantage.dialer import Dialer
from certagent.vantage.dns01_probe import look_up_record
from certagent.vantage.http01_probe import Http01Probe
from certagent.vantage.node_vantage import ask_libc
from certagent.vantage.rehearsal_limits import CHALLENGE_PORTS, RehearsalLimits, is_this_node_or_on_the_network
from certagent.vantage.rehearsal_places import PlacesTaken, RehearsalPlaces
from certagent.vantage.resolver_files import FileObservation, Snapshot, unreadable_in
from certagent.vantage.tls_alpn01_probe import TlsAlpn01Probe

_BURST, _EVERY = 1_000, timedelta(seconds=0.01)
_BURST_OF_CALLER, _EVERY_OF_CALLER = 200, timedelta(seconds=0.05)
_BURST_OF_NAME, _EVERY_OF_NAME = 30, timedelta(seconds=0.5)
_TOO_MANY = f"{BUSY}: too many rehearsals at once; ask again later"
_MOST_NAMES_KNOWN = 4096
_MOST_ADDRESSES_KNOWN = 16


class AuthorityVantage:
    """Observes from the CA's node. There is one per agent: it remembers where names resolved to and how many
    rehearsals were requested."""

    def __init__(
        self, settings: AgentSettings, vantage: VantageSection, clock: Clock, proc: ProcFs | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._proc = proc or ProcFs()
        self._ca_process = CaProcess(vantage, clock, self._proc, _provisioner_of(settings.authority.directory))
        self._journal = CaJournal(vantage.process, clock)
        self._limits = RehearsalLimits(allow=vantage.allow)
        self._own = msgspec.structs.replace(self._limits, may_connect=is_this_node_or_on_the_network)
        self._rate_limit = RateLimiter(clock, burst=_BURST, every=_EVERY)
        self._rate_limit_by_caller = RateLimiter(clock, burst=_BURST_OF_CALLER, every=_EVERY_OF_CALLER)
        self._rate_limit_by_name = RateLimiter(
            clock, burst=_BURST_OF_NAME, every=_EVERY_OF_NAME, most_keys=_MOST_NAMES_KNOWN
        )
        self._known = _KnownAddresses()
        self._places = RehearsalPlaces()

    async def rehearse(self, request: RehearsalRequest, caller: str = "", *, is_own: bool = False) -> Rehearsal:
        """Fetch the planted token as the CA would. Never raises: if the fetch cannot be attempted, the outcome is
        `unavailable` and carries the reason. `caller`: the node that asks, if the collector names it. `is_own`: this
        very agent asks; its names may lead the CA to itself."""
        limits = self._own if is_own else self._limits
        objection = limits.objection(request) or self._rate_objection(request.identifier, caller)
        if objection is not None:
            return self._unavailable(request, objection)
        try:
            async with self._places.place(caller):
                ca = await asyncio.to_thread(self._ca_process.observe)
                rehearsal = await self._rehearse_at(ca, request, limits)
        except PlacesTaken:
            return self._unavailable(request, _TOO_MANY)
        except NoCaError as error:
            return await self._with_last_words(self._unavailable(request, str(error)))
        except BlindError as error:
            return self._unavailable(request, str(error))
        return rehearsal if ca.is_listening else await self._with_last_words(rehearsal)

    async def last_words(self) -> LastWords:
        """What the CA's journal says last. Never raises; bounded."""
        return await self._journal.read()

    async def provisioner(self) -> Provisioner | None:
        """What the CA's configuration says; None while it cannot be read, or no CA runs. Never raises."""
        try:
            return (await asyncio.to_thread(self._ca_process.observe)).provisioner
        except BlindError:
            return None

    async def _with_last_words(self, rehearsal: Rehearsal) -> Rehearsal:
        return msgspec.structs.replace(rehearsal, last_words=await self.last_words())

    async def inspect_files(self, before: Snapshot | None = None) -> FileObservation:
        """Observe what the CA's resolver files do to the fleet's names; `before` adds the names that the earlier
        files contained."""
        try:
            ca = await asyncio.to_thread(self._ca_process.observe)
        except BlindError as error:
            return FileObservation(reason=str(error))
        snapshots = [ca.states, *([before] if before is not None else [])]
        names = names_of_fleet(snapshots, self._settings.dns.zones, self._limits.allows)
        async with ResolverSession(ca.files, self._settings.dns.nameservers) as session:
            resolutions = await resolve_all(session, names)
        for resolution in resolutions:
            self._known.remember(resolution)
        return FileObservation(
            snapshot=ca.states,
            resolutions=resolutions,
            unread=ca.files.hosts.unread,
            files=ca.files,
            own_names=(urlsplit(self._settings.authority.directory).hostname or "",),
            own_addresses=await asyncio.to_thread(self._proc.addresses),
            left_out=max(0, len(names) - MOST_NAMES),
            unreadable=unreadable_in(ca.states),
        )

    def unreadable(self) -> tuple[Unreadable, ...]:
        """What cannot be read of the CA's configuration and of the unit that starts it. Blocks."""
        return self._ca_process.unreadable()

    async def _rehearse_at(self, ca: CaEnvironment, request: RehearsalRequest, limits: RehearsalLimits) -> Rehearsal:
        if request.challenge == "dns-01":
            return await self._rehearse_record(ca, request)
        is_http = request.challenge == "http-01"
        used_proxy = _proxy_for(ca, request) if is_http else None
        async with ResolverSession(ca.files, self._settings.dns.nameservers) as session:
            lookup = await session.look_up(_asked_name(request, ca))
            if is_http:
                probe = partial(self._probe, session, limits)
                attempts, direct = await self._fetch_as(ca, probe, lookup, request)
            else:
                dialer = Dialer(limits.may_connect, self._listens, is_silence_final=False)
                attempts, direct = await _shake_hands_as(ca, dialer, lookup, request), ()
            resolution = await session.resolution(lookup)
        outcome, reason = judge(
            attempts, needs_password=proxy.needs_password(ca.environment) and used_proxy is not None
        )
        if not request.planted and _somebody_answered(attempts):
            outcome, reason, attempts = RehearsalOutcome.UNAVAILABLE, _OPEN, ()
        known = self._known.remember(resolution)
        ports = CHALLENGE_PORTS | {ca.fetch_options.http_port} if is_http else frozenset[int]()  # TLS is never reused
        return msgspec.structs.replace(
            self._without_outcome(ca, request),
            outcome=outcome,
            reason=reason,
            resolution=resolution,
            attempts=attempts,
            direct=direct,
            stale=stale_connections(ca.connections, ports, resolution, known),
            proxy=used_proxy,
            unseen_file=HOSTS_FILE if request.identifier.lower() in ca.unseen_names else None,
            libc=await ask_libc(request.identifier) if _libc_may_know_better(lookup, ca) else None,
        )

    async def _rehearse_record(self, ca: CaEnvironment, request: RehearsalRequest) -> Rehearsal:
        """Rehearse dns-01: where the name itself resolves to does not matter. A record that was not planted is not
        looked up."""
        if not request.planted:
            return msgspec.structs.replace(self._without_outcome(ca, request), reason=_NO_RECORD)
        digest, strict = bytes.fromhex(request.digest), ca.fetch_options.strict_fqdn
        txt = await look_up_record(request.identifier, digest, ca.files, strict_fqdn=strict)
        outcome = RehearsalOutcome.PASSED if txt.matched else RehearsalOutcome.FAILED
        return msgspec.structs.replace(self._without_outcome(ca, request), outcome=outcome, txt=txt)

    def _without_outcome(self, ca: CaEnvironment, request: RehearsalRequest) -> Rehearsal:
        """Return the facts that hold whatever the outcome: the request, the observing node, and the CA's settings."""
        return Rehearsal(
            identifier=request.identifier,
            challenge=request.challenge,
            outcome=RehearsalOutcome.UNAVAILABLE,
            at=self._clock.now(),
            node=self._settings.agent.name,
            planted=request.planted,
            settles_at=ca.settles_at,
            authority_flags=ca.shown_flags(),
            started_by=ca.started_by,
            provisioner=ca.provisioner,
            unreadable=ca.files.unreadable,
        )

    async def _fetch_as(
        self,
        ca: CaEnvironment,
        probe: Callable[[Mapping[str, str]], Http01Probe],
        lookup: Lookup,
        request: RehearsalRequest,
    ) -> tuple[tuple[Attempt, ...], tuple[Attempt, ...]]:
        """Rehearse http-01: make the attempts that the CA would make; if they fail through its proxy, repeat them
        without it."""
        used_proxy, options = _proxy_for(ca, request), ca.fetch_options
        if not lookup.addresses and used_proxy is None:
            return (), ()
        attempts = await probe(ca.environment).attempts(request, lookup, options)
        is_open = used_proxy is None or not lookup.addresses or (attempts and attempts[-1].matched)
        return attempts, () if is_open else await probe({}).attempts(request, lookup, options)

    def _probe(self, session: ResolverSession, limits: RehearsalLimits, environment: Mapping[str, str]) -> Http01Probe:
        dialer = Dialer(limits.may_connect, self._listens)
        return Http01Probe(session.look_up, limits, dialer, environment=environment)

    def _listens(self, address: str, port: int) -> bool:
        return any(_takes(socket, address, port) for socket in self._proc.sockets("listen"))

    def _rate_objection(self, identifier: str, caller: str) -> str | None:
        """Return why the rehearsal may not run now; None when it may, which counts against the limits.

        What is refused to one caller counts against nobody else's limits.
        """
        is_early = (
            self._rate_limit_by_caller.take(caller) > 0
            or self._rate_limit_by_name.take(f"{identifier} {caller}") > 0
            or self._rate_limit.take() > 0
        )
        return _TOO_MANY if is_early else None

    def _unavailable(self, request: RehearsalRequest, reason: str) -> Rehearsal:
        return Rehearsal(
            identifier=request.identifier,
            challenge=request.challenge,
            outcome=RehearsalOutcome.UNAVAILABLE,
            at=self._clock.now(),
            node=self._settings.agent.name,
            reason=reason,
        )


async def _shake_hands_as(
    ca: CaEnvironment, dialer: Dialer, lookup: Lookup, request: RehearsalRequest
) -> tuple[Attempt, ...]:
    """Rehearse tls-alpn-01: make the handshakes that the CA would make."""
    port = ca.fetch_options.tls_port
    return await TlsAlpn01Probe(dialer).attempts(request, lookup, port) if lookup.addresses else ()


def judge(attempts: tuple[Attempt, ...], *, needs_password: bool = False) -> tuple[RehearsalOutcome, str | None]:
    """Return the outcome and the reason for a missing one: the last attempt is the one on which the CA would end."""
    if needs_password:
        return RehearsalOutcome.UNAVAILABLE, "the CA fetches through a proxy that needs a password"
    if not attempts:
        return RehearsalOutcome.FAILED, None
    last = attempts[-1]
    if last.matched:
        return RehearsalOutcome.PASSED, None
    reason = _REASONS.get(last.hops[-1].error or "")
    return (RehearsalOutcome.FAILED if reason is None else RehearsalOutcome.UNAVAILABLE), reason


_REASONS = {
    "redirect_offsite": "the challenge is redirected to a name outside the allow-list",
    "redirect_proxied": "the CA follows this redirect through its HTTPS_PROXY, which a rehearsal does not use",
    "forbidden": "the name leads to this node itself or to its local network link, where a rehearsal must not connect",
}
_NO_RECORD = "another client writes the record, and only during a challenge: there is nothing to look up"
_OPEN = "a server answers; only the client that plants the challenges could show whether the answer is right"


def _somebody_answered(attempts: tuple[Attempt, ...]) -> bool:
    return any(attempt.hops and attempt.hops[0].is_answered for attempt in attempts)


def _provisioner_of(directory: str) -> str:
    """Return NAME from `https://HOST/acme/NAME/directory`, the form that Step-CA uses."""
    parts = urlsplit(directory).path.strip("/").split("/")
    return parts[-2] if len(parts) > 1 else ""


def _proxy_for(ca: CaEnvironment, request: RehearsalRequest) -> str | None:
    return proxy.proxy_for(ca.environment, request.identifier, ca.fetch_options.http_port)


def _asked_name(request: RehearsalRequest, ca: CaEnvironment) -> str:
    needs_dot = ca.fetch_options.strict_fqdn and not request.identifier.endswith(".")
    return request.identifier + "." * needs_dot


def _libc_may_know_better(lookup: Lookup, ca: CaEnvironment) -> bool:
    """Return False where DNS is unreachable and libc has no other source: it would only wait for the same
    nameservers."""
    if lookup.error in ("timeout", "unreachable"):
        return ca.files.nsswitch.has_more_than_go()
    return lookup.error is not None


def _takes(listening: TcpSocket, address: str, port: int) -> bool:
    """Return whether this listening socket would accept a connection to this loopback address."""
    wild = ("::", "0.0.0.0")  # noqa: S104 - compared, not bound
    return listening.port == port and (listening.address in (address, *wild) or address in wild)


def stale_connections(
    held: tuple[Connection, ...], ports: frozenset[int], resolution: Resolution, known: frozenset[str]
) -> tuple[Connection, ...]:
    """Return the connections that the CA holds to challenge ports at addresses the name used to resolve to (or that
    one of its sides returns) but no longer does. /proc does not show for which name the CA keeps a connection, so
    another name's valid connection may be among them."""
    current = {found.address for found in resolution.addresses}
    return tuple(
        connection
        for connection in dict.fromkeys(held)
        if connection.port in ports and connection.address in known - current
    )


class _KnownAddresses:
    """The addresses that each name has been seen to resolve to, from any source. Bounded."""

    def __init__(self) -> None:
        self._by_name: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()

    def remember(self, resolution: Resolution) -> frozenset[str]:
        """Add the addresses in this resolution, and return all known addresses of the name."""
        name = resolution.name.lower().removesuffix(".")
        known = self._by_name.setdefault(name, OrderedDict())
        self._by_name.move_to_end(name)
        found = [item.address for item in (*resolution.addresses, *resolution.hosts)]
        for address in (*found, *(address for answer in resolution.dns for address in answer.addresses)):
            known[address] = None
            known.move_to_end(address)
        _trim(known, _MOST_ADDRESSES_KNOWN)
        _trim(self._by_name, _MOST_NAMES_KNOWN)
        return frozenset(known)


def _trim(entries: OrderedDict[str, Any], most: int) -> None:
    while len(entries) > most:
        entries.popitem(last=False)
