"""A name looked up and asked as the CA does it, with no token planted: who answers there, and with what.

It cannot prove that a challenge gets through: for that somebody has to plant one (see `certagent check`).
"""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from certagent.config import AgentSettings
from certagent.domain.rehearsals import Attempt, RehearsalRequest, Resolution
from certagent.domain.resolution.files import ResolverFiles
from certagent.vantage import proxy
from certagent.vantage.ca_resolver import ResolverSession
from certagent.vantage.dialer import Dialer
from certagent.vantage.http01_probe import FetchOptions, Http01Probe
from certagent.vantage.rehearsal_limits import RehearsalLimits

_NO_DIGEST = "0" * 64


class UnplantedProbe(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen. `attempts` is empty where the name has no address; none of them matches."""

    resolution: Resolution
    attempts: tuple[Attempt, ...] = ()


def rules_for(settings: AgentSettings | None, name: str) -> RehearsalLimits:
    """The rehearsal's own rules; redirects are followed within the fleet's zones and to the name itself."""
    zones = settings.dns.zones if settings is not None else ()
    beside = settings.vantage.allow if settings is not None and settings.vantage is not None else ()
    return RehearsalLimits(allow=(name, *beside, *(f"*.{zone}" for zone in zones)))


async def probe_unplanted(
    name: str,
    files: ResolverFiles,
    nameservers: Sequence[str],
    rules: RehearsalLimits,
    token: str,
    manner: FetchOptions | None = None,
    environment: Mapping[str, str] | None = None,
) -> UnplantedProbe:
    """Look `name` up in the world of `files`, and GET the challenge of a token that nobody planted. Bounded.

    `manner` and `environment` (its proxy) are the CA's, where they are known.
    """
    manner = manner or FetchOptions()
    environment = environment or {}
    request = RehearsalRequest(identifier=name, token=token, digest=_NO_DIGEST)
    async with ResolverSession(files, nameservers) as desk:
        lookup = await desk.look_up(name + "." * (manner.strict_fqdn and not name.endswith(".")))
        attempts: tuple[Attempt, ...] = ()
        if lookup.addresses or proxy.proxy_for(environment, name, manner.http_port) is not None:
            fetch = Http01Probe(
                desk.look_up,
                rules,
                Dialer(rules.may_connect),
                proxy_for=partial(proxy.proxy_for, environment),
                proxy_dialer=Dialer(lambda _address: True),
            )
            attempts = await fetch.attempts(request, lookup, manner)
        return UnplantedProbe(resolution=await desk.resolution(lookup), attempts=attempts)
