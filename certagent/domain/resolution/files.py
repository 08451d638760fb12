"""A node's resolver files together, with who manages each line, and nsswitch.conf as Go reads it. Pure.

Of nsswitch.conf Go knows `files` and `dns`; any other source counts as DNS, unless `dns` is named as well. Criteria are
read and then ignored. A file that is absent, silent about hosts, or broken means `files dns` (Go, net/nss.go, conf.go).
"""

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
from certagent.domain.resolution.managed_files import NOWHERE_SPECIAL, Manager, Surroundings, find_managers

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
            raise _BrokenError("an invalid criterion")


def _order(sources: list[str]) -> tuple[str, ...]:
    known = [_meaning(source, "dns" in sources) for source in sources]
    return tuple(dict.fromkeys(source for source in known if source is not None)) or DEFAULT_ORDER


def _meaning(source: str, has_dns: bool) -> str | None:
    if source in DEFAULT_ORDER:
        return source
    return None if has_dns else "dns"


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
