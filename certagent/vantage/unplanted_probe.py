"""A name resolved and requested as the CA does it, with nothing planted: which server answers, and with what.

It cannot prove that a challenge gets through: for that a token must be planted (see `certagent check`).
"""

import secrets
from collections.abc import Mapping, Sequence

import msgspec

from certagent.config import AgentSettings
from certagent.domain.dns01_record import TxtLookup
from certagent.domain.rehearsals import Attempt, RehearsalRequest, Resolution
from certagent.domain.resolution.files import ResolverFiles
from certagent.domain.resolution.go import Lookup
from certagent.vantage import proxy
from certagent.vantage.ca_resolver import ResolverSession
from certagent.vantage.dialer import Dialer
from certagent.vantage.dns01_probe import look_up_record
from certagent.vantage.http01_probe import FetchOptions, Http01Probe
from certagent.vantage.rehearsal_limits import RehearsalLimits
from certagent.vantage.tls_alpn01_probe import TlsAlpn01Probe


class UnplantedResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was observed. `attempts` is empty if the name has no address, and for dns-01; none of them matches.
    `record`: the result for dns-01, where only the record is looked up."""

    resolution: Resolution
    attempts: tuple[Attempt, ...] = ()
    record: TxtLookup | None = None


def limits_for(settings: AgentSettings | None, name: str) -> RehearsalLimits:
    """Return the rehearsal's own limits; redirects are followed within the fleet's zones and to the name itself."""
    zones = settings.dns.zones if settings is not None else ()
    allowed = settings.vantage.allow if settings is not None and settings.vantage is not None else ()
    return RehearsalLimits(allow=(name, *allowed, *(f"*.{zone}" for zone in zones)))


class UnplantedProbe:
    """Asks with these resolver files. `options` and `environment` (its proxy) are the CA's, where they are known."""

    def __init__(
        self,
        files: ResolverFiles,
        nameservers: Sequence[str],
        limits: RehearsalLimits,
        options: FetchOptions | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._files = files
        self._nameservers = nameservers
        self._limits = limits
        self._options = options or FetchOptions()
        self._environment = environment or {}

    async def run(self, name: str, challenge: str) -> UnplantedResult:
        """Resolve the name, and do what the CA does for a challenge of that type. Bounded; never raises because of a
        name."""
        token, digest = secrets.token_urlsafe(32), secrets.token_hex(32)  # the digest is of nothing
        request = RehearsalRequest(identifier=name, challenge=challenge, token=token, digest=digest, planted=False)
        async with ResolverSession(self._files, self._nameservers) as session:
            lookup = await session.look_up(name + "." * (self._options.strict_fqdn and not name.endswith(".")))
            return UnplantedResult(
                attempts=await self._ask(session, lookup, request),
                record=await self._record(request) if challenge == "dns-01" else None,
                resolution=await session.resolution(lookup),
            )

    async def _ask(self, session: ResolverSession, lookup: Lookup, request: RehearsalRequest) -> tuple[Attempt, ...]:
        dialer = Dialer(self._limits.may_connect)
        if request.challenge == "tls-alpn-01" and lookup.addresses:
            return await TlsAlpn01Probe(dialer).attempts(request, lookup, self._options.tls_port)
        if request.challenge != "http-01" or not (lookup.addresses or self._uses_proxy(request.identifier)):
            return ()
        fetch = Http01Probe(
            session.look_up,
            self._limits,
            dialer,
            environment=self._environment,
        )
        return await fetch.attempts(request, lookup, self._options)

    def _uses_proxy(self, name: str) -> bool:
        return proxy.proxy_for(self._environment, name, self._options.http_port) is not None

    async def _record(self, request: RehearsalRequest) -> TxtLookup:
        digest, strict = bytes.fromhex(request.digest), self._options.strict_fqdn
        return await look_up_record(request.identifier, digest, self._files, strict_fqdn=strict)
