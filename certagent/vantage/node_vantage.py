"""Observations of this node: its addresses, its listening sockets, and how names resolve on it."""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from certagent.domain.observations import ListeningSocket, NodeObservation
from certagent.domain.rehearsals import LibcAnswer, Resolution
from certagent.domain.reports import Resolver
from certagent.system import libc
from certagent.system.clock import SystemClock
from certagent.system.processes import ReloadCoordinator
from certagent.system.procfs import Process, ProcFs
from certagent.vantage.ca_resolver import (
    MOST_NAMES,
    ResolverSession,
    names_of_fleet,
    resolve_all,
)
from certagent.vantage.resolver_files import FileObservation, Snapshot, read_files, unreadable_in

RESPONDING_FOR = timedelta(seconds=2)
LIBC_FOR = timedelta(seconds=3.3)  # as long as a silent nameserver may take anywhere

_READS_APART = 0.2
"""Seconds between two reads of the same thing while many callers want one."""
_Seen = TypeVar("_Seen")

_ROLES = (("step-ca", "authority"), ("traefik", "traefik"), ("nginx", "nginx"))
_COLLECTOR = "collector"


class NodeVantage:
    """Observes the node on which the agent runs. `root` is the folder below which its files are found."""

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        zones: Sequence[str] = (),
        proc: ProcFs | None = None,
        root: Path = Path("/"),
    ) -> None:
        self._nameservers = nameservers
        self._zones = zones
        self._proc = proc or ProcFs()
        self._root = root
        self._reads = ReloadCoordinator(SystemClock())

    def addresses(self) -> tuple[str, ...]:
        """Return this node's addresses, without loopback and link-local ones."""
        return self._proc.addresses()

    def listeners(self) -> tuple[ListeningSocket, ...]:
        """Return the listening sockets and their processes."""
        own_pid = os.getpid()
        return tuple(
            ListeningSocket(listening.address, listening.port, owner.name, owner.pid == own_pid)
            if owner is not None
            else ListeningSocket(listening.address, listening.port)
            for listening, owner in self._listening()
        )

    def role(self) -> str | None:
        """Return the role that the listening processes show: "authority", "traefik", "nginx", "collector", or
        None. What else it is, such as a gateway, only its configuration says."""
        owners = [owner for _, owner in self._listening() if owner is not None]
        names = {owner.name for owner in owners}
        known = next((role for name, role in _ROLES if name in names), None)
        return known or (_COLLECTOR if any(map(_is_collector, owners)) else None)

    def resolver(self) -> Resolver:
        """Return how names are resolved on this node."""
        files, _ = read_files(self._root, self._proc)
        conf = files.resolv_conf
        return Resolver(order=files.nsswitch.order, nameservers=conf.asked(), search=conf.search)

    async def resolve(self, name: str) -> Resolution:
        """Resolve a name with this node's files and every nameserver, hosts and DNS side by side, as a Go program
        sees it."""
        files, _ = await asyncio.to_thread(read_files, self._root, self._proc)
        async with ResolverSession(files, self._nameservers) as session:
            return await session.resolve(name)

    async def observe(self, identifier: str, authority: str) -> NodeObservation:
        """Return what this node sees of one of its identifiers and of the CA's name. Never raises; bounded."""
        files, _ = await self._once_for_all("files", partial(read_files, self._root, self._proc))
        async with ResolverSession(files, self._nameservers) as session, asyncio.TaskGroup() as group:
            resolution = group.create_task(session.resolve(identifier), name=f"resolve {identifier} here")
            resolved = self._reads.run_shared(authority, partial(self.resolve, authority), apart=_READS_APART)
            authority_resolution = group.create_task(resolved, name=f"resolve {authority} here")
        return NodeObservation(files=files, resolution=resolution.result(), authority=authority_resolution.result())

    async def listeners_now(self) -> tuple[ListeningSocket, ...]:
        """Return the listening sockets, looked for once for all who ask at the same time."""
        return await self._once_for_all("listeners", self.listeners)

    async def inspect_files(self, before: Snapshot | None = None) -> FileObservation:
        """Observe what this node's resolver files do to the fleet's names."""
        files, states = await asyncio.to_thread(read_files, self._root, self._proc)
        snapshots = [states, *([before] if before is not None else [])]
        names = names_of_fleet(snapshots, self._zones, lambda _name: False)
        async with ResolverSession(files, self._nameservers) as session:
            resolutions = await resolve_all(session, names)
        return FileObservation(
            snapshot=states,
            resolutions=resolutions,
            unread=files.hosts.unread,
            files=files,
            own_names=(socket.gethostname(),),
            own_addresses=await asyncio.to_thread(self.addresses),
            left_out=max(0, len(names) - MOST_NAMES),
            unreadable=unreadable_in(states),
        )

    async def _once_for_all(self, what: str, read: Callable[[], _Seen]) -> _Seen:
        """Read what is the same for every identifier once for all waiting callers: by a read that begins after the
        call, never by an earlier one."""
        return await self._reads.run_shared(what, partial(asyncio.to_thread, read), apart=_READS_APART)

    def _listening(self) -> list[tuple["_Socket", Process | None]]:
        sockets = [_Socket(found.address, found.port, found.inode) for found in self._proc.sockets("listen")]
        owners = self._proc.owners(frozenset(found.inode for found in sockets))
        return [(found, owners.get(found.inode)) for found in sockets]


async def ask_libc(name: str) -> LibcAnswer:
    """Return what libc says within `LIBC_FOR`. Never raises."""
    try:
        async with asyncio.timeout(LIBC_FOR.total_seconds()):
            return LibcAnswer(name, tuple(await libc.addresses_of(name)))
    except TimeoutError:
        return LibcAnswer(name, error="timeout")
    except (OSError, UnicodeError) as error:
        return LibcAnswer(name, error=str(error))


class _Socket(msgspec.Struct, frozen=True):
    address: str
    port: int
    inode: int


def _is_collector(process: Process) -> bool:
    names = {Path(argument).name for argument in process.command[:3]}
    return "certagent" in names and _COLLECTOR in process.command
