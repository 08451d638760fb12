"""What conclusions from files alone are drawn from, and how they are worded. Pure."""

import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec

from certagent.domain import catalogue
from certagent.domain.catalogue import Fact
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.observations import Misconfiguration
from certagent.domain.resolution.files import ResolverFiles
from certagent.domain.resolution.managed_files import Manager

_LONGEST_TEXT = 200
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


def leads_home(address: str) -> bool:
    """Whether a connection there ends at the machine that makes it."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return parsed.is_loopback or parsed.is_unspecified


def is_public(address: str) -> bool:
    """Whether it is an address of the Internet's."""
    return ipaddress.ip_address(address.partition("%")[0]).is_global
