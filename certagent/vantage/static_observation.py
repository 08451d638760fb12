"""The files of this node from which conclusions are drawn without the network: the resolver files, or files given in
their place, and references in the web servers' files to names that are not defined. Only reads.

Where the files alone do not decide (templates), nothing is claimed.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from certagent.config import AgentSettings
from certagent.domain.catalogue import Fact
from certagent.domain.diagnosis.static import StaticObservation
from certagent.domain.observations import Misconfiguration
from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE
from certagent.domain.resolution.files import NSSWITCH_FILE, RESOLVER_FILES, parse_files
from certagent.domain.resolution.go import is_domain_name
from certagent.domain.resolution.managed_files import Manager, find_managers
from certagent.domain.web_servers import nginx, traefik
from certagent.domain.web_servers.nginx_syntax import Directive, walk
from certagent.system.files import LARGEST_GIVEN, Given
from certagent.system.procfs import ProcFs
from certagent.system.regular_files import is_there
from certagent.vantage.foreign_files import Notes, Reading, beginning_of, read_foreign
from certagent.vantage.nginx_config import INCLUDE, NGINX, read_nginx
from certagent.vantage.resolver_files import is_left_alone, read_files, unreadable_in
from certagent.vantage.traefik_config import read_traefik
from certagent.vantage.traefik_files import TRAEFIK, find_static

_CODE = "deploy.dangling_reference"
_FILES = (
    *("ssl_certificate", "ssl_certificate_key", "ssl_trusted_certificate", "ssl_client_certificate", "ssl_dhparam"),
    *("ssl_session_ticket_key", "ssl_password_file", "ssl_crl"),
    *("proxy_ssl_certificate", "proxy_ssl_certificate_key", "proxy_ssl_trusted_certificate", "proxy_ssl_crl"),
)
"""Whose file nginx opens when it reads its configuration."""
_ANY_NAME = f"{'a' * 40}.example"
"""A host that patterns of names are tried on."""
_NOT_FILES = ("$", "data:", "engine:")


def find_configurations(nginx: Path = NGINX, traefik_paths: tuple[Path, ...] = TRAEFIK) -> tuple[Path, ...]:
    """Return the files at which the configurations of this node's web servers begin."""
    static = find_static(traefik_paths)
    return tuple(path for path in (nginx if is_there(nginx) else None, static) if path is not None)


def find_dangling(
    nginx: Path = NGINX, traefik_paths: tuple[Path, ...] = TRAEFIK
) -> Reading[tuple[Misconfiguration, ...]]:
    """Return each undefined reference with the line that contains it."""
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
    found = {(one.place, one.variant, one.facts["target"]): one for one in _undefined(path, reading.value)}
    found |= {(one.place, one.variant, ""): one for one in nginx.find_hard_patterns(reading.value, _ANY_NAME)}
    return tuple(found.values())  # a file that several servers include is said once


def _undefined(path: Path, directives: tuple[Directive, ...]) -> Iterator[Misconfiguration]:
    for directive in walk(directives):
        place = directive.place
        if directive.name == INCLUDE and directive.args:
            variant = "include" if place.line else "link"
            yield Misconfiguration(code=_CODE, place=place, variant=variant, facts={"target": directive.args[0]})
        if directive.name in _FILES and directive.args and not directive.args[0].startswith(_NOT_FILES):
            file = path.parent / directive.args[0]
            if "$" not in directive.args[0] and not _may_exist(file):
                facts: dict[str, Fact] = {"target": str(file), "word": directive.name}
                yield Misconfiguration(code=_CODE, place=place, variant="file", facts=facts)


def _in_traefik(static: Path, notes: Notes) -> tuple[Misconfiguration, ...]:
    """Return nothing if a part cannot be read: what seems to be undefined may be defined there."""
    reading = read_traefik(static)
    notes.extend(reading.unreadable)
    return tuple(traefik.dangling(reading.value)) if not reading.unreadable else ()


def _may_exist(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:
        return True


def look_at_files(
    settings: AgentSettings | None, given: Mapping[str, Given], root: Path = Path("/")
) -> StaticObservation:
    """Observe this node's resolver files, with the `given` files (by the live path) in place of the live ones. Raises
    OSError.

    Without configured zones, the search list determines the zones of this node.
    """
    proc = ProcFs()
    live, states = read_files(root, proc)
    contents = {path: given[path].content if path in given else states[path].content for path in RESOLVER_FILES}
    files = parse_files(contents[HOSTS_FILE], contents[RESOLV_CONF_FILE], contents[NSSWITCH_FILE], live.hostname)
    managers: dict[str, Mapping[int, Manager]] = {
        HOSTS_FILE: live.managers,
        RESOLV_CONF_FILE: live.resolv_conf_managers,
    }
    managers |= {path: find_managers(one.content) for path, one in given.items()}
    zones = settings.dns.zones if settings is not None else ()
    web_servers = find_dangling()
    problems = unreadable_in({path: state for path, state in states.items() if path not in given})
    cut = [beginning_of(str(one.file), LARGEST_GIVEN) for one in given.values() if not one.is_whole]
    return StaticObservation(
        node=settings.agent.name if settings is not None else live.hostname,
        files=files,
        contents=contents,
        links={path: None if path in given else states[path].target for path in RESOLVER_FILES},
        managers=managers,
        shown={path: str(one.file) for path, one in given.items()},
        left_alone=tuple(path for path in RESOLVER_FILES if path not in given and is_left_alone(root, path)),
        zones=zones or tuple(suffix for suffix in files.resolv_conf.search if is_domain_name(suffix)),
        own_names=_own_names(settings),
        own_addresses=proc.addresses(),
        gateways=web_servers.value,
        unreadable=(*problems, *cut, *web_servers.unreadable),
    )


def _own_names(settings: AgentSettings | None) -> tuple[str, ...]:
    """Return the names that may legitimately resolve to loopback here: this node's identifiers and, on the CA's
    node, the CA's name."""
    if settings is None:
        return ()
    names = [identifier for certificate in settings.certificate for identifier in certificate.identifiers]
    if settings.vantage is not None:
        names.append(urlsplit(settings.authority.directory).hostname or "")
    return (settings.agent.name, *names)
