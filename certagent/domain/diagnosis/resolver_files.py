"""What conclusions from files alone are drawn from; and those about hosts files and about lines where a program
rewrites them. Pure.

What such a program writes by itself is known for hosts files (this node's own names, loopback: docs/facts.md);
in Proxmox's section of resolv.conf it is nameservers and a search list.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from certagent.domain import catalogue
from certagent.domain.catalogue import Fact
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.observations import Misconfiguration, Unreadable
from certagent.domain.resolution.file_formats import (
    HOSTS_FILE,
    RESOLV_CONF_FILE,
    HostsEntry,
    HostsProblem,
    leads_to_itself,
    lower,
    read_lines,
    split_fields,
)
from certagent.domain.resolution.files import ResolverFiles
from certagent.domain.resolution.ineffective_hosts import (
    Ineffective,
    ineffective_name,
    name_that_ends_early,
    why_no_address,
)
from certagent.domain.resolution.managed_files import PVE_BEGIN, PVE_END, WRITES_OWN_NAMES, Manager

_LONGEST_TEXT = 200
_MOST_LINES = 50  # of one name: nobody has more, and a hostile file must not cost us dearly
_LOCAL = ("localhost", "ip6-", "broadcasthost")


class StaticObservation(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one node. What is told by path is told by the live one; `shown` has the path of a file that was
    looked at in its place.

    `contents`: null for a file that is not there; `links`: where a link in its place leads; `left_alone`: files that
    Proxmox was told not to rewrite. `zones` are the fleet's own; `own_names` may well be on loopback here. `gateways`
    are the mistakes that the web servers' files show; `unreadable` is what of all these files could not be read.
    """

    node: str
    files: ResolverFiles
    contents: Mapping[str, bytes | None] = {}
    links: Mapping[str, str | None] = {}
    managers: Mapping[str, Mapping[int, Manager]] = {}
    shown: Mapping[str, str] = {}
    left_alone: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    own_names: tuple[str, ...] = ()
    own_addresses: tuple[str, ...] = ()
    gateways: tuple[Misconfiguration, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    def is_of_fleet(self, name: str) -> bool:
        """Whether a name (lower case) lies in a zone of the fleet, or is one."""
        return any(name == zone or name.endswith("." + zone) for zone in self.bare_zones())

    def bare_zones(self) -> list[str]:
        """The zones as people write them."""
        return [zone.lower().strip(".") for zone in self.zones]

    def is_own(self, name: str) -> bool:
        """Whether a name (lower case) is this node's: its host name in any domain, what it is configured for, or what
        its hosts file gives an address of its own."""
        host = self.files.hostname.lower().partition(".")[0]
        own = (self.files.hostname.lower(), *(one.lower() for one in self.own_names))
        if name in own or (host and name.partition(".")[0] == host):
            return True
        entries = self.files.hosts.entries_for(name)[:_MOST_LINES]
        return any(entry.address in self.own_addresses for entry in entries)

    def manager(self, file: str, line: int | None) -> Manager | None:
        """Who rewrites that line."""
        return self.managers.get(file, {}).get(line or 0)

    def finding(
        self,
        code: str,
        *,
        file: str,
        line: int | None = None,
        text: str | None = None,
        address: str | None = None,
        identifier: str | None = None,
        variant: str = "",
        detail: Mapping[str, Any] | None = None,
        managed_line: int | None = None,
        **facts: Fact,
    ) -> Finding:
        """A finding about a line; `detail` also says who manages it. `managed_line`: another line, whose manager the
        fix has to name."""
        culprit = Culprit(
            node=self.node,
            file=self.shown.get(file, file),
            line=line,
            text=None if text is None else short(text),
            address=address,
        )
        manager = self.manager(file, managed_line or line)
        return catalogue.finding(
            code,
            vantage=Vantage.STATIC,
            reporter=self.node,
            identifier=identifier,
            culprit=culprit,
            detail={**(detail or {}), "managed_by": self.manager(file, line)},
            variant=variant,
            manager=manager,
            edit_at=manager,
            file_name=file.rpartition("/")[2],
            **facts,
        )


def short(text: str) -> str:
    """A text as a person can still read it."""
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def is_local(name: str) -> bool:
    """Whether it is one of the names that every hosts file has."""
    return name.startswith(_LOCAL)


def is_public(address: str) -> bool:
    """Whether it is an address of the Internet's."""
    return ipaddress.ip_address(address.partition("%")[0]).is_global


_HOME = "this node itself"


def lines_contradict(observation: StaticObservation) -> Iterator[Finding]:
    """dns.hosts_conflict, dns.hosts_duplicate: one name, several lines. An IPv4 and an IPv6 address are no conflict,
    nor is loopback for the node's own name."""
    for key, found in observation.files.hosts.index.items():
        name = key.removesuffix(".")
        entries = _counted(observation, name, found)
        for family in (False, True):
            yield from _compared(observation, name, [entry for entry in entries if _is_v6(entry) is family])


def names_loop_back(observation: StaticObservation) -> Iterator[Finding]:
    """dns.loopback: a name of the fleet's zones that is another's leads to this node itself (Debian's 127.0.1.1)."""
    for entry in observation.files.hosts.entries:
        if not leads_to_itself(entry.address):
            continue
        for name in dict.fromkeys(map(_plain, entry.names)):
            if observation.is_of_fleet(name) and not observation.is_own(name):
                yield observation.finding(
                    "dns.loopback",
                    file=HOSTS_FILE,
                    line=entry.line,
                    text=entry.text,
                    address=entry.address,
                    identifier=short(name),
                    variant="static",
                    name=short(name),
                )


def lines_say_nothing(observation: StaticObservation) -> Iterator[Finding]:
    """dns.hosts_ignored: lines that look as if they meant something, and do not; and names that nobody asks for."""
    lines = (observation.contents.get(HOSTS_FILE) or b"").split(b"\n")
    for one in observation.files.hosts.unread:
        if one.problem is HostsProblem.NO_ADDRESS and one.line <= len(lines):
            yield _ineffective(observation, one.line, one.text, why_no_address(lines[one.line - 1]))
        else:
            yield _ineffective(observation, one.line, one.text, Ineffective(one.problem, ""))
    for entry in observation.files.hosts.entries:
        wrong = ineffective_name(entry)
        if wrong is None and "#" in entry.text and entry.line <= len(lines):
            wrong = name_that_ends_early(lines[entry.line - 1])
        if wrong is not None:
            yield _ineffective(observation, entry.line, entry.text, wrong)


def _ineffective(observation: StaticObservation, line: int, text: str, wrong: Ineffective) -> Finding:
    return observation.finding(
        "dns.hosts_ignored",
        file=HOSTS_FILE,
        line=line,
        text=text,
        variant=wrong.problem.value,
        detail={"problem": wrong.problem, "word": short(wrong.word)},
        word=short(wrong.word),
    )


def _counted(observation: StaticObservation, name: str, entries: Sequence[HostsEntry]) -> list[HostsEntry]:
    """Each line once; of a name that may be on loopback here, only the lines that lead elsewhere."""
    lines = list({entry.line: entry for entry in entries}.values())
    if is_local(name) or (len(lines) > 1 and observation.is_own(name)):
        return [entry for entry in lines if not leads_to_itself(entry.address)]
    return lines


def _compared(observation: StaticObservation, name: str, entries: list[HostsEntry]) -> Iterator[Finding]:
    """Lines with addresses of one family."""
    if len(entries) > 1:
        other = next((one for one in entries[1:] if _leads(one) != _leads(entries[0])), None)
        code = "dns.hosts_duplicate" if other is None else "dns.hosts_conflict"
        yield _repeated(observation, name, entries, other or entries[1], code)


def _repeated(
    observation: StaticObservation, name: str, entries: list[HostsEntry], other: HostsEntry, code: str
) -> Finding:
    managed = next((entry.line for entry in entries if observation.manager(HOSTS_FILE, entry.line) is not None), None)
    return observation.finding(
        code,
        file=HOSTS_FILE,
        line=other.line,
        text=other.text,
        address=other.address,
        identifier=short(name),
        variant="static",
        detail={"lines": _shown(observation, entries)},
        managed_line=managed,
        name=short(name),
        lines=[str(entry.line) for entry in entries],
        addresses=list(dict.fromkeys(entry.address for entry in entries)),
    )


def _shown(observation: StaticObservation, entries: list[HostsEntry]) -> list[dict[str, object]]:
    return [
        {
            "line": entry.line,
            "text": short(entry.text),
            "address": entry.address,
            "managed_by": observation.manager(HOSTS_FILE, entry.line),
        }
        for entry in entries[:20]
    ]


def _leads(entry: HostsEntry) -> str:
    return _HOME if leads_to_itself(entry.address) else entry.address


def _is_v6(entry: HostsEntry) -> bool:
    return ":" in entry.address


def _plain(name: str) -> str:
    return lower(name).removesuffix(".")


_WRITTEN_BY_PROXMOX = ("search", "domain", "nameserver")
_CODE = "dns.managed_file"


def hosts_lines_will_go(observation: StaticObservation) -> Iterator[Finding]:
    """dns.managed_file: a line of the hosts file for other names than this node's, where it will be rewritten."""
    for entry in observation.files.hosts.entries:
        manager = observation.manager(HOSTS_FILE, entry.line)
        if manager not in WRITES_OWN_NAMES:
            continue
        names = [lower(name).removesuffix(".") for name in entry.names]
        foreign = [name for name in names if not is_local(name) and not observation.is_own(name)]
        if foreign:
            yield observation.finding(
                _CODE,
                file=HOSTS_FILE,
                line=entry.line,
                text=entry.text,
                address=entry.address,
                variant="hosts_line",
                names=[short(name) for name in foreign],
                unless_set_there=manager is Manager.DOCKER,
            )


def settings_will_go(observation: StaticObservation) -> Iterator[Finding]:
    """dns.managed_file: a line in Proxmox's section of resolv.conf that Proxmox does not write."""
    lines, _ = read_lines(observation.contents.get(RESOLV_CONF_FILE) or b"")
    for line in lines:
        fields = split_fields(line.content)
        if observation.manager(RESOLV_CONF_FILE, line.number) is not Manager.PROXMOX or not fields:
            continue
        if fields[0] not in _WRITTEN_BY_PROXMOX and not fields[0].startswith(("#", ";")):
            yield observation.finding(
                _CODE,
                file=RESOLV_CONF_FILE,
                line=line.number,
                text=line.text,
                variant="setting",
                word=short(fields[0]),
            )


def sections_are_torn(observation: StaticObservation) -> Iterator[Finding]:
    """dns.managed_file: one of the two marks of Proxmox's section is gone, so the next start writes another one."""
    for file in (HOSTS_FILE, RESOLV_CONF_FILE):
        lines, _ = read_lines(observation.contents.get(file) or b"")
        contents = [line.content.rstrip(b"\r") for line in lines]
        marks = [mark for mark in contents if mark in (PVE_BEGIN, PVE_END)]
        if file in observation.left_alone or len(set(marks)) != 1:
            continue
        line = lines[contents.index(marks[0])]
        missing = PVE_END if marks[0] == PVE_BEGIN else PVE_BEGIN
        yield observation.finding(
            _CODE, file=file, line=line.number, text=line.text, variant="torn_section", mark=missing.decode()
        )
