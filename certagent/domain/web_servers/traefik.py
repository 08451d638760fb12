"""Traefik's configuration as far as challenges are concerned, and what it names in vain. Pure.

Facts: Traefik's documentation (v3) and its source: routers, entry points, middlewares, services, the file provider. A
router that names something that nobody defines is left out, with one line in the log.
"""

from collections.abc import Iterator, Mapping

import msgspec

from certagent.domain.catalogue import Fact
from certagent.domain.observations import Misconfiguration, Place
from certagent.domain.web_servers import CHALLENGE

HIGHEST = 2**63 - 1
"""The priority of the router of Traefik's own ACME client."""
HIGHEST_OF_USERS = HIGHEST - 1000
"""A router of a higher one is left out."""
INTERNAL_ENTRY_POINT = "traefik"


class Named(msgspec.Struct, frozen=True):
    """A name that a file mentions, and where."""

    name: str
    place: Place


class Redirection(msgspec.Struct, frozen=True, kw_only=True):
    """What makes an entry point redirect all of its requests, by a router that nobody wrote. `to`: another entry
    point, or a port with a colon."""

    place: Place
    to: str
    scheme: str = "https"
    priority: int = HIGHEST - 1


class EntryPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One of the static configuration. `port` is None where it is none of TCP's; `host` where it is any address."""

    name: str
    port: int | None
    host: str | None = None
    redirection: Redirection | None = None
    middlewares: tuple[Named, ...] = ()  # before those of every router
    has_tls: bool = False
    is_default: bool = False  # for routers that name none
    leaves_challenges: bool = False  # Traefik's own ACME does not come before the routers


class Router(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP router of the file provider. It is on the default entry points when it names none."""

    name: str
    rule: str
    place: Place  # of the rule
    entry_points: tuple[Named, ...] = ()
    middlewares: tuple[Named, ...] = ()
    service: Named | None = None
    priority: int | None = None
    has_tls: bool = False
    resolver: Named | None = None  # of its certificate
    syntax: str = ""
    is_template: bool = False  # only Traefik knows what its values are
    parents: tuple[Named, ...] = ()

    def rank(self) -> int:
        """Its priority, or the length of its rule."""
        return self.priority or len(self.rule.encode())

    def is_for_challenges(self) -> bool:
        """Whether its rule names the challenge's path."""
        return CHALLENGE.rstrip("/") in self.rule


class TcpRouter(msgspec.Struct, frozen=True, kw_only=True):
    """A TCP router without TLS; it comes before every HTTP router. `target`: where it leads, as an URL."""

    rule: str
    place: Place
    entry_points: tuple[Named, ...] = ()
    target: str | None = None


class Middleware(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` as in the documentation ("redirectScheme", ...), in lower case, and the line that says so.

    `values` are its prefixes, ranges or patterns; `text` is its scheme, replacement, path or prefix.
    """

    kind: str
    place: Place
    values: tuple[str, ...] = ()
    text: str = ""
    port: str = ""
    chain: tuple[Named, ...] = ()
    host: Place | None = None  # the line that sets the request's Host
    is_usable: bool = True  # Traefik leaves out every router with one that is not


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A service of the file provider. `parts`: the services that it leads to, where it has no servers itself."""

    place: Place
    servers: tuple[Named, ...] = ()
    parts: tuple[Named, ...] = ()
    host: Place | None = None  # the line that makes it ask its servers by their own names
    has_checks: bool = False  # of its health
    needs_checks: bool = False  # by the service that it leads to: Traefik leaves it out without them
    is_usable: bool = True


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """Static and dynamic configuration.

    `challengers`: entry points of Traefik's own http-01 resolvers, with the line. `resolvers` are the names of
    Traefik's own ACME clients, `internal` those of its internal services, `providers` others than the file provider.
    `syntax`: of rules that say none. `refused`: the line for which Traefik takes no file of the provider at all;
    `hidden`: the line of what only Traefik knows (a template, a file that we cannot read). `api_port`: of its API
    without a password, on loopback as well; there its own pages come before all routers.
    """

    entry_points: tuple[EntryPoint, ...] = ()
    routers: tuple[Router, ...] = ()
    tcp_routers: tuple[TcpRouter, ...] = ()
    middlewares: Mapping[str, Middleware] = {}
    services: Mapping[str, Service] = {}
    challengers: tuple[Named, ...] = ()
    resolvers: tuple[str, ...] = ()
    internal: frozenset[str] = frozenset({"noop"})
    providers: tuple[str, ...] = ()
    syntax: str = ""
    refused: Place | None = None
    hidden: Place | None = None
    api_port: int | None = None

    def default_entry_points(self) -> frozenset[str]:
        """The names of those that a router without any is on."""
        usable = [one for one in self.entry_points if one.port is not None and one.name != INTERNAL_ENTRY_POINT]
        return frozenset(one.name for one in ([one for one in usable if one.is_default] or usable))

    def is_rendered(self) -> bool:
        """Whether the files say all that Traefik made of them."""
        return self.hidden is None and not any(router.is_template for router in self.routers)

    def as_loaded(self) -> "Configuration":
        """As Traefik has it: without anything of the files where it refuses one of them."""
        if self.refused is None:
            return self
        return msgspec.structs.replace(self, routers=(), tcp_routers=(), middlewares={}, services={})

    def is_on(self, router: Router | TcpRouter, entry_point: str) -> bool:
        """Whether the router is on that entry point."""
        names = {one.name for one in router.entry_points} or self.default_entry_points()
        return entry_point in names


def dangling(configuration: Configuration) -> Iterator[Misconfiguration]:
    """deploy.dangling_reference: whatever any router names in vain. Nothing where the files do not say it all."""
    if configuration.refused is not None or configuration.hidden is not None:
        return
    for router in configuration.routers:
        missing = list(missing_parts(configuration, router))
        resolver = router.resolver
        if resolver is not None and resolver.name not in configuration.resolvers:
            missing.append((resolver, "certResolver"))
        for named, kind in missing:
            yield named_in_vain(router, named, kind)


def named_in_vain(router: Router, named: Named, kind: str) -> Misconfiguration:
    """One of them."""
    facts: dict[str, Fact] = {"router": router.name, "part": kind, "name": named.name}
    return Misconfiguration(code="deploy.dangling_reference", place=named.place, variant="router", facts=facts)


def missing_parts(configuration: Configuration, router: Router) -> Iterator[tuple[Named, str]]:
    """What keeps Traefik from using the router."""
    known = {one.name for one in configuration.entry_points}
    if router.entry_points and not any(one.name in known for one in router.entry_points):
        yield router.entry_points[0], "entry point"
    for named in router.middlewares:
        if _is_missing(named.name, configuration.middlewares):
            yield named, "middleware"
    if router.service is not None:
        yield from ((named, "service") for named in _missing_services(configuration, router.service))


def services_behind(configuration: Configuration, named: Named) -> Iterator[tuple[Named, Service | None]]:
    """That service and all that it leads to, each once; None for what the files do not define."""
    waiting, seen = [named], set()
    while waiting:
        found = waiting.pop(0)
        if found.name not in seen:
            seen.add(found.name)
            service = configuration.services.get(bare(found.name)) if is_ours(found.name) else None
            yield found, service
            waiting += service.parts if service is not None else ()


def _missing_services(configuration: Configuration, named: Named) -> Iterator[Named]:
    for found, _ in services_behind(configuration, named):
        name, _, provider = found.name.partition("@")
        is_internal = provider == "internal"
        if (is_internal and name not in configuration.internal) or _is_missing(found.name, configuration.services):
            yield found


def _is_missing(name: str, defined: Mapping[str, object]) -> bool:
    return is_ours(name) and "{{" not in name and bare(name) not in defined


def is_service_usable(configuration: Configuration, named: Named) -> bool:
    """Whether Traefik can build that service and all that it leads to."""
    for _, service in services_behind(configuration, named):
        if service is not None and not service.is_usable:
            return False
        if service is not None and service.needs_checks:
            checked = configuration.services.get(bare(service.parts[0].name)) if service.parts else None
            if checked is not None and not checked.has_checks:
                return False
    return True


def is_ours(name: str) -> bool:
    """Other providers' names cannot be judged from the files."""
    return name.partition("@")[2] in ("", "file")


def bare(name: str) -> str:
    """A name without its provider."""
    return name.partition("@")[0]
