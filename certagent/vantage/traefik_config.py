"""Traefik's configuration read: the static file, the file provider's files, with every line's place."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from certagent.domain.observations import Place
from certagent.domain.web_servers import traefik
from certagent.domain.web_servers.traefik import Configuration, EntryPoint, Middleware, Named, Router
from certagent.system.regular_files import read_bytes
from certagent.vantage.bounded_yaml import load_yaml_text
from certagent.vantage.config_lines import LARGEST_FILE, place_in
from certagent.vantage.foreign_files import Notes, Reading, read_foreign

TRAEFIK = (Path("/etc/traefik/traefik.yml"), Path("/etc/traefik/traefik.yaml"))
_MOST_FILES = 200
_CHALLENGES = {"httpChallenge": "http-01", "tlsChallenge": "tls-alpn-01", "dnsChallenge": "dns-01"}
_HOST_RULE = re.compile(r"Host\(([^)]*)\)")
_QUOTED = re.compile(r"[`\"']([^`\"']+)[`\"']")


class TraefikProvider(msgspec.Struct, frozen=True, kw_only=True):
    """Traefik's file provider: its folder, and the hosts that its routers name."""

    dynamic: Path
    names: tuple[str, ...]
    has_own_acme: bool
    challenge: str = "http-01"  # by which its own ACME proves the names; http-01 also where its resolvers differ


def find_traefik(configurations: tuple[Path, ...] = TRAEFIK) -> TraefikProvider | None:
    """The file provider of the first configuration there is; None without one."""
    for path in configurations:
        static = load_yaml(path)
        directory = static.get("providers", {}).get("file", {}).get("directory")
        if directory:
            folder = Path(directory)
            return TraefikProvider(
                dynamic=folder,
                names=tuple(dict.fromkeys(name for file in sorted(folder.glob("*.y*ml")) for name in _hosts(file))),
                has_own_acme="certificatesResolvers" in static,
                challenge=_challenge(static.get("certificatesResolvers")),
            )
    return None


def _challenge(resolvers: Any) -> str:
    tables = list(resolvers.values()) if isinstance(resolvers, dict) else []
    acme = [table.get("acme") for table in tables if isinstance(table, dict)]
    used = {_CHALLENGES[key] for table in acme if isinstance(table, dict) for key in _CHALLENGES if key in table}
    return used.pop() if len(used) == 1 else "http-01"


def read_traefik(static: Path) -> Reading[Configuration | None]:
    """The static file and all files of the file provider; None where that cannot be read."""
    return read_foreign(static, lambda notes: _read(static, notes), None)


def _read(static: Path, notes: Notes) -> Configuration:
    document = load_yaml(static, notes)
    files = _dynamic_files(document)
    dynamic = [(file, load_yaml(file, notes)) for file in files]
    sections = [
        (file, table_of(table_of(settings, "http"), kind), kind) for file, settings in dynamic for kind in _KINDS
    ]
    return Configuration(
        entry_points=tuple(_entry_points(static, document)),
        challengers=tuple(_challengers(static, document)),
        resolvers=tuple(name for name, _ in _tables(table_of(document, "certificatesResolvers"))),
        routers=tuple(
            _router(f, name, settings)
            for f, table, kind in sections
            if kind == "routers"
            for name, settings in _tables(table)
        ),
        middlewares={
            name: _middleware(f, settings)
            for f, table, kind in sections
            if kind == "middlewares"
            for name, settings in _tables(table)
            if settings
        },
        services={
            name: tuple(_servers(f, settings))
            for f, table, kind in sections
            if kind == "services"
            for name, settings in _tables(table)
        },
        renaming={
            name: place_of(f, balancer, "passHostHeader")
            for f, table, kind in sections
            if kind == "services"
            for name, settings in _tables(table)
            if (balancer := table_of(settings, "loadBalancer")).get("passHostHeader") is False
        },
    )


_KINDS = ("routers", "middlewares", "services")


def _entry_points(file: Path, document: Any) -> Iterator[EntryPoint]:
    for name, settings in _tables(table_of(document, "entryPoints")):
        redirections = table_of(table_of(settings, "http"), "redirections")
        redirects = place_of(file, redirections, "entryPoint") if "entryPoint" in redirections else None
        try:
            port = traefik.port_of(str(settings.get("address", "")))
        except ValueError:
            port = None
        yield EntryPoint(name=name, port=port, redirects=redirects)


def _challengers(file: Path, document: Any) -> Iterator[Named]:
    for _, resolver in _tables(table_of(document, "certificatesResolvers")):
        acme = table_of(resolver, "acme")
        challenge = table_of(acme, "httpChallenge")
        if "entryPoint" in challenge:
            yield Named(str(challenge["entryPoint"]), place_of(file, acme, "httpChallenge"))


def _router(file: Path, name: str, settings: Any) -> Router:
    service = settings.get("service")
    priority = settings.get("priority")
    return Router(
        name=name,
        rule=str(settings.get("rule", "")),
        place=place_of(file, settings, "rule") if "rule" in settings else Place(file=str(file)),
        entry_points=tuple(_named(file, settings, "entryPoints")),
        middlewares=tuple(_named(file, settings, "middlewares")),
        service=Named(str(service), place_of(file, settings, "service")) if service else None,
        priority=priority if isinstance(priority, int) else None,
        has_tls="tls" in settings,
        resolver=_resolver(file, table_of(settings, "tls")),
    )


def _resolver(file: Path, tls: Any) -> Named | None:
    return Named(str(tls["certResolver"]), place_of(file, tls, "certResolver")) if "certResolver" in tls else None


def _middleware(file: Path, settings: Any) -> Middleware:
    kind = next(iter(settings))
    headers = table_of(table_of(settings, "headers"), "customRequestHeaders")
    host = next((place_of(file, headers, header) for header in headers if str(header).lower() == "host"), None)
    return Middleware(kind=str(kind), place=place_of(file, settings, kind), host=host)


def _servers(file: Path, settings: Any) -> Iterator[Named]:
    servers = table_of(settings, "loadBalancer").get("servers")
    for server in servers if isinstance(servers, list) else ():
        if isinstance(server, dict) and "url" in server:
            yield Named(str(server["url"]), place_of(file, server, "url"))


def _named(file: Path, table: Any, key: str) -> Iterator[Named]:
    """The names of a list, each at its own line."""
    names: Any = table.get(key)
    for number, name in enumerate(names if isinstance(names, list) else ()):
        yield Named(str(name), _at(file, names.lc.item(number)[0]))


def place_of(file: Path, table: Any, key: Any) -> Place:
    """The line of a key; of the table that it was merged into, where it stands elsewhere (`<<`)."""
    is_its_own = key in (table.lc.data or {})
    return _at(file, table.lc.key(key)[0] if is_its_own else table.lc.line)


def _at(file: Path, line: int) -> Place:
    return place_in(str(file), line + 1, {})


def table_of(document: Any, key: str) -> Any:
    """The table of that name in a document; an empty one where there is none."""
    found = document.get(key) if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


def _tables(document: Any) -> Iterator[tuple[str, Any]]:
    for name, settings in document.items():
        if isinstance(settings, dict):
            yield str(name), settings


def decisive_paths(static: Path) -> list[Path]:
    """The file and those of its file provider, and the folders in which more of them may come."""
    provider = table_of(table_of(load_yaml(static), "providers"), "file")
    folder = Path(str(provider["directory"])) if "directory" in provider else static.parent
    below = [path for path in folder.glob("**") if path.is_dir()][:_MOST_FILES]
    return [static, *dynamic_files(static), static.parent, *below]


def dynamic_files(static: Path) -> list[Path]:
    """The files of the file provider that this static file names."""
    return _dynamic_files(load_yaml(static))


def _dynamic_files(static: Any) -> list[Path]:
    provider = table_of(table_of(static, "providers"), "file")
    if "filename" in provider:
        return [Path(str(provider["filename"]))]
    if "directory" not in provider:
        return []
    return sorted(Path(str(provider["directory"])).glob("**/*.y*ml"))[:_MOST_FILES]


def _hosts(path: Path) -> list[str]:
    routers = (load_yaml(path).get("http") or {}).get("routers") or {}
    rules = [str(router.get("rule", "")) for router in routers.values()]
    return [name for rule in rules for names in _HOST_RULE.findall(rule) for name in _QUOTED.findall(names)]


def load_yaml(path: Path, notes: Notes | None = None) -> Any:
    """The document with its lines; an empty one where it cannot be read: Traefik cannot read it either."""
    reading: Reading[Any] = read_foreign(path, lambda noted: _load(path, noted), {})
    if notes is not None:
        notes.extend(reading.unreadable)
    return reading.value


def _load(path: Path, notes: Notes) -> Any:
    document = load_yaml_text(read_bytes(path, LARGEST_FILE))
    if document is not None and not isinstance(document, dict):
        notes.add(path, 1, "it is no table")
    return document if isinstance(document, dict) else {}
