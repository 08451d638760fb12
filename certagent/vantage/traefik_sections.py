"""Sections of Traefik's configuration as values: entry points, routers, middlewares, services, each with its places."""

import re
from collections.abc import Iterator

from certagent.domain.web_servers.traefik import (
    HIGHEST,
    EntryPoint,
    Middleware,
    Named,
    Redirection,
    Router,
    Service,
    TcpRouter,
)
from certagent.vantage.config_nodes import TEMPLATE, ConfigNode

_ADDRESS = re.compile(r"(?:(.*):)?(\d{1,5})(?:/tcp)?", re.IGNORECASE)
_ANY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104 -- read, not listened on
_VALUES = {
    "stripprefix": "prefixes",
    "stripprefixregex": "regex",
    "ipallowlist": "sourceRange",
    "ipwhitelist": "sourceRange",
    "replacepathregex": "regex",
    "redirectregex": "regex",
}
_TEXTS = {
    "addprefix": "prefix",
    "replacepath": "path",
    "replacepathregex": "replacement",
    "redirectregex": "replacement",
    "redirectscheme": "scheme",
}


def read_entry_points(node: ConfigNode) -> Iterator[EntryPoint]:
    """All of a static configuration. Without any there is one on port 80."""
    defined = list(node.get("entryPoints").tables())
    if not defined and node.is_set:
        yield EntryPoint(name="http", port=80)
    for name, settings in defined:
        http = settings.get("http")
        address = _ADDRESS.fullmatch(settings.get("address").text())
        host = (address[1] or "").strip("[]") if address is not None else ""
        yield EntryPoint(
            name=name,
            port=int(address[2]) if address is not None else None,
            host=host if host not in _ANY_ADDRESS else None,
            redirection=_redirection(http.get("redirections", "entryPoint")),
            middlewares=_named(http.get("middlewares")),
            has_tls=_is_enabled(http.get("tls")),
            is_default=settings.get("asDefault").is_on(),
            leaves_challenges=settings.get("allowACMEByPass").is_on(),
        )


def first_of_each(sections: list[ConfigNode], kind: str) -> Iterator[tuple[str, ConfigNode]]:
    """Everything of that kind by name; of one name, the first file's counts."""
    seen: set[str] = set()
    for section in sections:
        for name, found in section.get(kind).tables():
            if name not in seen:
                seen.add(name)
                yield name, found


def _redirection(node: ConfigNode) -> Redirection | None:
    if not node.get("to").is_set:
        return None
    priority = node.get("priority").number()
    return Redirection(
        place=node.place,
        to=node.get("to").text(),
        scheme=node.get("scheme").text() or "https",
        priority=HIGHEST - 1 if priority is None else priority,
    )


def read_router(name: str, settings: ConfigNode) -> Router:
    """An HTTP router of the file provider."""
    rule, service, resolver = settings.get("rule"), settings.get("service"), settings.get("tls", "certResolver")
    return Router(
        name=name,
        rule=rule.text(),
        place=rule.place if rule.is_set else settings.place,
        entry_points=_named(settings.get("entryPoints")),
        middlewares=_named(settings.get("middlewares")),
        service=Named(service.text(), service.place) if service.text() else None,
        priority=settings.get("priority").number(),
        has_tls=_is_enabled(settings.get("tls")),
        resolver=Named(resolver.text(), resolver.place) if resolver.text() else None,
        syntax=settings.get("ruleSyntax").text().lower(),
        is_template=any(TEMPLATE in found.text() for found in (rule, service)),
        parents=_named(settings.get("parentRefs")),
    )


def read_tcp_routers(sections: list[ConfigNode]) -> Iterator[TcpRouter]:
    """Those without TLS, each with where it leads."""
    services = dict(first_of_each(sections, "services"))
    for _, settings in first_of_each(sections, "routers"):
        if _is_enabled(settings.get("tls")):
            continue
        rule, service = settings.get("rule"), settings.get("service").text()
        servers = services[service].get("loadBalancer", "servers").items() if service in services else []
        address = servers[0].get("address").text() if servers else ""
        yield TcpRouter(
            rule=rule.text(),
            place=rule.place,
            entry_points=_named(settings.get("entryPoints")),
            target=f"http://{address}" if address else None,
        )


def read_middleware(settings: ConfigNode) -> Middleware:
    """An HTTP middleware of the file provider."""
    kinds = list(settings.tables())
    if not kinds:
        return Middleware(kind="", place=settings.place, is_usable=False)
    name, node = kinds[0]
    kind = name.lower()
    values, text = node.get(_VALUES.get(kind, "none")), node.get(_TEXTS.get(kind, "none")).text()
    headers = node.get("customRequestHeaders").tables() if kind == "headers" else ()
    is_whole = values.is_set or kind not in _VALUES
    return Middleware(
        kind=kind,
        place=node.place,
        values=tuple([values.text()] if kind.endswith("regex") and isinstance(values.value, str) else _texts(values)),
        text=text,
        port=node.get("port").text(),
        chain=_named(node.get("middlewares")) if kind == "chain" else (),
        host=next((header.place for name, header in headers if name.lower() == "host"), None),
        is_usable=len(kinds) == 1 and is_whole and (bool(text) or kind not in ("redirectscheme", "addprefix")),
    )


def read_service(settings: ConfigNode) -> Service:
    """An HTTP service of the file provider."""
    kinds = list(settings.tables())
    balancer = settings.get("loadBalancer")
    servers = [server.get("url") for server in balancer.get("servers").items()]
    changes_host = balancer.get("passHostHeader").value == "false"
    parts = [part.get("name") for kind in ("weighted", "highestRandomWeight") for part in _parts(settings.get(kind))]
    parts += [settings.get("mirroring", "service"), settings.get("failover", "service")]
    return Service(
        place=settings.place,
        servers=tuple(Named(url.text(), url.place) for url in servers if url.text()),
        parts=tuple(Named(part.text(), part.place) for part in parts if part.text()),
        host=balancer.get("passHostHeader").place if changes_host else None,
        has_checks=any(kind.get("healthCheck").is_set for _, kind in kinds if isinstance(kind.value, dict)),
        needs_checks=settings.get("failover").is_set,
        is_usable=len(kinds) == 1,
    )


def _parts(node: ConfigNode) -> list[ConfigNode]:
    """Those that get any requests."""
    return [part for part in node.get("services").items() if part.get("weight").value != "0"]


def _named(node: ConfigNode) -> tuple[Named, ...]:
    """The names of a list, each at its own line."""
    return tuple(Named(item.text(), item.place) for item in node.texts())


def _texts(node: ConfigNode) -> tuple[str, ...]:
    return tuple(item.text() for item in node.texts())


def _is_enabled(node: ConfigNode) -> bool:
    """Whether a section that may be empty is there, and not switched off."""
    return node.is_set and (not isinstance(node.value, str) or node.is_on())
