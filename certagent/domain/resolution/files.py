"""A node's resolver files, nsswitch.conf as Go reads it, and who manages each line: a hand edit to a managed line is
gone at the next start. Pure.

Proxmox VE rewrites what stands between its two marks at every start of the container, unless `/etc/.pve-ignore.FILE`
exists (FACTS, "Containers"). The others own whole files, and say so in the first comment, or by a link or a mount.

Of nsswitch.conf Go knows `files` and `dns`; any other source counts as DNS, unless `dns` is named as well. Criteria are
read and then ignored. A file that is absent, silent about hosts, or broken means `files dns` (Go, net/nss.go, conf.go).
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from certagent.domain.rehearsals import Origin, ResolvedAddress
from certagent.domain.resolution.file_formats import (
    HOSTS_FILE,
    RESOLV_CONF_FILE,
    Hosts,
    ResolvConf,
    parse_hosts,
    parse_resolv_conf,
    read_lines,
    show,
)

NSSWITCH_FILE = "/etc/nsswitch.conf"
DEFAULT_ORDER = ("files", "dns")

_SWITCH_SPACES = b" \t\n\r"


class NameServiceSwitch(msgspec.Struct, frozen=True):
    """What the file says on hosts. `order` is what Go makes of it; `line` and `text` the line that decides."""

    order: tuple[str, ...] = DEFAULT_ORDER
    sources: tuple[str, ...] = ()
    line: int | None = None
    text: str | None = None
    problem: str | None = None  # why the file as a whole is not used

    def has_more_than_go(self) -> bool:
        """Whether libc may know names from where a pure-Go program never looks."""
        return self.problem is not None or not set(self.sources) <= set(DEFAULT_ORDER)


class _BrokenError(Exception):
    """The file is not one: Go gives it up and uses its default."""


def parse_nsswitch(raw: bytes | None) -> NameServiceSwitch:
    """The order of lookups. None is a file that is not there."""
    lines, _ = read_lines(raw or b"")
    sources: list[str] = []
    decided: tuple[int, str] | None = None
    for line in lines:
        content = line.content.partition(b"#")[0].strip(_SWITCH_SPACES)
        if not content:
            continue
        try:
            database, found = _parse_sources(content)
        except _BrokenError as error:
            return NameServiceSwitch(line=line.number, text=line.text, problem=str(error))
        if database == b"hosts" and found:
            sources += found
            decided = decided or (line.number, line.text)
    number, text = decided or (None, None)
    return NameServiceSwitch(order=_order(sources), sources=tuple(sources), line=number, text=text)


def _parse_sources(content: bytes) -> tuple[bytes, list[str]]:
    database, colon, rest = content.partition(b":")
    if not colon:
        raise _BrokenError("a line without a colon")
    sources = []
    rest = rest.strip(_SWITCH_SPACES)
    while rest:
        source, _, rest = rest.partition(b" ")
        rest = rest.strip(_SWITCH_SPACES)
        if rest.startswith(b"["):
            criteria, closed, rest = rest[1:].partition(b"]")
            if not closed:
                raise _BrokenError("a bracket that is not closed")
            _check_criteria(criteria)
            rest = rest.strip(_SWITCH_SPACES)
        sources.append(show(source))
    return database.strip(_SWITCH_SPACES), sources


def _check_criteria(criteria: bytes) -> None:
    for field in criteria.strip(_SWITCH_SPACES).split(b" "):
        criterion = field.strip(_SWITCH_SPACES).removeprefix(b"!")
        if field.strip(_SWITCH_SPACES) and (len(criterion) < 3 or b"=" not in criterion):
            raise _BrokenError("a criterion that is none")


def _order(sources: list[str]) -> tuple[str, ...]:
    known = [_meaning(source, "dns" in sources) for source in sources]
    return tuple(dict.fromkeys(source for source in known if source is not None)) or DEFAULT_ORDER


def _meaning(source: str, has_dns: bool) -> str | None:
    if source in DEFAULT_ORDER:
        return source
    return None if has_dns else "dns"


PVE_BEGIN = b"# --- BEGIN PVE ---"
PVE_END = b"# --- END PVE ---"


class Manager(StrEnum):
    """A program that rewrites resolver files. A line with no manager is a person's."""

    PROXMOX = "proxmox"
    CLOUD_INIT = "cloud-init"
    DOCKER = "docker"
    SYSTEMD_RESOLVED = "systemd-resolved"
    NETWORK_MANAGER = "NetworkManager"
    RESOLVCONF = "resolvconf"
    DHCPCD = "dhcpcd"


EDIT_AT: Mapping[str, str] = {
    Manager.PROXMOX: "on the Proxmox VE host, in the container's own settings (its DNS and Network tabs, or `pct set`);"
    " or leave the file to yourself with `touch /etc/.pve-ignore.{file_name}`",
    Manager.CLOUD_INIT: "in /etc/cloud/templates/{file_name}.debian.tmpl, or set manage_etc_hosts: false for"
    " cloud-init",
    Manager.DOCKER: "where the container is started: --add-host and --dns, or extra_hosts and dns of its compose file",
    Manager.SYSTEMD_RESOLVED: "in /etc/systemd/resolved.conf, or in the DNS= of the link's .network file",
    Manager.NETWORK_MANAGER: "with `nmcli connection modify NAME ipv4.dns ADDRESS`",
    Manager.RESOLVCONF: "in the dns-nameservers of /etc/network/interfaces",
    Manager.DHCPCD: "in /etc/dhcpcd.conf, or at the DHCP server",
}
"""Who rewrites a line -> where to change it instead; `{file_name}` is the last part of the file's path."""


class Surroundings(msgspec.Struct, frozen=True):
    """What else tells who manages a file: `pve_ignored` (Proxmox was told to leave it), `target` (the path that a
    link leads to) and `mounted_from` (where a bind mount over it comes from)."""

    pve_ignored: bool = False
    target: str | None = None
    mounted_from: str | None = None


NOWHERE_SPECIAL = Surroundings()

_MARKS = (
    (b"manage_etc_hosts", Manager.CLOUD_INIT),
    (b"managed by man:systemd-resolved(8)", Manager.SYSTEMD_RESOLVED),
    (b"Generated by NetworkManager", Manager.NETWORK_MANAGER),
    (b"Generated by Docker Engine", Manager.DOCKER),
    (b"generated by resolvconf(8)", Manager.RESOLVCONF),
    (b"Generated by dhcpcd", Manager.DHCPCD),
)


def find_managers(raw: bytes, surroundings: Surroundings = NOWHERE_SPECIAL) -> dict[int, Manager]:
    """Line number -> who rewrites that line. Lines that are not in it are a person's, or empty."""
    lines, _ = read_lines(raw)
    contents = [line.content.rstrip(b"\r") for line in lines]
    owner = _owner_of_file(contents, surroundings)
    managed = {line.number: owner for line in lines} if owner is not None else {}
    if not surroundings.pve_ignored:
        managed |= {line.number: Manager.PROXMOX for line in lines[_pve_section(contents)]}
    return managed


def _owner_of_file(contents: list[bytes], surroundings: Surroundings) -> Manager | None:
    if surroundings.mounted_from is not None and "/docker/" in surroundings.mounted_from:
        return Manager.DOCKER
    if surroundings.target is not None and surroundings.target.startswith("/run/systemd/resolve/"):
        return Manager.SYSTEMD_RESOLVED
    comments = [content for content in contents if content.lstrip().startswith((b"#", b";"))]
    return next((owner for mark, owner in _MARKS if any(mark in comment for comment in comments)), None)


def _pve_section(contents: list[bytes]) -> slice:
    """The lines from the first begin mark to the end mark after it; none without both."""
    if PVE_BEGIN not in contents:
        return slice(0)
    begin = contents.index(PVE_BEGIN)
    if PVE_END not in contents[begin:]:
        return slice(0)
    return slice(begin, contents.index(PVE_END, begin) + 1)


RESOLVER_FILES = (HOSTS_FILE, RESOLV_CONF_FILE, NSSWITCH_FILE)


class ResolverFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how a name is resolved. `hostname` is the node's own: its domain is the default search list.

    `unreadable` are files that are there, but not for who resolves: to Go they are absent.
    """

    hosts: Hosts = Hosts()
    resolv_conf: ResolvConf = ResolvConf()
    nsswitch: NameServiceSwitch = NameServiceSwitch()
    hostname: str = ""
    managers: dict[int, Manager] = {}  # of the lines of the hosts file
    resolv_conf_managers: dict[int, Manager] = {}
    unreadable: tuple[str, ...] = ()

    def nameserver_lines(self) -> tuple[Origin, ...]:
        """The lines that name the nameservers that are asked."""
        return tuple(
            Origin(
                source="resolv.conf" if server.line else "unit",
                file=RESOLV_CONF_FILE if server.line else None,
                line=server.line or None,
                text=server.text,
                nameserver=server.address,
            )
            for server in self.resolv_conf.nameservers
            if server.is_used
        )

    def switch_line(self) -> Origin:
        """The line that decides on the order of sources."""
        switch = self.nsswitch
        return Origin(source="nsswitch", file=NSSWITCH_FILE, line=switch.line, text=switch.text)

    def in_hosts(self, name: str) -> tuple[ResolvedAddress, ...]:
        """What the hosts file says of a name: every address, each with its line."""
        return tuple(
            ResolvedAddress(
                address=entry.address,
                origin=Origin(
                    source="hosts",
                    file=HOSTS_FILE,
                    line=entry.line,
                    text=entry.text,
                    managed_by=self.managers.get(entry.line),
                ),
            )
            for entry in self.hosts.entries_for(name)
        )


def parse_files(
    hosts: bytes | None,
    resolv_conf: bytes | None,
    nsswitch: bytes | None,
    hostname: str = "",
    surroundings: Surroundings = NOWHERE_SPECIAL,
) -> ResolverFiles:
    """The files' meaning; None is a file that is not there. `surroundings` are the hosts file's."""
    return ResolverFiles(
        hosts=parse_hosts(hosts),
        resolv_conf=parse_resolv_conf(resolv_conf),
        nsswitch=parse_nsswitch(nsswitch),
        hostname=hostname,
        managers=find_managers(hosts or b"", surroundings),
    )
