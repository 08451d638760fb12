"""Traefik's configuration read: the static one and the file provider's files, with every line's place.

What cannot be used is noted, and the rest goes on.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from certagent.domain.observations import Unreadable
from certagent.domain.web_servers.traefik import Configuration, Named
from certagent.domain.web_servers.traefik_rules import names_in
from certagent.vantage.config_nodes import TEMPLATE, ConfigNode
from certagent.vantage.foreign_files import Notes, Reading, read_foreign
from certagent.vantage.traefik_files import (
    TRAEFIK,
    find_static,
    load_dynamic,
    load_static,
    other_providers,
    provider_folder,
)
from certagent.vantage.traefik_sections import (
    first_of_each,
    read_entry_points,
    read_middleware,
    read_router,
    read_service,
    read_tcp_routers,
)

_LOOPBACK = re.compile(r"(?:0\.0\.0\.0|127\.0\.0\.1|\[::\]|localhost)?:(\d{1,5})(?:/tcp)?", re.IGNORECASE)
_CHALLENGES = {"httpChallenge": "http-01", "tlsChallenge": "tls-alpn-01", "dnsChallenge": "dns-01"}
_NAME = re.compile(
    r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*\.[a-z][a-z0-9-]*"
)
_PLAIN = 80
_PRIORITY = 100_000  # of the router in deploy/traefik/certagent-challenge.yml


class TraefikProvider(msgspec.Struct, frozen=True, kw_only=True):
    """Traefik's file provider: its folder, and the hosts that its routers name."""

    dynamic: Path
    names: tuple[str, ...]
    has_own_acme: bool
    challenge: str = "http-01"  # by which its own ACME proves the names; http-01 also where its resolvers differ
    filename: Path | None = None  # the only file that it reads: nothing else in `dynamic` is read then
    plain_entry_point: str | None = None  # port 80's
    redirects: bool = False  # that entry point, before certagent's router for challenges
    tls_ports: tuple[int, ...] = ()  # of the entry points with a router for TLS
    others: tuple[str, ...] = ()  # "docker", ...: providers whose routers are not in files
    unreadable: tuple[Unreadable, ...] = ()


class _Route(msgspec.Struct, frozen=True):
    """A router's names, and where it serves them. `entry_points` are empty where it is on the default ones."""

    names: tuple[str, ...]
    entry_points: tuple[str, ...]
    has_tls: bool


def read_traefik(static: Path) -> Reading[Configuration]:
    """The static file and all files of the file provider."""
    return read_foreign(static, lambda notes: _read(static, notes), Configuration())


def _read(static: Path, notes: Notes) -> Configuration:
    node = load_static(static, notes)
    files = load_dynamic(static, node, notes)
    http = [file.node.get("http") for file in files]
    acme = [resolver.get("acme", "httpChallenge") for _, resolver in node.get("certificatesResolvers").tables()]
    return Configuration(
        entry_points=tuple(read_entry_points(node)),
        routers=tuple(read_router(name, found) for name, found in first_of_each(http, "routers")),
        tcp_routers=tuple(read_tcp_routers([file.node.get("tcp") for file in files])),
        middlewares={name: read_middleware(found) for name, found in first_of_each(http, "middlewares")},
        services={name: read_service(found) for name, found in first_of_each(http, "services")},
        challengers=tuple(
            Named(one.get("entryPoint").text(), one.place) for one in acme if one.get("entryPoint").is_set
        ),
        resolvers=tuple(name for name, _ in node.get("certificatesResolvers").tables()),
        internal=frozenset(_internal_services(node, has_acme=any(one.is_set for one in acme))),
        providers=tuple(other_providers(node)),
        syntax=node.get("core", "defaultRuleSyntax").text().lower(),
        refused=next((file.refused for file in files if file.refused is not None), None),
        hidden=next((file.hidden for file in files if file.hidden is not None), None),
        api_port=_api_port(node),
    )


def _api_port(node: ConfigNode) -> int | None:
    if not node.get("api", "insecure").is_on():
        return None
    address = _LOOPBACK.fullmatch(node.get("entryPoints", "traefik", "address").text() or ":8080")
    return int(address[1]) if address is not None else None


def _internal_services(node: ConfigNode, *, has_acme: bool) -> Iterator[str]:
    yield "noop"
    if has_acme:
        yield "acme-http"
    if node.get("api").is_set:
        yield "api"
        if node.get("api", "dashboard").value != "false":
            yield "dashboard"
    for name, keys in (("ping", ("ping",)), ("rest", ("providers", "rest")), ("prometheus", ("metrics", "prometheus"))):
        if node.get(*keys).is_set:
            yield name


def find_traefik(configurations: tuple[Path, ...] = TRAEFIK) -> TraefikProvider | None:
    """The file provider of the Traefik there is; None without one."""
    static = find_static(configurations)
    if static is None:
        return None
    reading = read_foreign(static, lambda notes: _find(static, notes), None)
    found = reading.value
    return msgspec.structs.replace(found, unreadable=reading.unreadable) if found is not None else None


def find_other_providers(configurations: tuple[Path, ...] = TRAEFIK) -> tuple[str, ...]:
    """What this node's Traefik takes routers from, beside files: "docker", ..."""
    static = find_static(configurations)
    if static is None:
        return ()
    none: tuple[str, ...] = ()
    return read_foreign(static, lambda notes: tuple(other_providers(load_static(static, notes))), none).value


def _find(static: Path, notes: Notes) -> TraefikProvider | None:
    node = load_static(static, notes)
    folder, file = provider_folder(static, node)
    dynamic = folder or (file.parent if file is not None else None)
    if dynamic is None:
        return None
    routes = [route for found in load_dynamic(static, node, notes) for route in _routes(found.node)]
    by_default = [
        name
        for _, found in node.get("entryPoints").tables()
        for name in _usable([*_domains(found.get("http", "tls"))], found)
    ]
    entry_points = list(read_entry_points(node))
    plain = next((one for one in entry_points if one.port == _PLAIN), None)
    redirection = plain.redirection if plain is not None and not plain.leaves_challenges else None
    served = {name for route in routes if route.has_tls for name in route.entry_points}
    is_on_default = any(route.has_tls and not route.entry_points for route in routes)
    resolvers = node.get("certificatesResolvers")
    return TraefikProvider(
        dynamic=dynamic,
        names=tuple(dict.fromkeys([*(name for route in routes for name in route.names), *by_default])),
        has_own_acme=resolvers.is_set or node.get("acme").is_set,
        challenge=_challenge(resolvers),
        filename=file,
        plain_entry_point=plain.name if plain is not None else None,
        redirects=redirection is not None and redirection.priority >= _PRIORITY,
        tls_ports=tuple(
            one.port
            for one in entry_points
            if one.port not in (None, _PLAIN) and (one.name in served or one.has_tls or is_on_default)
            if one.port is not None
        ),
        others=tuple(other_providers(node)),
    )


def _challenge(resolvers: ConfigNode) -> str:
    used = {
        challenge
        for _, resolver in resolvers.tables()
        for key, challenge in _CHALLENGES.items()
        if resolver.get("acme", key).is_set
    }
    return used.pop() if len(used) == 1 else "http-01"


def _routes(node: ConfigNode) -> Iterator[_Route]:
    for section, matchers in (("http", ("Host", "HostHeader")), ("tcp", ("HostSNI",))):
        for _, router in node.get(section, "routers").tables():
            tls = router.get("tls")
            has_tls = tls.is_set and tls.value != "false"
            if section == "http" or has_tls:
                names = [*names_in(router.get("rule").text(), matchers), *_domains(tls)]
                entry_points = tuple(found.text() for found in router.get("entryPoints").texts())
                yield _Route(tuple(_usable(names, router)), entry_points, has_tls)


def _domains(tls: ConfigNode) -> Iterator[str]:
    """The names that a router asks certificates for, whatever its rule says; or an entry point, for its routers."""
    for domain in tls.get("domains").items() if isinstance(tls.value, dict) else ():
        yield domain.get("main").text()
        yield from (name.text() for name in domain.get("sans").texts())


def _usable(names: list[str], router: ConfigNode) -> Iterator[str]:
    """In lower case, without a final dot; what no certificate can have is noted."""
    for name in names:
        plain = name.lower().removesuffix(".")
        if _NAME.fullmatch(plain):
            yield plain
        elif plain not in ("", "*") and TEMPLATE not in plain:
            router.source.note(router.line, "a rule there names a host that is not a DNS name")
