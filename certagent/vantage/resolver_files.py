"""The resolver files of a node or of a process, read, and what else decides what they mean. Resolves nothing, draws no
conclusions.
"""

import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import msgspec

from certagent.domain.observations import Unreadable
from certagent.domain.rehearsals import Resolution
from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE, UnreadLine
from certagent.domain.resolution.files import NSSWITCH_FILE, RESOLVER_FILES, ResolverFiles, parse_files
from certagent.domain.resolution.managed_files import Manager, Surroundings, find_managers
from certagent.system.procfs import ProcFs
from certagent.system.regular_files import FileState, read_bytes, read_within
from certagent.vantage.foreign_files import beginning_of

_LEASED = re.compile(rb"option domain-name-servers ([^;]*);")  # dhclient.leases(5)

Snapshot = Mapping[str, FileState]
"""The path as the CA sees it -> the file as it was found."""


class FileObservation(msgspec.Struct, frozen=True, kw_only=True):
    """What the resolver files do to the fleet's names. `reason` says why nothing could be observed; everything else is
    then empty.

    `resolutions` covers the names in the hosts file now and in the earlier snapshot. `unread` are lines that have no
    effect. `own_names` and `own_addresses` belong to this node and may legitimately resolve to loopback here.
    """

    snapshot: Snapshot = {}
    resolutions: tuple[Resolution, ...] = ()
    unread: tuple[UnreadLine, ...] = ()
    files: ResolverFiles | None = None
    own_names: tuple[str, ...] = ()
    own_addresses: tuple[str, ...] = ()
    left_out: int = 0  # number of names above the limit
    unreadable: tuple[Unreadable, ...] = ()  # of these files, and of what else decides there
    reason: str | None = None


def read_files(root: Path, proc: ProcFs, pid: int | None = None) -> tuple[ResolverFiles, Snapshot]:
    """Return the resolver files below `root`, parsed and raw. `pid` selects the process whose view they are read in
    (by default this process); a file that process cannot read counts as absent."""
    states = {path: _state_of(root, path, pid) for path in RESOLVER_FILES}
    reader = proc.reader(pid) if pid is not None else None
    unreadable = tuple(path for path, state in states.items() if reader is not None and not reader.may_read(state))
    seen = {path: None if path in unreadable else state.content for path, state in states.items()}
    surroundings = {
        path: Surroundings(
            pve_ignored=is_left_alone(root, path),
            target=states[path].target,
            mounted_from=proc.mounted_from(pid, path),
        )
        for path in (HOSTS_FILE, RESOLV_CONF_FILE)
    }
    files = _parse_files(
        seen[HOSTS_FILE],
        seen[RESOLV_CONF_FILE],
        seen[NSSWITCH_FILE],
        socket.gethostname(),
        surroundings[HOSTS_FILE],
    )
    resolv_conf = seen[RESOLV_CONF_FILE] or b""
    managers = find_managers(resolv_conf, surroundings[RESOLV_CONF_FILE])
    if not managers and set(files.resolv_conf.asked()) <= _leased_nameservers(root):
        managers = dict.fromkeys(range(1, len(resolv_conf.splitlines()) + 1), Manager.DHCLIENT)
    return msgspec.structs.replace(files, resolv_conf_managers=managers, unreadable=unreadable), states


_parse_files = lru_cache(maxsize=2)(parse_files)  # each identifier's look reads them; what they hold is seldom another


def _state_of(root: Path, path: str, pid: int | None) -> FileState:
    """Return the file's state. If this node's own file cannot be read, the state says so; if another process may not
    be observed, that is left to the caller."""
    try:
        return read_within(root, path)
    except PermissionError as error:
        if pid is not None:
            raise
        return FileState(problem=error.strerror)


def _leased_nameservers(root: Path) -> frozenset[str]:
    """Return the nameservers in the leases of dhclient, whose script writes them into resolv.conf: Debian's without a
    mark."""
    found: set[str] = set()
    for file in (root / "var/lib/dhcp").glob("dhclient*.leases"):
        with suppress(OSError):
            for options in _LEASED.findall(read_bytes(file)):
                found |= {address.strip() for address in options.decode(errors="replace").split(",")}
    return frozenset(found)


def unreadable_in(states: Snapshot) -> tuple[Unreadable, ...]:
    """Return the files that exist but cannot be read, or only their beginning."""
    found = [Unreadable(file=path, reason=state.problem) for path, state in states.items() if state.problem is not None]
    return (*found, *(beginning_of(path) for path, state in states.items() if not state.is_whole))


def is_left_alone(root: Path, path: str) -> bool:
    """Return whether a marker file tells Proxmox not to rewrite that file."""
    return read_within(root, f"/etc/.pve-ignore.{Path(path).name}").content is not None
