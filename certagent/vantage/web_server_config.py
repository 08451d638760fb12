"""The web servers of this node, read from their files with every line's place. Observations; never raises.

nginx through crossplane, Traefik through its static file and the file provider's YAML. What cannot be read is left out:
the rehearsal decides, and this only explains it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from certagent.domain.observations import Place, WebServerObservation
from certagent.domain.web_servers import nginx, traefik
from certagent.domain.web_servers.nginx import Directive
from certagent.domain.web_servers.traefik import Configuration, EntryPoint, Middleware, Named, Router
from certagent.vantage.tls_services import LARGEST_FILE, NGINX, TRAEFIK, load_yaml

_LONGEST_TEXT = 200
_MOST_FILES = 200
_INCLUDE = re.compile(r"""\binclude\s+["']?([^;"'\s]+)""")
_GLOB = re.compile(r"[*?[]")
_SECRET = re.compile(r"(authorization|token|secret|password|api[-_]?key)", re.IGNORECASE)

Stamp = tuple[tuple[str, int, int], ...]


class WebServerConfigs:
    """Reads again only what has changed. `nginx_path`, `traefik_paths`: where the configurations begin."""

    def __init__(self, nginx_path: Path = NGINX, traefik_paths: tuple[Path, ...] = TRAEFIK) -> None:
        self._nginx_path = nginx_path
        self._traefik_paths = traefik_paths
        self._nginx: tuple[Stamp, tuple[Directive, ...]] = ((), ())
        self._traefik: tuple[Stamp, Configuration | None] = ((), None)
        self._reading = Lock()

    def observe(self, name: str) -> tuple[WebServerObservation, ...]:
        """What each web server here does on port 80 with the challenge of `name`."""
        observations = []
        with self._reading:  # who comes second finds it read
            directives = self._read_nginx() if self._nginx_path.is_file() else None
            configuration = self._read_traefik()
        if directives is not None:
            observations.append(nginx.judge(directives, name.lower()))
        if configuration is not None:
            observations.append(traefik.judge(configuration, name.lower()))
        return tuple(observation for observation in observations if observation is not None)

    def _read_nginx(self) -> tuple[Directive, ...]:
        stamp, directives = self._nginx
        if not stamp or stamp != _stamp(Path(path) for path, _, _ in stamp):
            stamp = _stamp(_decided_by(self._nginx_path))  # before it is read: what changes meanwhile is read again
            directives = read_nginx(self._nginx_path)
            self._nginx = (stamp, directives)
        return directives

    def _read_traefik(self) -> Configuration | None:
        static = next((path for path in self._traefik_paths if path.is_file()), None)
        if static is None:
            return None
        below = (path for path in static.parent.iterdir() if path.is_dir())
        stamp = _stamp([static, *_dynamic_files(load_yaml(static)), static.parent, *below])
        if stamp != self._traefik[0]:
            self._traefik = (stamp, read_traefik(static))
        return self._traefik[1]


def read_nginx(path: Path) -> tuple[Directive, ...]:
    """Its directives, with includes in their places."""
    import crossplane

    try:
        parsed = crossplane.parse(str(path), combine=True, catch_errors=True)
    except (OSError, ValueError):
        return ()
    texts: dict[str, list[str]] = {}
    blocks = [block for file in parsed["config"] for block in file["parsed"]]
    return tuple(_directives(blocks, texts))


def _decided_by(nginx: Path) -> list[Path]:
    """The file and all that it includes, and the folders in which more of them may come. A pair of nginx's is none of
    them: it changes with every renewal, and the configuration does not."""
    files, folders = [nginx], []
    for file in files:  # which grows meanwhile
        for pattern in _INCLUDE.findall("\n".join(line.partition("#")[0] for line in _lines(file))):
            path = nginx.parent / pattern
            folder = next((parent for parent in path.parents if not _GLOB.search(str(parent))), path)
            files += [match for match in _matching(path, folder) if match not in files][
                : max(0, _MOST_FILES - len(files))
            ]
            folders.append(folder)
    return [*files, *folders]


def _matching(path: Path, folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob(str(path.relative_to(folder))))
    except (OSError, ValueError, IndexError):  # what pathlib does not take for a pattern, nginx may take for a name
        return []


def _directives(blocks: Sequence[Mapping[str, Any]], texts: dict[str, list[str]]) -> Iterator[Directive]:
    for block in blocks:
        place = place_in(block.get("file", ""), block["line"], texts)
        inner = tuple(_directives(block.get("block", ()), texts))
        yield Directive(block["directive"], tuple(block["args"]), place, inner)


def place_in(file: str, line: int, texts: dict[str, list[str]]) -> Place:
    """A line of a file, with its text; `texts` remembers what was read."""
    if file not in texts:
        texts[file] = _lines(Path(file))
    lines = texts[file]
    return Place(file=file, line=line, text=_shown(lines[line - 1]) if 0 < line <= len(lines) else None)


def read_traefik(static: Path) -> Configuration:
    """The static file and all files of the file provider."""
    document = load_yaml(static)
    files = _dynamic_files(document)
    dynamic = [(file, load_yaml(file)) for file in files]
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
    """The line of a key."""
    return _at(file, table.lc.key(key)[0])


def _at(file: Path, line: int) -> Place:
    lines = _lines(file)
    return Place(file=str(file), line=line + 1, text=_shown(lines[line]) if line < len(lines) else None)


def table_of(document: Any, key: str) -> Any:
    """The table of that name in a document; an empty one where there is none."""
    found = document.get(key) if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


def _tables(document: Any) -> Iterator[tuple[str, Any]]:
    for name, settings in document.items():
        if isinstance(settings, dict):
            yield str(name), settings


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


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines() if path.stat().st_size <= LARGEST_FILE else []
    except OSError:
        return []


def _shown(line: str) -> str:
    """The line without its indentation; nothing of one that may hold a secret."""
    text = line.strip()[:_LONGEST_TEXT]
    return "(not shown: it may hold a secret)" if _SECRET.search(text) else text


def _stamp(paths: Iterable[Path]) -> Stamp:
    """What changes when any of the files does, or when one comes or goes in any of the folders."""
    stamps = []
    for path in dict.fromkeys(paths):
        try:
            status = path.stat()
        except OSError:
            stamps.append((str(path), 0, 0))
        else:
            stamps.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(stamps)
