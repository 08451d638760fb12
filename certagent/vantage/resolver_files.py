"""The files of this node, or others in their places, as conclusions from files alone want them. No network."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from certagent.config import AgentSettings
from certagent.domain.diagnosis.static import StaticObservation
from certagent.domain.resolution.files import RESOLVER_FILES, parse_files
from certagent.domain.resolution.go import is_domain_name
from certagent.domain.resolution.hosts import HOSTS_FILE
from certagent.domain.resolution.managed_files import Manager, find_managers
from certagent.domain.resolution.nsswitch import NSSWITCH_FILE
from certagent.domain.resolution.resolv_conf import RESOLV_CONF_FILE
from certagent.system.procfs import ProcFs
from certagent.vantage.broken_references import find_dangling
from certagent.vantage.resolver_observation import is_left_alone, read_files


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
        gateways=find_dangling(),
    )


def _own_names(settings: AgentSettings | None) -> tuple[str, ...]:
    """What may well be on loopback here: this node's identifiers, and the CA's name on the CA's node."""
    if settings is None:
        return ()
    names = [identifier for certificate in settings.certificate for identifier in certificate.identifiers]
    if settings.vantage is not None:
        names.append(urlsplit(settings.authority.directory).hostname or "")
    return (settings.agent.name, *names)
