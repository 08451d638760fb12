"""What DNS says of the fleet's names, by dnsmasq's files or by a nameserver that was asked. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from certagent.domain.resolution.dnsmasq import Dnsmasq, is_below, read_settings
from certagent.domain.resolution.file_formats import HOSTS_FILE, lower, parse_address, parse_hosts
from certagent.domain.sources.writes import DNSMASQ_FILE, SHOWN_UNKNOWN, Write

_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.?")


class FleetZone(msgspec.Struct, frozen=True, kw_only=True):
    """`source`: who says so, for people; null where nobody does. `zones`: the fleet's own domains. `answers`: what a
    nameserver said, name by name (no address: it has none). `nameservers`: the fleet's own, where they are known."""

    source: str | None = None
    zones: tuple[str, ...] = ()
    dnsmasq: Dnsmasq | None = None
    answers: Mapping[str, tuple[str, ...]] = {}
    nameservers: tuple[str, ...] = ()

    def addresses_of(self, name: str) -> tuple[str, ...] | None:
        """The addresses of a name (lower case); none if it has no record, None if that cannot be told."""
        if name in self.answers:
            return self.answers[name]
        told = self.dnsmasq.zone_says(name) if self.dnsmasq is not None else ()
        if told:
            return told
        return () if self.dnsmasq is not None and self.is_of_fleet(name) else None

    def is_of_fleet(self, name: str) -> bool:
        """Whether the name lies in a domain of the fleet's; without any domain, whether somebody knows it."""
        if self.zones:
            return any(is_below(name, zone) for zone in self.zones)
        return bool(self.answers.get(name))


def zone_of_dnsmasq(contents: Iterable[tuple[str, bytes]], zones: tuple[str, ...], source: str) -> FleetZone:
    """By dnsmasq's files: (path, content). Without `zones`, its domains are those that it is told to answer for, and
    those that its records are in."""
    settings = tuple(setting for path, content in contents for setting in read_settings(content, path))
    dnsmasq = Dnsmasq(settings=settings)
    found = zones or tuple(dict.fromkeys(_domains(dnsmasq)))
    return FleetZone(source=source, zones=found, dnsmasq=dnsmasq)


def zone_of_writes(writes: Iterable[Write], files: Iterable[tuple[str, bytes]], zones: tuple[str, ...]) -> FleetZone:
    """By the tree itself: what it writes for dnsmasq, the files of dnsmasq's in it, and the hosts files of the nodes
    that dnsmasq runs on."""
    kept = list(writes)
    written = [write for write in kept if write.file.startswith(DNSMASQ_FILE.removesuffix(".conf"))]
    lines = "\n".join(write.text for write in written if SHOWN_UNKNOWN not in write.text)
    zone = zone_of_dnsmasq([*files, (DNSMASQ_FILE, lines.encode())], zones, "the dnsmasq configuration in this tree")
    if zone.dnsmasq is None or not any(zone.dnsmasq.all("address", "host-record", "cname")):
        return FleetZone(zones=zones)
    return zone


def nodes_of_dnsmasq(writes: Iterable[Write]) -> frozenset[str]:
    """The nodes whose hosts file is a part of the zone, because dnsmasq there serves it."""
    return frozenset(write.node for write in writes if write.node and write.file.startswith("/etc/dnsmasq"))


def names_pinned(writes: Iterable[Write]) -> Iterator[tuple[Write, str, str]]:
    """(write, name, address) of each name with a dot that a hosts line gives an address; loopback is a node's own."""
    for write in writes:
        if write.file != HOSTS_FILE:
            continue
        for entry in parse_hosts(write.text.encode()).entries:
            if entry.address == "127.0.1.1":  # a node's own name, as Debian writes it
                continue
            for name in dict.fromkeys(map(lower, entry.names)):
                if _NAME.fullmatch(name):
                    yield write, name.rstrip("."), entry.address


def _domains(dnsmasq: Dnsmasq) -> Iterator[str]:
    for setting in dnsmasq.all("local", "domain"):
        if setting.key == "domain":
            yield setting.value.partition(",")[0].lower().strip(".")
        else:
            yield from (part.lower().strip(".") for part in setting.value.split("/") if part)
    for setting in dnsmasq.all("host-record", "address", "cname"):
        parts = setting.value.strip("/").split("/" if setting.key == "address" else ",")
        for name in parts:
            if parse_address(name) is None and name.count(".") >= 2:
                yield name.partition(".")[2].lower().strip(".")
