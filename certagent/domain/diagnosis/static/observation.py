"""What conclusions from files alone are drawn from, and how they are worded. Pure."""

import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec

from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.fixes import ELSEWHERE
from certagent.domain.observations import Misconfiguration
from certagent.domain.resolution.files import ResolverFiles
from certagent.domain.resolution.managed_files import Manager

_LONGEST_TEXT = 200
_MOST_SAID = 5
_MOST_LINES = 50  # of one name: nobody has more, and a hostile file must not cost us dearly
_LOCAL = ("localhost", "ip6-", "broadcasthost")


class StaticObservation(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one node. What is told by path is told by the live one; `shown` has the path of a file that was
    looked at in its place.

    `contents`: null for a file that is not there; `links`: where a link in its place leads; `left_alone`: files that
    Proxmox was told not to rewrite. `zones` are the fleet's own; `own_names` may well be on loopback here. `gateways`
    are the mistakes that the web servers' files show.
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

    def place(self, file: str, line: int | None = None) -> str:
        """`line 9 of /etc/hosts on lxc103`."""
        path = self.shown.get(file, file)
        return f"line {line} of {path} on {self.node}" if line else f"{path} on {self.node}"

    def the_line(self, file: str, line: int | None) -> str:
        """The same where a sentence begins."""
        return f"Line {line} of {self.shown.get(file, file)} on {self.node}"

    def mend(self, file: str, line: int, what: str) -> str:
        """What to do about a line: at its manager's, if somebody rewrites it."""
        manager = self.manager(file, line)
        if manager is None:
            return f"{what} ({self.place(file, line)})."
        where = ELSEWHERE[manager].format(name=file.rpartition("/")[2])
        return f"{what}: {self.place(file, line)} is {manager}'s, so change it {where}."

    def finding(
        self,
        code: str,
        explanation: str,
        *,
        file: str,
        line: int | None = None,
        text: str | None = None,
        address: str | None = None,
        identifier: str | None = None,
        fix: str,
        **detail: Any,
    ) -> Finding:
        """A finding about a line; `detail` also says who manages it."""
        return Finding(
            code=code,
            identifier=identifier,
            vantage=Vantage.STATIC,
            reporter=self.node,
            explanation=explanation,
            culprit=Culprit(
                node=self.node,
                file=self.shown.get(file, file),
                line=line,
                text=None if text is None else short(text),
                address=address,
            ),
            fix=fix,
            detail={**detail, "managed_by": self.manager(file, line)},
        )


def short(text: str) -> str:
    """A text as a person can still read it."""
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def several(things: list[Any]) -> str:
    """`9, 10 and 11`; of very many the first ones."""
    shown = [short(str(thing)) for thing in things[:_MOST_SAID]]
    if len(things) > _MOST_SAID:
        return f"{', '.join(shown)} and {len(things) - _MOST_SAID} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def is_local(name: str) -> bool:
    """Whether it is one of the names that every hosts file has."""
    return name.startswith(_LOCAL)


def leads_home(address: str) -> bool:
    """Whether a connection there ends at the machine that makes it."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return parsed.is_loopback or parsed.is_unspecified


def is_public(address: str) -> bool:
    """Whether it is an address of the Internet's."""
    return ipaddress.ip_address(address.partition("%")[0]).is_global
