"""Traefik: which router takes a challenge on the plain entry point, through what, to where. Pure.

Facts: Traefik's documentation (v3): routers, entry points, middlewares, services, the file provider. A router that
names something that nobody defines is left out, with one line in the log.
"""

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from certagent.domain.catalogue import Fact
from certagent.domain.observations import Misconfiguration, Place, ServerAction, WebServerObservation
from certagent.domain.web_servers import CHALLENGE
from certagent.domain.web_servers.traefik_rules import takes

_REDIRECTING = ("redirectScheme", "redirectRegex")
_REWRITING = ("stripPrefix", "stripPrefixRegex", "replacePath", "replacePathRegex", "addPrefix")
_DENYING = ("ipAllowList", "ipWhiteList", "basicAuth", "digestAuth", "forwardAuth")
_PLAIN = 80


class Named(msgspec.Struct, frozen=True):
    """A name that a file mentions, and where."""

    name: str
    place: Place


class EntryPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One of the static configuration. `redirects`: the line that redirects all of it, or None."""

    name: str
    port: int | None
    redirects: Place | None = None


class Router(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP router of the file provider. `takes_all` entry points when it names none."""

    name: str
    rule: str
    place: Place  # of the rule
    entry_points: tuple[Named, ...] = ()
    middlewares: tuple[Named, ...] = ()
    service: Named | None = None
    priority: int | None = None
    has_tls: bool = False
    resolver: Named | None = None  # of its certificate

    def rank(self) -> int:
        """Its priority, or the length of its rule."""
        return self.priority or len(self.rule)

    def is_for_challenges(self) -> bool:
        """Whether its rule names the challenge's path."""
        return CHALLENGE.rstrip("/") in self.rule


class Middleware(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` as in the file ("redirectScheme", ...), and the line that says so."""

    kind: str
    place: Place
    host: Place | None = None  # the line that sets the request's Host


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """Static and dynamic configuration. `challengers`: entry points of Traefik's own http-01 resolvers, with the line.
    `services` maps a name to its servers' addresses; `resolvers` are the names of Traefik's own ACME clients.
    `renaming`: services that ask their servers by the servers' own names, with the line."""

    entry_points: tuple[EntryPoint, ...] = ()
    routers: tuple[Router, ...] = ()
    middlewares: Mapping[str, Middleware] = {}
    services: Mapping[str, tuple[Named, ...]] = {}
    challengers: tuple[Named, ...] = ()
    resolvers: tuple[str, ...] = ()
    renaming: Mapping[str, Place] = {}


def judge(configuration: Configuration, name: str) -> WebServerObservation | None:
    """What becomes of the challenge of `name` on port 80; None when no entry point is there."""
    plain = [one for one in configuration.entry_points if one.port == _PLAIN]
    if not plain:
        return None
    causes = tuple(_causes(configuration, plain, name))
    own = next((one for one in configuration.challengers if one.name in {entry.name for entry in plain}), None)
    if own is not None:
        return WebServerObservation(
            server="traefik", action=ServerAction.ANSWERS, place=own.place, target="404", causes=causes
        )
    router = _router_for(configuration, plain, name)
    if router is None:
        redirecting = next((one.redirects for one in plain if one.redirects is not None), None)
        action = ServerAction.REDIRECTS if redirecting else ServerAction.ANSWERS
        return WebServerObservation(server="traefik", action=action, place=redirecting, target="404", causes=causes)
    return msgspec.structs.replace(_follow(configuration, router), causes=causes)


def dangling(configuration: Configuration) -> Iterator[Misconfiguration]:
    """deploy.dangling_reference: whatever any router names in vain."""
    for router in configuration.routers:
        missing = list(_dangling(configuration, router))
        resolver = router.resolver
        if resolver is not None and resolver.name not in configuration.resolvers:
            missing.append((resolver, "certResolver"))
        for named, kind in missing:
            yield _named_in_vain(router, named, kind)


def _router_for(configuration: Configuration, plain: Sequence[EntryPoint], name: str) -> Router | None:
    entries = {one.name for one in plain}
    able = [
        one
        for one in configuration.routers
        if not one.has_tls
        and _is_on(one, entries)
        and not list(_dangling(configuration, one))
        and takes(one.rule, name)
    ]
    return max(able, key=Router.rank, default=None)


def _is_on(router: Router, entries: set[str]) -> bool:
    return not router.entry_points or any(one.name in entries for one in router.entry_points)


def _follow(configuration: Configuration, router: Router) -> WebServerObservation:
    service = _bare(router.service.name) if router.service is not None else ""
    host = configuration.renaming.get(service)
    for named in router.middlewares:
        middleware = configuration.middlewares.get(_bare(named.name))
        action = _deed_of(middleware)
        if middleware is not None and action is not None:
            return WebServerObservation(server="traefik", action=action, place=middleware.place)
        host = host or (middleware.host if middleware is not None else None)
    servers = configuration.services.get(service, ())
    if not servers:
        return WebServerObservation(server="traefik", place=router.place)
    place = servers[0].place if router.is_for_challenges() else router.place
    return WebServerObservation(
        server="traefik", action=ServerAction.PASSES, place=place, target=servers[0].name, host=host
    )


def _deed_of(middleware: Middleware | None) -> ServerAction | None:
    kinds = (
        (_REDIRECTING, ServerAction.REDIRECTS),
        (_REWRITING, ServerAction.REWRITES),
        (_DENYING, ServerAction.DENIES),
    )
    return next((action for names, action in kinds if middleware is not None and middleware.kind in names), None)


def _causes(configuration: Configuration, plain: Sequence[EntryPoint], name: str) -> Iterator[Misconfiguration]:
    """Traefik's own ACME, then what the challenge's own routers name in vain, then where they are instead."""
    entries = {one.name for one in plain}
    for own in configuration.challengers:
        if own.name in entries:
            facts: dict[str, Fact] = {"entry_point": own.name}
            yield Misconfiguration(code="http01.traefik_acme_router", place=own.place, facts=facts)
    routers = [one for one in configuration.routers if one.is_for_challenges() and takes(one.rule, name) is not False]
    for router in routers:
        for named, kind in _dangling(configuration, router):
            yield _named_in_vain(router, named, kind)
    for router in routers:
        if not _is_on(router, entries) and not list(_dangling(configuration, router)):
            elsewhere = router.entry_points[0]
            facts = {"router": router.name, "entry_point": elsewhere.name, "port": _PLAIN}
            yield Misconfiguration(code="http01.wrong_entrypoint", place=elsewhere.place, facts=facts)


def _named_in_vain(router: Router, named: Named, kind: str) -> Misconfiguration:
    facts: dict[str, Fact] = {"router": router.name, "part": kind, "name": named.name}
    return Misconfiguration(code="deploy.dangling_reference", place=named.place, variant="router", facts=facts)


def _dangling(configuration: Configuration, router: Router) -> Iterator[tuple[Named, str]]:
    """What keeps Traefik from using the router."""
    known = {one.name for one in configuration.entry_points}
    if router.entry_points and not any(one.name in known for one in router.entry_points):
        yield router.entry_points[0], "entry point"
    for named in router.middlewares:
        if _is_ours(named.name) and _bare(named.name) not in configuration.middlewares:
            yield named, "middleware"
    service = router.service
    if service is not None and _is_ours(service.name) and _bare(service.name) not in configuration.services:
        yield service, "service"


def _is_ours(name: str) -> bool:
    """Other providers' names cannot be judged from the files."""
    return name.partition("@")[2] in ("", "file")


def _bare(name: str) -> str:
    return name.partition("@")[0]


def port_of(address: str) -> int | None:
    """The port of an entry point's address: `:80`, `0.0.0.0:80/tcp`, `[::]:80`."""
    return urlsplit(f"//{address.partition('/')[0]}").port
