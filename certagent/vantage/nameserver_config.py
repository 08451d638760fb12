"""The DNS server of this node, read from beside it: what dnsmasq (`pihole-FTL` is one) was told, the hosts files that
it serves, and the records of their own that unbound and AdGuard Home answer with.

Reads only. Files are read as that process sees them.
"""

import fnmatch
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from certagent.domain.observations import Unreadable
from certagent.domain.resolution.dnsmasq import (
    Dnsmasq,
    HostsSource,
    ServedHosts,
    Setting,
    read_arguments,
    read_settings,
)
from certagent.domain.resolution.file_formats import HOSTS_FILE, parse_hosts
from certagent.domain.resolution.local_records import LocalRecord, included_by_unbound, read_adguard, read_unbound
from certagent.domain.resolution.managed_files import Manager, find_managers
from certagent.system.procfs import Process, ProcFs
from certagent.system.regular_files import FileState, read_within
from certagent.vantage.foreign_files import Notes, beginning_of, read_foreign, read_part

_CONFIGURATIONS = {
    "dnsmasq": ("/etc/dnsmasq.conf",),
    "pihole-FTL": ("/etc/pihole/dnsmasq.conf", "/etc/dnsmasq.conf"),  # of version 6, and of those before
    "unbound": ("/etc/unbound/unbound.conf",),
    "AdGuardHome": ("/opt/AdGuardHome/AdGuardHome.yaml",),
}
"""Program -> where its configuration begins, unless its command line says otherwise: the first that is there."""
_DNSMASQ = ("dnsmasq", "pihole-FTL")
_MANAGED_BELOW = {"/etc/pihole/": Manager.PIHOLE}
_PORT = "53"
_MOST_FILES = 200
_STALE_SECONDS = 25.0  # who runs is asked so often, when only the files are wanted
_START_TAKES = timedelta(seconds=1)


class NameserverObservation(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the DNS server here. `hosts`: each hosts file that it answers from; `records`: those that other
    programs than dnsmasq have of their own; `folders`: where a new file would count."""

    configuration: Dnsmasq = Dnsmasq()
    hosts: tuple[ServedHosts, ...] = ()
    records: tuple[LocalRecord, ...] = ()
    folders: tuple[str, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    def files(self) -> tuple[str, ...]:
        """Every file that decides, but for the resolver's own."""
        return (*self.configuration.files, *(one.file for one in self.hosts if one.file != HOSTS_FILE))


class NameserverFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What decides, by path: the files but for the resolver's own, and the folders where a new file would count."""

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


class _Server(msgspec.Struct, frozen=True, kw_only=True):
    """How a program was started; `started_at` is null while it does not run."""

    program: str
    arguments: tuple[str, ...]
    started_at: datetime | None = None


class NameserverObserver:
    """The DNS server on this node. Remembers how it was started: it may be restarting while somebody looks."""

    def __init__(self, proc: ProcFs | None = None, root: Path = Path("/")) -> None:
        self._proc = proc or ProcFs()
        self._root = root
        self._server: _Server | None = None
        self._asked_at = float("-inf")
        self._in_effect: set[tuple[str, str]] = set()

    def observe(self) -> NameserverObservation | None:
        """What it was told; None where no such server answers on port 53."""
        server = self._find()
        if server is None:
            return None
        begins_at = self._begins_at(server)
        reading = read_foreign(begins_at, lambda notes: self._observed(server, notes), NameserverObservation())
        return msgspec.structs.replace(reading.value, unreadable=reading.unreadable)

    def files(self) -> NameserverFiles:
        """Which files and folders decide now, without reading any hosts file."""
        server = self._server if time.monotonic() - self._asked_at < _STALE_SECONDS else self._find()
        if server is None:
            return NameserverFiles()
        return read_foreign(self._begins_at(server), lambda notes: self._listed(server, notes), NameserverFiles()).value

    def _find(self) -> _Server | None:
        self._asked_at = time.monotonic()
        for program in _CONFIGURATIONS:
            for process in self._processes(program):
                found = _Server(program=program, arguments=process.command[1:], started_at=process.started_at)
                if self._answers(found):
                    self._remember(found)
                    return found
        if self._server is not None:
            self._server = msgspec.structs.replace(self._server, started_at=None)
        return self._server

    def _processes(self, program: str) -> tuple[Process, ...]:
        try:
            return self._proc.processes(program)
        except PermissionError:
            return ()

    def _answers(self, server: _Server) -> bool:
        """Whether it answers on port 53, by its command line and its files."""
        if server.program not in _DNSMASQ:
            return True
        reader = _ConfigurationReader(self._root, server, Notes())
        ports = [setting.value for setting in reader.configuration.all("port")]
        return not ports or ports[-1] == _PORT

    def _remember(self, server: _Server) -> None:
        if self._server != server:
            self._server, self._in_effect = server, set()

    def _begins_at(self, server: _Server) -> Path:
        return Path(_beginning(self._root, server))

    def _observed(self, server: _Server, notes: Notes) -> NameserverObservation:
        if server.program not in _DNSMASQ:
            reader = _RecordsReader(self._root, server, notes)
            configuration = Dnsmasq(files=reader.files)
            return NameserverObservation(configuration=configuration, records=reader.records, folders=reader.folders)
        found = _ConfigurationReader(self._root, server, notes)
        late = found.settings_since(server.started_at)
        self._in_effect |= {(one.key, one.value) for one in found.configuration.settings if one not in late}
        waiting = {one for one in late if (one.key, one.value) not in self._in_effect}
        return NameserverObservation(
            configuration=found.configuration,
            hosts=tuple(found.hosts(waiting)),
            folders=found.folders(),
        )

    def _listed(self, server: _Server, notes: Notes) -> NameserverFiles:
        if server.program not in _DNSMASQ:
            records = _RecordsReader(self._root, server, notes)
            return NameserverFiles(files=records.files, folders=records.folders)
        found = _ConfigurationReader(self._root, server, notes)
        hosts = (path for path, _, _ in found.hosts_files() if path != HOSTS_FILE)
        return NameserverFiles(files=(*found.configuration.files, *hosts), folders=found.folders())


class _Files:
    """Files below a root, as a foreign process sees them; what cannot be read is noted."""

    def __init__(self, root: Path, notes: Notes) -> None:
        self._root = root
        self._notes = notes
        self.changed_at: dict[str, datetime] = {}

    def read(self, path: str) -> bytes:
        """Its content; empty for a file that is not there, or that cannot be read."""
        state = read_part(Path(path), lambda: read_within(self._root, path), FileState(), self._notes)
        if state.problem is not None:
            self._notes.add(path, None, state.problem)
        elif not state.is_whole:
            self._notes.extend((beginning_of(path),))
        if state.changed_at is not None:
            self.changed_at[path] = state.changed_at
        return state.content or b""

    def is_folder(self, path: str) -> bool:
        """Whether it is one."""
        return (self._root / path.strip("/")).is_dir()

    def list(self, folder: str, is_wanted: Callable[[str], bool]) -> list[str]:
        """The regular files in it, by path, as dnsmasq takes them: no `.name`, `name~` or `#name#`."""
        try:
            found = sorted(file.name for file in (self._root / folder.strip("/")).iterdir() if file.is_file())
        except FileNotFoundError:
            return []
        except OSError as error:
            self._notes.add(folder, None, error.strerror or "it cannot be listed")
            return []
        names = [name for name in found if not _is_left_out(name) and is_wanted(name)]
        return [f"{folder.rstrip('/')}/{name}" for name in names[:_MOST_FILES]]


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name.endswith("~") or (name.startswith("#") and name.endswith("#"))


def _beginning(root: Path, server: _Server) -> str:
    """The file at which a program's configuration begins when its command line names none."""
    candidates = _CONFIGURATIONS[server.program]
    return next((path for path in candidates if (root / path.lstrip("/")).exists()), candidates[-1])


class _ConfigurationReader:
    """dnsmasq's configuration: its arguments, then its file, then whatever that names; each file once."""

    def __init__(self, root: Path, server: _Server, notes: Notes) -> None:
        self._files = _Files(root, notes)
        found = list(read_arguments(server.arguments))
        waiting = [one.value for one in found if one.key == "conf-file"] or [_beginning(root, server)]
        waiting += [path for one in found if one.key in ("conf-dir", "servers-file") for path in self._named_by(one)]
        read: list[str] = []
        while waiting and len(read) < _MOST_FILES:
            path = waiting.pop(0)
            if path in read:
                continue
            read.append(path)
            inside = list(read_settings(self._files.read(path), path))
            waiting += [more for setting in inside for more in self._named_by(setting)]
            found += inside
        self.configuration = Dnsmasq(settings=tuple(found), files=tuple(read))

    def settings_since(self, started_at: datetime | None) -> frozenset[Setting]:
        """Those of files that were written after it was started: it reads them once, at its start."""
        changed_at = self._files.changed_at
        late = {path for path, at in changed_at.items() if started_at and at > started_at + _START_TAKES}
        return frozenset(setting for setting in self.configuration.settings if setting.file in late)

    def folders(self) -> tuple[str, ...]:
        """Where a new file would count."""
        named = [one.value.split(",")[0] for one in self.configuration.all("conf-dir", "hostsdir")]
        hosts = (one.value for one in self.configuration.all("addn-hosts"))
        return tuple(dict.fromkeys((*named, *(path for path in hosts if self._files.is_folder(path)))))

    def hosts_files(self) -> Iterator[tuple[str, HostsSource, Setting | None]]:
        """Each hosts file with the setting that names it."""
        if self.configuration.first("no-hosts") is None:
            yield HOSTS_FILE, HostsSource.HOSTS, None
        for setting in self.configuration.all("addn-hosts", "hostsdir"):
            source = HostsSource(setting.key)
            if source is HostsSource.HOSTSDIR or self._files.is_folder(setting.value):
                for path in self._files.list(setting.value, lambda _name: True):
                    yield path, source, setting
            else:
                yield setting.value, source, setting

    def hosts(self, waiting: set[Setting]) -> Iterator[ServedHosts]:
        """Each hosts file as it is served; `waiting`: settings that count only after a restart."""
        for path, source, setting in self.hosts_files():
            content = self._files.read(path)
            yield ServedHosts(
                file=path,
                hosts=self.configuration.completed(parse_hosts(content)),
                source=source,
                waits=setting in waiting,
                managers=_managers(path, content),
            )

    def _named_by(self, setting: Setting) -> list[str]:
        if setting.key == "conf-dir":
            return self._folder(setting.value)
        return [setting.value] if setting.key in ("conf-file", "servers-file") else []

    def _folder(self, value: str) -> list[str]:
        """The files of `conf-dir=FOLDER[,*SUFFIX|,SUFFIX...]`: with a star only those, without all but those."""
        folder, *patterns = value.split(",")
        only = tuple(pattern[1:] for pattern in patterns if pattern.startswith("*"))
        never = tuple(pattern for pattern in patterns if pattern and not pattern.startswith("*"))
        return self._files.list(folder, lambda name: not name.endswith(never) and (not only or name.endswith(only)))


def _managers(path: str, content: bytes) -> dict[int, Manager]:
    manager = next((one for folder, one in _MANAGED_BELOW.items() if path.startswith(folder)), None)
    if manager is None:
        return find_managers(content)
    return dict.fromkeys(range(1, content.count(b"\n") + 2), manager)


class _RecordsReader:
    """The records of their own that unbound or AdGuard Home answer with."""

    def __init__(self, root: Path, server: _Server, notes: Notes) -> None:
        self._files = _Files(root, notes)
        waiting = [_option(server.arguments, "-c", "--config") or _beginning(root, server)]
        records: list[LocalRecord] = []
        folders: dict[str, None] = {}
        read: list[str] = []
        while waiting and len(read) < _MOST_FILES:
            path = waiting.pop(0)
            if path in read:
                continue
            read.append(path)
            content = self._files.read(path)
            if server.program == "AdGuardHome":
                records += read_adguard(content, path)
                continue
            records += read_unbound(content, path)
            for included in included_by_unbound(content):
                folder, _, pattern = included.rpartition("/")
                waiting += self._files.list(folder or "/etc/unbound", _fits(pattern))
                folders |= dict.fromkeys([folder] if "*" in pattern else [])
        self.records, self.files, self.folders = tuple(records), tuple(read), tuple(folders)


def _fits(pattern: str) -> Callable[[str], bool]:
    return lambda name: fnmatch.fnmatchcase(name, pattern)


def _option(arguments: tuple[str, ...], short: str, long: str) -> str | None:
    """The value of an option in one of its forms."""
    for place, argument in enumerate(arguments):
        if argument in (short, long):
            return arguments[place + 1] if place + 1 < len(arguments) else None
        if argument.startswith(f"{long}="):
            return argument.partition("=")[2]
    return None
