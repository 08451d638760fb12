"""The CA's own environment, read on its node: its files, flags, environment variables, open connections and systemd
unit, line by line. Only reads, and returns no secret.

Of the environment variables only those of the proxy and of Go are kept, and the proxy's without credentials.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec

from certagent.config import VantageSection
from certagent.domain.observations import Unreadable
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import ACME_TLS_PORT, Connection, Origin, Provisioner
from certagent.domain.resolution.file_formats import HOSTS_FILE, Hosts, Nameserver, parse_address
from certagent.domain.resolution.files import ResolverFiles
from certagent.system.procfs import Process, ProcFs
from certagent.system.regular_files import FileState, read_within
from certagent.vantage import proxy
from certagent.vantage.ca_config import read_provisioner
from certagent.vantage.foreign_files import Notes, Reading, read_foreign, read_part
from certagent.vantage.http01_probe import FetchOptions
from certagent.vantage.resolver_files import Snapshot, read_files

UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")
_CREDENTIALS = re.compile(r"(//|_proxy=)[^@/\s]*@", re.IGNORECASE)  # Go also accepts a proxy without a scheme


def read_unit(proc: ProcFs, process: Process, words: tuple[str, ...]) -> Reading[tuple[tuple[str, Origin], ...]]:
    """For each word (a flag, or a variable followed by `=`), return the last line of the unit that contains it."""
    return read_foreign(Path(UNIT_FOLDERS[0]), lambda notes: _origins(proc, process, words, notes), ())


def _origins(proc: ProcFs, process: Process, words: tuple[str, ...], notes: Notes) -> tuple[tuple[str, Origin], ...]:
    unit = proc.unit_of(process.pid)
    if unit is None:
        return ()
    root = proc.root_of(process.pid)
    found: dict[str, Origin] = {}
    for path in _unit_files(root, unit):
        state = read_part(Path(path), partial(read_within, root, path), FileState(), notes)
        if state.problem is not None:
            notes.add(path, None, state.problem)
        content = (state.content or b"").decode("utf-8", "replace")
        for number, line in enumerate(content.splitlines(), 1):
            for word in words:
                if word in line and not line.lstrip().startswith(("#", ";")):
                    text = _CREDENTIALS.sub(r"\1", line.strip())
                    found[word] = Origin(source="unit", file=path, line=number, text=text)
    return tuple(found.items())


def _unit_files(root: Path, unit: str) -> Iterator[str]:
    """Return the unit's file, followed by its drop-ins in systemd's order."""
    unit_files = (f"{folder}/{unit}" for folder in UNIT_FOLDERS)
    file = next((path for path in unit_files if read_within(root, path).content is not None), None)
    if file is not None:
        yield file
    drop_ins = {
        path.name: f"{folder}/{unit}.d/{path.name}"
        for folder in reversed(UNIT_FOLDERS)
        for path in sorted(_folder(root / folder.lstrip("/") / f"{unit}.d"))
    }
    yield from (drop_ins[name] for name in sorted(drop_ins))


def _folder(path: Path) -> list[Path]:
    try:
        return [file for file in path.iterdir() if file.suffix == ".conf"]
    except OSError:
        return []


CACHED_FOR = timedelta(seconds=5)  # for how long Go caches hosts, resolv.conf and nsswitch.conf

_LONG_AGO = datetime.fromtimestamp(0, UTC)
_KEPT_VARIABLES = (*proxy.VARIABLES, "GODEBUG", "REQUEST_METHOD")
_SWITCHES = ("acme-strict-fqdn",)
_UNIT_FLAGS = ("--acme-http-port", "--acme-tls-port", "--acme-strict-fqdn", "--resolver")
_UNIT_VARIABLES = ("HTTP_PROXY=", "http_proxy=", "HTTPS_PROXY=", "https_proxy=")
_VALUES = ("acme-http-port", "acme-tls-port", "resolver")


class BlindError(Exception):
    """There is no CA process to observe, or observing it is not permitted; the message says which."""


class NoCaError(BlindError):
    """There is no CA process, or it has just ended."""


class CaEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """The CA's process and what it sees at one instant. `flags` maps the flags that change how the CA validates to
    their values."""

    process: Process
    files: ResolverFiles
    states: Snapshot
    flags: Mapping[str, str]
    environment: Mapping[str, str]
    connections: tuple[Connection, ...]
    settles_at: datetime | None = None
    provisioner: Provisioner | None = None
    is_listening: bool = True  # on any port: one that is starting, or does not get so far, is not
    started_by: tuple[tuple[str, Origin], ...] = ()
    unseen_names: frozenset[str] = frozenset()  # for whose hosts lines the CA still uses what it read before

    @property
    def fetch_options(self) -> FetchOptions:
        """Return how this CA makes its requests."""
        ports = self._port("acme-http-port", 80), self._port("acme-tls-port", ACME_TLS_PORT)
        return FetchOptions(ports[0], "acme-strict-fqdn" in self.flags, ports[1])

    def _port(self, flag: str, default: int) -> int:
        port = self.flags.get(flag, "")
        return int(port) if port.isdigit() and port != "0" else default

    def shown_flags(self) -> tuple[str, ...]:
        """Return the flags as they appear on a command line."""
        return tuple(f"--{name}={value}" if value else f"--{name}" for name, value in self.flags.items())


class _HostsSeen(msgspec.Struct, frozen=True):
    pid: int
    size: int
    modified_at: datetime | None
    meaning: tuple[tuple[str, tuple[str, ...]], ...]


class CaProcess:
    """The CA process of this node. Remembers when a file's content was seen to change, because not every change
    alters a timestamp."""

    def __init__(
        self, section: VantageSection, clock: Clock, proc: ProcFs | None = None, provisioner: str = "acme"
    ) -> None:
        self._name = section.process
        self._provisioner = provisioner
        self._clock = clock
        self._proc = proc or ProcFs()
        self._digests: dict[str, str] = {}
        self._seen_at: dict[str, datetime] = {}
        self._hosts_by_stamp: _HostsSeen | None = None

    def observe(self) -> CaEnvironment:
        """Return the CA's environment as it is now. Raises `BlindError`."""
        process = self._find()
        try:
            return self._observe(process)
        except (FileNotFoundError, ProcessLookupError) as error:
            raise NoCaError(f"process {process.pid} ({self._name}) has just ended") from error
        except OSError as error:
            raise BlindError(f"not allowed to read process {process.pid} ({self._name}): {error.strerror}") from error

    def unreadable(self) -> tuple[Unreadable, ...]:
        """Return what cannot be read in its configuration and its unit; nothing if there is no CA process."""
        try:
            process = self._find()
        except BlindError:
            return ()
        return (*self._read_provisioner(process).unreadable, *self._read_unit(process).unreadable)

    def _read_provisioner(self, process: Process) -> Reading[Provisioner | None]:
        return read_provisioner(self._proc, process, self._provisioner)

    def _read_unit(self, process: Process) -> Reading[tuple[tuple[str, Origin], ...]]:
        return read_unit(self._proc, process, (*_UNIT_FLAGS, *_UNIT_VARIABLES))

    def _find(self) -> Process:
        try:
            processes = self._proc.processes(self._name)
        except OSError as error:
            raise BlindError(f"not allowed to look for {self._name!r} ({error.filename})") from error
        if not processes:
            raise NoCaError(f"no process named {self._name!r} runs on this node")
        try:
            ours = [process for process in processes if self._proc.shares(process.pid, "net")]
        except (FileNotFoundError, ProcessLookupError) as error:
            raise NoCaError(f"process {processes[0].pid} ({self._name}) has just ended") from error
        except OSError as error:
            raise BlindError(f"not allowed to read process {processes[0].pid} ({self._name})") from error
        if not ours:
            raise BlindError(f"{self._name!r} runs in a separate network namespace, which this agent cannot see")
        return ours[0]

    def _observe(self, process: Process) -> CaEnvironment:
        files, states = read_files(self._proc.root_of(process.pid), self._proc, process.pid)
        flags = read_flags(process.command)
        environment = self._proc.environment(process.pid)
        return CaEnvironment(
            process=process,
            files=_with_resolver(files, flags.get("resolver")),
            states=states,
            flags=flags,
            environment={name: environment[name] for name in _KEPT_VARIABLES if name in environment},
            connections=self._connections(process),
            is_listening=self._is_listening(process),
            settles_at=self._settles_at(process, states),
            provisioner=self._read_provisioner(process).value,
            started_by=self._read_unit(process).value,
            unseen_names=self._unseen_names(process, files, states[HOSTS_FILE]),
        )

    def _unseen_names(self, process: Process, files: ResolverFiles, state: FileState) -> frozenset[str]:
        """Return the names whose entries changed since a file of this size and time was first seen under this CA
        process: it checks nothing else before it reads the file again (docs/facts.md)."""
        now = _HostsSeen(process.pid, len(state.content or b""), state.modified_at, _meaning_of(files.hosts))
        first = self._hosts_by_stamp
        if first is None or (first.pid, first.size, first.modified_at) != (now.pid, now.size, now.modified_at):
            self._hosts_by_stamp = now
            return frozenset()
        return frozenset(name for _, names in set(first.meaning) ^ set(now.meaning) for name in names)

    def _connections(self, process: Process) -> tuple[Connection, ...]:
        held = self._proc.socket_inodes(process.pid)
        return tuple(
            Connection(address=socket.peer_address, port=socket.peer_port)
            for socket in self._proc.sockets("established", process.pid)
            if socket.inode in held
        )

    def _is_listening(self, process: Process) -> bool:
        held = self._proc.socket_inodes(process.pid)
        return any(socket.inode in held for socket in self._proc.sockets("listen", process.pid))

    def _settles_at(self, process: Process, states: Snapshot) -> datetime | None:
        """Return until when the CA may use what it read before; None if it has certainly read the files since."""
        now = self._clock.now()
        changed_at = max((self._changed_at(path, state, now) for path, state in states.items()), default=now)
        settles_at = changed_at + CACHED_FOR
        return settles_at if settles_at > now and process.started_at <= changed_at else None

    def _changed_at(self, path: str, state: FileState, now: datetime) -> datetime:
        """Return when the file changed: by ctime, because mtime can be set (`cp -p`), and by when the change was
        seen, because a mount or a missing file has neither."""
        digest = "" if state.content is None else hashlib.sha256(state.content).hexdigest()
        if self._digests.setdefault(path, digest) != digest:
            self._digests[path] = digest
            self._seen_at[path] = now
        known = [moment for moment in (state.changed_at, self._seen_at.get(path)) if moment is not None]
        return min(max(known, default=_LONG_AGO), now)


def _meaning_of(hosts: Hosts) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((entry.address, tuple(map(str.lower, entry.names))) for entry in hosts.entries)


def read_flags(command: tuple[str, ...]) -> dict[str, str]:
    """Return those flags of a step-ca command line that change how the CA validates; a switch has the value ""."""
    flags: dict[str, str] = {}
    arguments = iter(command[1:])
    for argument in arguments:
        if not argument.startswith("-"):
            continue
        name, has_value, value = argument.lstrip("-").partition("=")
        if name in _VALUES:
            flags[name] = value if has_value else next(arguments, "")
        elif name in _SWITCHES and value.lower() not in ("false", "f", "0"):
            flags[name] = ""
    return flags


def _with_resolver(files: ResolverFiles, resolver: str | None) -> ResolverFiles:
    """Replace every nameserver by that of --resolver; the hosts file and the search list stay."""
    if not resolver:
        return files
    server = resolver.removesuffix(":53")
    bare = parse_address(server.strip("[]")) or server
    replaced = msgspec.structs.replace(files.resolv_conf, nameservers=(Nameserver(0, f"--resolver={resolver}", bare),))
    return msgspec.structs.replace(files, resolv_conf=replaced)
