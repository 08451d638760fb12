"""The files of this node as conclusions from files alone want them: the resolver's, or others in their places, and what
the web servers' files name and nobody defines. No network; reads only.

Where the files alone do not say it (templates, TOML in Traefik's folder) nothing is claimed.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from certagent.config import AgentSettings
from certagent.domain.catalogue import Fact
from certagent.domain.diagnosis.static import StaticObservation
from certagent.domain.observations import Misconfiguration, Place
from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE
from certagent.domain.resolution.files import NSSWITCH_FILE, RESOLVER_FILES, parse_files
from certagent.domain.resolution.go import is_domain_name
from certagent.domain.resolution.managed_files import Manager, find_managers
from certagent.domain.web_servers import traefik
from certagent.domain.web_servers.nginx import Directive
from certagent.system.procfs import ProcFs
from certagent.system.regular_files import is_there, read_bytes
from certagent.vantage.ca_resolver import is_left_alone, read_files, unreadable_in
from certagent.vantage.config_lines import place_in
from certagent.vantage.foreign_files import Notes, Reading, read_foreign
from certagent.vantage.nginx_config import NGINX, read_nginx, require_files
from certagent.vantage.traefik_config import TRAEFIK, dynamic_files, read_traefik

_CODE = "deploy.dangling_reference"
_FILES = ("ssl_certificate", "ssl_certificate_key", "ssl_trusted_certificate", "ssl_client_certificate", "ssl_dhparam")
_NOT_FILES = ("$", "data:", "engine:")
_MISSING = "[Errno 2]"


def find_configurations(nginx: Path = NGINX, traefik_paths: tuple[Path, ...] = TRAEFIK) -> tuple[Path, ...]:
    """Where the configurations of this node's web servers begin."""
    static = next(filter(is_there, traefik_paths), None)
    return tuple(path for path in (nginx if is_there(nginx) else None, static) if path is not None)


def find_dangling(
    nginx: Path = NGINX, traefik_paths: tuple[Path, ...] = TRAEFIK
) -> Reading[tuple[Misconfiguration, ...]]:
    """Each of them, with the line that names it."""
    found: list[Misconfiguration] = []
    notes = Notes()
    for path in find_configurations(nginx, traefik_paths):
        search = _in_nginx if path == nginx else _in_traefik
        reading: Reading[tuple[Misconfiguration, ...]] = read_foreign(path, partial(search, path), ())
        found += reading.value
        notes.extend(reading.unreadable)
    return Reading(tuple(found), notes.all())


def _in_nginx(path: Path, notes: Notes) -> tuple[Misconfiguration, ...]:
    reading = read_nginx(path)
    notes.extend(reading.unreadable)
    require_files(path)
    return (*_missing_includes(path), *_missing_files(path, reading.value))


def _missing_files(path: Path, directives: Sequence[Directive]) -> Iterator[Misconfiguration]:
    for directive in _walk(directives):
        if directive.name in _FILES and directive.args and not directive.args[0].startswith(_NOT_FILES):
            file = path.parent / directive.args[0]
            if "$" not in directive.args[0] and not _may_exist(file):
                facts: dict[str, Fact] = {"target": str(file), "word": directive.name}
                yield Misconfiguration(code=_CODE, place=directive.place, variant="file", facts=facts)


def _missing_includes(path: Path) -> Iterator[Misconfiguration]:
    import crossplane

    try:
        errors: Sequence[dict[str, Any]] = crossplane.parse(str(path), combine=True, catch_errors=True)["errors"]
    except (OSError, ValueError):
        return
    texts: dict[str, list[str]] = {}
    for error in errors:
        file, line, said = error["file"], error["line"], str(error["error"])
        if said.startswith(_MISSING):
            place = place_in(file, line, texts) if line else Place(file=file)
            missing = said.partition(": ")[2].strip("'")
            variant = "include" if line else "link"
            yield Misconfiguration(code=_CODE, place=place, variant=variant, facts={"target": missing})


def _in_traefik(static: Path, notes: Notes) -> tuple[Misconfiguration, ...]:
    """Nothing where a part cannot be read: what seems to be missing may be defined there."""
    reading = read_traefik(static)
    notes.extend(reading.unreadable)
    files = dynamic_files(static)
    folders = {file.parent for file in files}
    is_whole = not reading.unreadable and all(map(_is_plain, files)) and not _has_toml(folders)
    return tuple(traefik.dangling(reading.value)) if reading.value is not None and is_whole else ()


def _has_toml(folders: set[Path]) -> bool:
    return any(True for folder in folders for _ in folder.glob("**/*.toml"))


def _is_plain(file: Path) -> bool:
    """No template: that defines what only Traefik sees."""
    try:
        return b"{{" not in read_bytes(file)
    except OSError:
        return False


def _walk(directives: Sequence[Directive]) -> Iterator[Directive]:
    for directive in directives:
        yield directive
        yield from _walk(directive.block)


def _may_exist(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:
        return True


def look_at_files(
    settings: AgentSettings | None, given: Mapping[str, tuple[Path, bytes]], root: Path = Path("/")
) -> StaticObservation:
    """Live path -> (file, its content) for those that are `given`; the others as they are. Raises OSError.

    Without configured zones the search list says what this node's own zones are.
    """
    proc = ProcFs()
    live, states = read_files(root, proc)
    contents = {path: given[path][1] if path in given else states[path].content for path in RESOLVER_FILES}
    files = parse_files(contents[HOSTS_FILE], contents[RESOLV_CONF_FILE], contents[NSSWITCH_FILE], live.hostname)
    managers: dict[str, Mapping[int, Manager]] = {
        HOSTS_FILE: live.managers,
        RESOLV_CONF_FILE: live.resolv_conf_managers,
    }
    managers |= {path: find_managers(content) for path, (_, content) in given.items()}
    zones = settings.dns.zones if settings is not None else ()
    web_servers = find_dangling()
    problems = unreadable_in({path: state for path, state in states.items() if path not in given})
    return StaticObservation(
        node=settings.agent.name if settings is not None else live.hostname,
        files=files,
        contents=contents,
        links={path: None if path in given else states[path].target for path in RESOLVER_FILES},
        managers=managers,
        shown={path: str(file) for path, (file, _) in given.items()},
        left_alone=tuple(path for path in RESOLVER_FILES if path not in given and is_left_alone(root, path)),
        zones=zones or tuple(suffix for suffix in files.resolv_conf.search if is_domain_name(suffix)),
        own_names=_own_names(settings),
        own_addresses=proc.addresses(),
        gateways=web_servers.value,
        unreadable=(*problems, *web_servers.unreadable),
    )


def _own_names(settings: AgentSettings | None) -> tuple[str, ...]:
    """What may well be on loopback here: this node's identifiers, and the CA's name on the CA's node."""
    if settings is None:
        return ()
    names = [identifier for certificate in settings.certificate for identifier in certificate.identifiers]
    if settings.vantage is not None:
        names.append(urlsplit(settings.authority.directory).hostname or "")
    return (settings.agent.name, *names)
