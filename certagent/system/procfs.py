"""Linux as /proc shows it: processes, the world that each one sees, sockets, addresses. Reads only.

A process may vanish between two reads: whatever concerns it is then absent, never an exception. What we may not see
raises PermissionError, because blindness has to be said.
"""

import errno
import os
import socket
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from certagent.system.regular_files import FileState
from certagent.system.socket_addresses import socket_address
from certagent.system.tcp_sockets import TcpSocket, ask_kernel, read_tables

_MAY_READ_ALL = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


class Process(msgspec.Struct, frozen=True):
    """A process that runs. `command` is its argument list; `started_at` is exact to a hundredth of a second."""

    pid: int
    name: str
    command: tuple[str, ...]
    started_at: datetime


class Reader(msgspec.Struct, frozen=True):
    """Whom the kernel takes a process for when it opens a file: its file system user and groups, by number."""

    user: int
    groups: frozenset[int]
    may_read_all: bool = False

    def may_read(self, state: FileState) -> bool:
        """Whether owner, group and mode let it read that file; what is absent it may. Lists for access (ACL) and the
        folders on the way are not looked at."""
        if state.mode is None or self.may_read_all:
            return True
        if state.owner == self.user:
            return bool(state.mode & stat.S_IRUSR)
        return bool(state.mode & (stat.S_IRGRP if state.group in self.groups else stat.S_IROTH))


class ProcFs:
    """The kernel's view, at /proc."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root
        self._asks_kernel = True

    def processes(self, name: str) -> tuple[Process, ...]:
        """Those whose command name, or whose program's file name, is `name`; the oldest first.

        Raises PermissionError if there is none among those that we may look at, and another one there is kept from us:
        for a moment the kernel does so with a process that ends.
        """
        pids = sorted(int(entry.name) for entry in self._root.iterdir() if entry.name.isdigit())
        hidden: list[int] = []
        running: list[Process] = []
        for pid in pids:
            try:
                process = self.process(pid) if self._is_called(pid, name) else None
            except PermissionError:
                hidden.append(pid)
            else:
                running += [process] if process is not None else []
        if not running and (kept := [pid for pid in hidden if self._is_hidden(pid)]):
            raise PermissionError(errno.EPERM, f"may be {name!r}", str(self._root / str(kept[0])))
        return tuple(sorted(running, key=lambda process: (process.started_at, process.pid)))

    def process(self, pid: int) -> Process | None:
        """One process, or None when there is no such process or it is only waiting to be buried."""
        try:
            text = (self._root / str(pid) / "stat").read_text(errors="replace")
            command = (self._root / str(pid) / "cmdline").read_bytes()
            started_at = self._booted_at() + timedelta(seconds=int(_after_name(text)[19]) / os.sysconf("SC_CLK_TCK"))
        except (FileNotFoundError, ProcessLookupError):
            return None
        if _after_name(text)[0] in "ZX":
            return None
        arguments = command.decode("utf-8", "replace").rstrip("\0").split("\0")
        return Process(pid, text[text.index("(") + 1 : text.rindex(")")], tuple(arguments), started_at)

    def environment(self, pid: int) -> dict[str, str]:
        """The environment that the process was started with."""
        raw = (self._root / str(pid) / "environ").read_bytes().decode("utf-8", "replace")
        return dict(entry.split("=", 1) for entry in raw.split("\0") if "=" in entry)

    def user_of(self, pid: int) -> int | None:
        """The user that the process runs as, by number. Not whose its folder is: that of a process that has given up
        being root, as nginx's workers have, is still root's."""
        try:
            return self.reader(pid).user
        except (FileNotFoundError, ProcessLookupError):
            return None

    def parent_of(self, pid: int) -> int | None:
        """The process that it belongs to; None when it has ended."""
        try:
            return int(_after_name((self._root / str(pid) / "stat").read_text(errors="replace"))[1])
        except (FileNotFoundError, ProcessLookupError):
            return None

    def reader(self, pid: int) -> Reader:
        """Whom the process reads files as. Raises FileNotFoundError when it has ended."""
        lines = (self._root / str(pid) / "status").read_text(errors="replace").splitlines()
        fields = {name: values.split() for name, _, values in (line.partition(":") for line in lines)}
        groups = frozenset(map(int, (fields["Gid"][3], *fields["Groups"])))
        return Reader(int(fields["Uid"][3]), groups, bool(int(fields["CapEff"][0], 16) & _MAY_READ_ALL))

    def unit_of(self, pid: int) -> str | None:
        """The systemd service that the process belongs to, by its control group; None outside of one."""
        for line in (self._root / str(pid) / "cgroup").read_text().splitlines():
            last = line.rpartition("/")[2]
            if last.endswith(".service"):
                return last
        return None

    def shares(self, pid: int, namespace: str) -> bool:
        """Whether the process is in our own namespace of that kind ("mnt", "net")."""
        return self._namespace(str(pid), namespace) == self._namespace("self", namespace)

    def root_of(self, pid: int) -> Path:
        """Where the process's own file system can be entered."""
        return self._root / str(pid) / "root"

    def sockets(self, state: str, pid: int | None = None) -> tuple[TcpSocket, ...]:
        """The TCP sockets of the process's network namespace that are in that state ("listen", "established"); without
        a process, of ours."""
        if self._asks_kernel and (pid is None or self._is_in_our_network(pid)):
            try:
                return ask_kernel(state)
            except OSError:  # a sandbox, or a kernel without it, which would look for its module each time
                self._asks_kernel = False
        return read_tables(self._root / ("self" if pid is None else str(pid)) / "net", state)

    def socket_inodes(self, pid: int) -> frozenset[int]:
        """The sockets that the process holds open."""
        links = _links_in(self._root / str(pid) / "fd")
        return frozenset(int(link[8:-1]) for link in links if link.startswith("socket:["))

    def open_files(self, pid: int) -> frozenset[str]:
        """The paths of the files that the process holds open; empty where we may not look."""
        try:
            links = _links_in(self._root / str(pid) / "fd")
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            return frozenset()
        return frozenset(link for link in links if link.startswith("/"))

    def listener(self, address: str, port: int) -> Process | None:
        """Who takes connections to that address and port in our network namespace, as far as we may see."""
        listening = [held for held in self.sockets("listen") if held.port == port]
        exact = [held for held in listening if held.address == address]
        wild = [held for held in listening if held.address in ("0.0.0.0", "::")]  # noqa: S104 - compared, not bound
        chosen = frozenset(held.inode for held in exact or wild)
        return next(iter(self.owners(chosen).values()), None) if chosen else None

    def owners(self, inodes: frozenset[int]) -> dict[int, Process]:
        """Socket inode -> the process that holds it, as far as we may see."""
        owners: dict[int, Process] = {}
        for entry in self._root.iterdir():
            if not entry.name.isdigit():
                continue
            try:
                held = self.socket_inodes(int(entry.name)) & inodes
            except (PermissionError, FileNotFoundError, ProcessLookupError):
                continue
            process = self.process(int(entry.name)) if held else None
            if process is not None:
                owners |= dict.fromkeys(held, process)
        return owners

    def addresses(self) -> tuple[str, ...]:
        """This node's own addresses, loopback and link-local left out."""
        net = self._root / "self" / "net"
        return (*_local_ipv4(net / "fib_trie"), *_local_ipv6(net / "if_inet6"))

    def mounted_from(self, pid: int | None, path: str) -> str | None:
        """The source folder of a mount that lies exactly on `path` in that process's world, or None."""
        folder = self._root / ("self" if pid is None else str(pid))
        for line in (folder / "mountinfo").read_text(errors="replace").splitlines():
            fields = line.split(" ")
            if len(fields) > 4 and fields[4] == path:
                return fields[3]
        return None

    def _is_called(self, pid: int, name: str) -> bool:
        folder = self._root / str(pid)
        try:
            if (folder / "comm").read_text(errors="replace").rstrip("\n") == name[:15]:
                return True
        except (FileNotFoundError, ProcessLookupError):
            return False
        program = _link(folder / "exe")
        return program is not None and Path(program.removesuffix(" (deleted)")).name == name

    def _is_hidden(self, pid: int) -> bool:
        """Whether the process is still there, and still kept from us."""
        try:
            self.process(pid)
        except PermissionError:
            return True
        return False

    def _is_in_our_network(self, pid: int) -> bool:
        """As far as we may see."""
        try:
            return self.shares(pid, "net")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False

    def _namespace(self, pid: str, kind: str) -> str:
        return os.readlink(self._root / pid / "ns" / kind)

    def _booted_at(self) -> datetime:
        """From the clocks, not from /proc/stat: a container's is another file."""
        age = timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))
        return datetime.now(UTC) - age


def source_address(address: str) -> str | None:
    """The local address that the kernel would use towards `address`; None without a route. Sends nothing."""
    try:
        family, where = socket_address(address, 53)
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(where)
            return str(probe.getsockname()[0])
    except OSError:
        return None


def _after_name(stat: str) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may itself hold blanks and brackets."""
    return stat[stat.rindex(")") + 2 :].split()


def _links_in(folder: Path) -> list[str]:
    """Where the links in a folder lead to; one that went meanwhile is left out. Raises what listing it raises."""
    where = str(folder)  # there may be thousands in it: a path object for each would be most of the work
    links = (_link(f"{where}/{name}") for name in os.listdir(where))
    return [link for link in links if link is not None]


def _link(path: Path | str) -> str | None:
    try:
        return os.readlink(path)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _local_ipv4(path: Path) -> tuple[str, ...]:
    """The addresses that the routing table marks as local, in their order."""
    found: dict[str, None] = {}
    last = ""
    for line in path.read_text().splitlines() if path.exists() else ():
        text = line.strip()
        if text.startswith("|-- "):
            last = text[4:]
        elif text.startswith("/32 host LOCAL") and not last.startswith("127."):
            found[last] = None
    return tuple(found)


def _local_ipv6(path: Path) -> tuple[str, ...]:
    """Those of global scope."""
    lines = path.read_text().splitlines() if path.exists() else ()
    entries = (line.split() for line in lines)
    return tuple(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(entry[0])) for entry in entries if entry[3] == "00")
