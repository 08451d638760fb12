"""The resolver's files of one world, together. Pure."""

import msgspec

from certagent.domain.rehearsals import Origin, ResolvedAddress
from certagent.domain.resolution.hosts import HOSTS_FILE, Hosts, parse_hosts
from certagent.domain.resolution.managed_files import NOWHERE_SPECIAL, Manager, Surroundings, find_managers
from certagent.domain.resolution.nsswitch import NSSWITCH_FILE, NameServiceSwitch, parse_nsswitch
from certagent.domain.resolution.resolv_conf import RESOLV_CONF_FILE, ResolvConf, parse_resolv_conf

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
