"""The resolver's files looked at name by name: what the watch needs after a change. Observations only.

For each name of the fleet that a hosts file mentions, or mentioned before: how it resolves, hosts and DNS side by
side.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from certagent.domain.rehearsals import Resolution
from certagent.domain.resolution.files import RESOLVER_FILES, ResolverFiles, parse_files
from certagent.domain.resolution.hosts import HOSTS_FILE, UnreadLine, parse_hosts
from certagent.domain.resolution.managed_files import Surroundings, find_managers
from certagent.domain.resolution.nsswitch import NSSWITCH_FILE
from certagent.domain.resolution.resolv_conf import RESOLV_CONF_FILE
from certagent.system.procfs import FileState, ProcFs, read_within
from certagent.vantage.ca_resolver import ResolverSession

MOST_NAMES = 500

Snapshot = Mapping[str, FileState]
"""Path, as the CA knows it -> the file as it was found."""


class FileObservation(msgspec.Struct, frozen=True, kw_only=True):
    """What the resolver's files do to the fleet's names. `reason`: why nothing could be seen; then the rest is empty.

    `resolutions` covers the names of the hosts file now and in the snapshot before. `unread` are lines without
    effect. `own_names` and `own_addresses` are those of this node, which may well be on loopback here.
    """

    snapshot: Snapshot = {}
    resolutions: tuple[Resolution, ...] = ()
    unread: tuple[UnreadLine, ...] = ()
    files: ResolverFiles | None = None
    own_names: tuple[str, ...] = ()
    own_addresses: tuple[str, ...] = ()
    left_out: int = 0  # names beyond the bound
    reason: str | None = None


def read_files(root: Path, proc: ProcFs, pid: int | None = None) -> tuple[ResolverFiles, Snapshot]:
    """The resolver's files below `root`, parsed and as found; `pid` is whose world that is, ours by default. What that
    process may not read is absent to it."""
    states = {path: read_within(root, path) for path in RESOLVER_FILES}
    reader = proc.reader(pid) if pid is not None else None
    unreadable = tuple(path for path, state in states.items() if reader is not None and not reader.may_read(state))
    seen = {path: None if path in unreadable else state.content for path, state in states.items()}
    around = {
        path: Surroundings(
            pve_ignored=is_left_alone(root, path),
            target=states[path].target,
            mounted_from=proc.mounted_from(pid, path),
        )
        for path in (HOSTS_FILE, RESOLV_CONF_FILE)
    }
    files = parse_files(
        seen[HOSTS_FILE],
        seen[RESOLV_CONF_FILE],
        seen[NSSWITCH_FILE],
        socket.gethostname(),
        around[HOSTS_FILE],
    )
    managers = find_managers(seen[RESOLV_CONF_FILE] or b"", around[RESOLV_CONF_FILE])
    return msgspec.structs.replace(files, resolv_conf_managers=managers, unreadable=unreadable), states


def is_left_alone(root: Path, path: str) -> bool:
    """Whether Proxmox was told not to rewrite that file."""
    return read_within(root, f"/etc/.pve-ignore.{Path(path).name}").content is not None


def names_of_fleet(
    snapshots: Sequence[Snapshot], zones: Sequence[str], is_wanted: Callable[[str], bool]
) -> tuple[str, ...]:
    """The names in these hosts files that lie in a zone of the fleet (or are the zone), or are wanted otherwise."""
    found: dict[str, None] = {}
    for snapshot in snapshots:
        state = snapshot.get(HOSTS_FILE)
        names = parse_hosts(state.content).names() if state is not None else ()
        found |= dict.fromkeys(name for name in names if _is_in(name, zones) or is_wanted(name))
    return tuple(found)


async def resolve_all(desk: ResolverSession, names: Sequence[str]) -> tuple[Resolution, ...]:
    """Each name as the files and nameservers have it, in the same order."""
    return tuple(await asyncio.gather(*(desk.resolve(name) for name in names[:MOST_NAMES])))


def _is_in(name: str, zones: Sequence[str]) -> bool:
    lowered = [zone.lower().strip(".") for zone in zones]
    return any(name == zone or name.endswith("." + zone) for zone in lowered)
