"""The files that provisioning code would write, node by node, as far as the code tells. Pure."""

import re
from collections.abc import Iterator

import msgspec
import re2

from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE
from certagent.domain.sources.writes import (
    UNKNOWN,
    CodePlace,
    Mode,
    Text,
    TextLine,
    Write,
    is_resolver_file,
    shown,
    sureness_of,
    whole_lines,
)

MOST_LINES = 20_000
"""Of all files together; what is beyond is not written."""

_CONTAINER_ROOT = re.compile(
    r"(?:/var/lib/lxc/(?P<lxc>[\w.-]+)/rootfs|/var/lib/machines/(?P<machine>[\w.-]+)|/\S*/subvol-(?P<subvol>\d+)-disk-\d+"
    r"|/proc/\d+/root|/(?:mnt|media|target)(?:/[\w.-]+)*?|/\S+/rootfs)(?P<rest>/etc/.*)"
)
_SOURCES_OF = (
    (re.compile(r"/etc/cloud/templates/hosts\.[\w.-]+\.tmpl"), HOSTS_FILE),
    (re.compile(r"/etc/resolvconf/resolv\.conf\.d/(?:head|base|tail)"), RESOLV_CONF_FILE),
)
_GUEST_FILE = re.compile(r"/etc/pve/(?:nodes/[\w.-]+/)?(?:lxc|qemu-server)/(?P<node>\d+)\.conf")
_BEHIND_UNKNOWN = re.compile(
    f"[^{UNKNOWN}]*{UNKNOWN}.*?(?P<rest>/etc/(?:hosts|resolv\\.conf|nsswitch\\.conf|dnsmasq\\.\\S+))"
)


class Guard(msgspec.Struct, frozen=True):
    """What a command asked before: whether a file has a line (`pattern`, None for one that is not known), or whether
    it exists (`is_file`)."""

    node: str | None = None
    path: str = ""
    pattern: str | None = None
    fixed: bool = False
    is_file: bool = False
    is_once: bool = False
    """Nothing runs the code again on the same node."""

    def knows(self, line: str) -> bool:
        """Whether a line answers it. What cannot be told is taken for one that does."""
        if self.pattern is None or UNKNOWN in self.pattern:
            return True
        return matches(self.pattern, line, fixed=self.fixed)


def matches(pattern: str, line: str, *, fixed: bool = False) -> bool:
    """As `grep` would, basic and extended alike; True where the pattern is none that can be tried."""
    if fixed or pattern in line:
        return pattern in line
    bare = pattern.replace("\\<", "\\b").replace("\\>", "\\b").replace("\\|", "|").replace("\\+", "+")
    bare = bare.replace("\\(", "(").replace("\\)", ")")
    try:
        return re2.search(bare, line) is not None or re2.search(re.escape(pattern), line) is not None
    except re2.error:
        return True


ONCE = Guard(is_once=True)


class _File(msgspec.Struct):
    lines: list[TextLine] = []
    is_new: bool = False
    """Written as a whole, so that nothing of before is left."""
    removed: list[Guard] = []
    """The lines that were taken out before."""


class VirtualFiles:
    """What is in each file of each node. Writes to resolver files are kept, in their order."""

    def __init__(self) -> None:
        self._files: dict[tuple[str | None, str], _File] = {}
        self._writes: list[tuple[Write, tuple[Guard, ...]]] = []
        self._count = 0
        self._others: list[VirtualFiles] = []

    def elsewhere(self) -> "VirtualFiles":
        """Those of another run, of which nobody knows whether it is on the same node; its writes count as well."""
        other = VirtualFiles()
        self._others.append(other)
        return other

    def writes(self) -> Iterator[Write]:
        """Each once; by now it is known which marker files are made."""
        found = [self._finished(write, guards) for write, guards in self._writes]
        for other in self._others:
            found += other.writes()
        yield from dict.fromkeys(found)

    def _finished(self, write: Write, guards: tuple[Guard, ...]) -> Write:
        is_marked = any((guard.node, guard.path) in self._files for guard in guards)
        return msgspec.structs.replace(write, guarded=True) if is_marked else write

    def append(self, node: str | None, path: str, text: Text, guards: tuple[Guard, ...] = ()) -> None:
        """Add lines to the end (or anywhere: order means little here)."""
        manager = manager_of(path)
        node, path = locate(node, path)
        file, lines = self._file(node, path), [line for line in whole_lines(text) if not line.is_rest]
        if not self._has_room(lines):
            return
        asked = [
            guard
            for guard in (*guards, *file.removed)
            if (guard.node, guard.path) == (node, path) and not guard.is_file
        ]
        is_once = any(guard.is_once for guard in guards)
        is_guarded = is_once or file.is_new or any(guard.knows(line.text) for guard in asked for line in lines)
        file.lines += lines
        markers = tuple(guard for guard in guards if guard.is_file)
        self._keep(node, path, lines, Mode.APPEND, guarded=is_guarded, markers=markers, manager=manager)

    def replace(
        self, node: str | None, path: str, text: Text, guards: tuple[Guard, ...] = (), *, manager: str | None = None
    ) -> None:
        """Write the file as a whole; with what was in it before among the lines, it is an append. `manager`: who
        writes it for the code, at every start."""
        manager = manager or manager_of(path)
        node, path = locate(node, path)
        lines = list(whole_lines(text))
        if not self._has_room(lines):
            return
        if any(line.is_rest for line in lines):
            self.append(node, path, text, guards)
            return
        self._files[node, path] = _File(lines=lines, is_new=True)
        self._keep(node, path, lines, Mode.REPLACE, manager=manager)

    def edit(self, node: str | None, path: str, line: TextLine) -> None:
        """One line of it becomes this."""
        node, path = locate(node, path)
        if self._has_room([line]):
            self._keep(node, path, [line], Mode.EDIT)

    def remove(self, node: str | None, path: str, pattern: str | None) -> None:
        """Take out the lines that match (None: nobody knows which)."""
        node, path = locate(node, path)
        file = self._file(node, path)
        file.removed = [*file.removed, Guard(node, path, pattern)]
        if pattern is not None and UNKNOWN not in pattern:
            file.lines = [line for line in file.lines if not matches(pattern, line.text)]

    def read(self, node: str | None, path: str) -> Text | None:
        """The lines that are known of it; None for a file that nothing was written to."""
        node, path = locate(node, path)
        file = self._files.get((node, path))
        if file is None:
            return None
        text = tuple(line._replace(text=line.text + "\n") for line in file.lines)
        return text if file.is_new else (rest_of(path), *text)

    def _file(self, node: str | None, path: str) -> _File:
        return self._files.setdefault((node, path), _File())

    def _has_room(self, lines: list[TextLine]) -> bool:
        self._count += len(lines) + 1
        return self._count <= MOST_LINES

    def _keep(
        self,
        node: str | None,
        path: str,
        lines: list[TextLine],
        mode: Mode,
        *,
        guarded: bool | None = None,
        markers: tuple[Guard, ...] = (),
        manager: str | None = None,
    ) -> None:
        guest = _GUEST_FILE.fullmatch(path)
        if guest is not None:
            node, path, lines = guest["node"], RESOLV_CONF_FILE, list(lines_of_guest(lines))
        if not is_resolver_file(path):
            return
        for line in lines:
            if line.text.strip():
                sureness = sureness_of(line.text, line.resolved)
                write = Write(
                    node=node if node is not None and UNKNOWN not in node else None,
                    file=path,
                    text=shown(line.text.rstrip("\r")),
                    place=line.place,
                    sureness=sureness,
                    mode=mode,
                    guarded=guarded,
                    manager=manager,
                    command=lines[0].place,
                    caller=line.caller if line.resolved else None,
                )
                self._writes.append((write, markers))


def rest_of(path: str) -> TextLine:
    """Stands for what was in a file before."""
    return TextLine("", CodePlace(path, 0), is_rest=True)


def locate(node: str | None, path: str) -> tuple[str | None, str]:
    """The node and the path on it, for what is in a container's root on its host, or what another file is made of."""
    inside = _CONTAINER_ROOT.fullmatch(path)
    if inside is not None:
        container = inside["lxc"] or inside["machine"] or inside["subvol"]
        return container or UNKNOWN, inside["rest"]
    behind = _BEHIND_UNKNOWN.fullmatch(path)
    if behind is not None:
        return UNKNOWN, behind["rest"]
    for pattern, target in _SOURCES_OF:
        if pattern.fullmatch(path):
            return node, target
    return node, path


def manager_of(path: str) -> str | None:
    """Who makes a resolver file of what is written there."""
    if path.startswith("/etc/cloud/templates/"):
        return "cloud-init"
    if path.startswith("/etc/resolvconf/"):
        return "resolvconf"
    return "Proxmox VE" if _GUEST_FILE.fullmatch(path) else None


def lines_of_guest(lines: list[TextLine]) -> Iterator[TextLine]:
    """What Proxmox writes into a guest's resolv.conf because of its own file on the guest; a snapshot's part counts
    for nothing."""
    for line in lines:
        key, colon, value = line.text.partition(":")
        if key.startswith("["):
            return
        if colon and key.strip() == "nameserver":
            yield from (line._replace(text=f"nameserver {address}") for address in value.split())
        elif colon and key.strip() == "searchdomain":
            yield line._replace(text=f"search {value.strip()}")
