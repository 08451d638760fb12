"""The DNS server of this node, read from beside it: what dnsmasq was told, and the hosts files that it serves.

Reads only. Files are read as that process sees them.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from certagent.domain.observations import Unreadable
from certagent.domain.resolution.dnsmasq import Dnsmasq, Setting, read_arguments, read_settings
from certagent.domain.resolution.file_formats import HOSTS_FILE, Hosts, parse_hosts
from certagent.system.procfs import Process, ProcFs
from certagent.system.regular_files import FileState, read_within
from certagent.vantage.foreign_files import Notes, read_foreign, read_part

_CONFIGURATION = "/etc/dnsmasq.conf"
_PORT = "53"
_MOST_FILES = 200
_LEFT_OUT = ("~", ".dpkg-dist", ".dpkg-old", ".dpkg-new")


class NameserverObservation(msgspec.Struct, frozen=True, kw_only=True):
    """One look at dnsmasq here. `hosts`: each hosts file that it answers from, parsed."""

    configuration: Dnsmasq
    hosts: tuple[tuple[str, Hosts], ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    def files(self) -> tuple[str, ...]:
        """Every file that decides, but for the resolver's own."""
        return (*self.configuration.files, *(path for path, _ in self.hosts if path != HOSTS_FILE))


_NOTHING = NameserverObservation(configuration=Dnsmasq(settings=(), files=()))


class NameserverObserver:
    """The DNS server on this node. Remembers how it was started: it may be restarting while somebody looks."""

    def __init__(self, proc: ProcFs | None = None, root: Path = Path("/")) -> None:
        self._proc = proc or ProcFs()
        self._root = root
        self._arguments: tuple[str, ...] | None = None

    def observe(self) -> NameserverObservation | None:
        """What it was told; None where no dnsmasq answers on port 53."""
        running = next((process for process in self._proc.processes("dnsmasq") if _is_on_port(process)), None)
        if running is not None:
            self._arguments = running.command[1:]
        if self._arguments is None:
            return None
        arguments = self._arguments
        reading = read_foreign(Path(_CONFIGURATION), lambda notes: self._observe(arguments, notes), _NOTHING)
        return msgspec.structs.replace(reading.value, unreadable=reading.unreadable)

    def _observe(self, arguments: tuple[str, ...], notes: Notes) -> NameserverObservation:
        configuration = self._read(arguments, notes)
        return NameserverObservation(configuration=configuration, hosts=tuple(self._hosts(configuration, notes)))

    def _content(self, path: str, notes: Notes) -> bytes | None:
        state = read_part(Path(path), lambda: read_within(self._root, path), FileState(), notes)
        if state.problem is not None:
            notes.add(path, None, state.problem)
        return state.content

    def _read(self, arguments: tuple[str, ...], notes: Notes) -> Dnsmasq:
        """Its arguments, then its file, then whatever that names; each file once."""
        found = list(read_arguments(arguments))
        files = [setting.value for setting in found if setting.key == "conf-file"] or [_CONFIGURATION]
        files += [path for setting in found if setting.key == "conf-dir" for path in self._folder(setting.value)]
        read: list[str] = []
        while files and len(read) < _MOST_FILES:
            path = files.pop(0)
            if path in read:
                continue
            read.append(path)
            inside = list(read_settings(self._content(path, notes) or b"", path))
            files += [more for setting in inside for more in self._named_by(setting)]
            found += inside
        return Dnsmasq(settings=tuple(found), files=tuple(read))

    def _named_by(self, setting: Setting) -> list[str]:
        if setting.key == "conf-dir":
            return self._folder(setting.value)
        return [setting.value] if setting.key == "conf-file" else []

    def _folder(self, value: str) -> list[str]:
        """The files of `conf-dir=FOLDER[,*.SUFFIX|,.SUFFIX...]`: with a star only those, without all but those."""
        folder, *patterns = value.split(",")
        only = [pattern[1:] for pattern in patterns if pattern.startswith("*")]
        never = [pattern for pattern in patterns if pattern and not pattern.startswith("*")]
        try:
            names = sorted(file.name for file in (self._root / folder.strip("/")).iterdir() if file.is_file())
        except OSError:
            return []
        return [
            f"{folder.rstrip('/')}/{name}"
            for name in names
            if not name.startswith((".", "#"))
            and not name.endswith((*_LEFT_OUT, *never))
            and (not only or name.endswith(tuple(only)))
        ]

    def _hosts(self, configuration: Dnsmasq, notes: Notes) -> Iterator[tuple[str, Hosts]]:
        own_hosts = () if configuration.first("no-hosts") else (HOSTS_FILE,)
        for path in (*own_hosts, *(setting.value for setting in configuration.all("addn-hosts"))):
            yield path, parse_hosts(self._content(path, notes))


def _is_on_port(process: Process) -> bool:
    ports = [argument.value for argument in read_arguments(process.command[1:]) if argument.key == "port"]
    return not ports or ports[-1] == _PORT
