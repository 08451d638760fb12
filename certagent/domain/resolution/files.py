"""The resolver's files of one world, together. Pure."""

import msgspec

from certagent.domain.rehearsals import Origin, ResolvedAddress
from certagent.domain.resolution.hosts import HOSTS_FILE, Hosts, parse_hosts
from certagent.domain.resolution.nsswitch import NSSWITCH_FILE, NameServiceSwitch, parse_nsswitch
from certagent.domain.resolution.ownership import NOWHERE_SPECIAL, Manager, Surroundings, find_managers
from certagent.domain.resolution.resolv_conf import RESOLV_CONF_FILE, ResolvConf, parse_resolv_conf

RESOLVER_FILES = (HOSTS_FILE, RESOLV_CONF_FILE, NSSWITCH_FILE)


class ResolverFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how a name is resolved. `hostname` is the node's own: its domain is the default search list."""

    hosts: Hosts = Hosts()
    resolv_conf: ResolvConf = ResolvConf()
    nsswitch: NameServiceSwitch = NameServiceSwitch()
    hostname: str = ""
    managers: dict[int, Manager] = {}  # of the lines of the hosts file

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
