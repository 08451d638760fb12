"""dnsmasq's configuration, as much of it as decides what a name of the fleet becomes; with line numbers. Pure.

Facts: dnsmasq(8), and dnsmasq 2.90 itself where that is silent. An option stands one to a line, long name without
dashes; later lines of the same kind add. `pihole-FTL` is dnsmasq, with files of its own.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

import msgspec

from certagent.domain.resolution.file_formats import Hosts, HostsEntry, index_entries, parse_address, show
from certagent.domain.resolution.managed_files import Manager

_COMMENT = re.compile(rb"(?:^|\s)#")


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One line, or one argument of the command line (then `file` and `line` are null)."""

    key: str
    value: str
    text: str
    file: str | None = None
    line: int | None = None


class ConfiguredRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An address by a line of the configuration. `is_domain`: it is for every name in that domain as well."""

    name: str
    address: str
    setting: Setting
    is_domain: bool = False


class Dnsmasq(msgspec.Struct, frozen=True, kw_only=True):
    """What it was told: by its command line and by all the files that it reads. `files`: those files."""

    settings: tuple[Setting, ...] = ()
    files: tuple[str, ...] = ()

    def all(self, *keys: str) -> Iterator[Setting]:
        """The settings of these names, in their order."""
        return (one for one in self.settings if one.key in keys)

    def first(self, *keys: str) -> Setting | None:
        """The first of them."""
        return next(self.all(*keys), None)

    def zone_says(self, name: str) -> tuple[str, ...]:
        """The addresses that its own lines give a name: host-record, else the address= of the longest domain; for an
        alias those of its target."""
        for _ in range(_LONGEST_CHAIN):
            told = self._records_of(name)
            target = self._target_of(name) if not told else None
            if target is None:
                return told
            name = target
        return ()

    def records(self) -> Iterator["ConfiguredRecord"]:
        """Each address that a line of a file gives to a name (host-record=) or to a whole domain (address=)."""
        for one in self.all("host-record"):
            parts = one.value.split(",")
            found = [address for part in parts if (address := parse_address(part.strip())) is not None]
            names = [
                _plain(part) for part in parts if parse_address(part.strip()) is None and not part.strip().isdigit()
            ]
            for name in names:
                for address in found:
                    yield ConfiguredRecord(name=name, address=address, setting=one)
        for one in self.all("address"):
            *domains, text = one.value.removeprefix("/").split("/")
            for domain in map(_plain, domains):
                for address in _NOWHERE if text == "#" else filter(None, (parse_address(text),)):
                    yield ConfiguredRecord(name=domain, address=address, setting=one, is_domain=True)

    def exempt_from_filter(self) -> tuple[str, ...]:
        """The domains whose private addresses pass in spite of stop-dns-rebind, and those answered from here."""
        listed = (part for one in self.all("rebind-domain-ok", "local") for part in one.value.split("/"))
        return tuple(dict.fromkeys(filter(None, map(_plain, listed))))

    def forwarded(self) -> tuple[str, ...]:
        """The domains that are asked of somebody else."""
        listed = (one.value.split("/")[1:] for one in self.all("server") if one.value.startswith("/"))
        return tuple(_plain(domain) for *domains, to in listed if to for domain in domains if domain)

    def completed(self, hosts: Hosts) -> Hosts:
        """The hosts file as it is served: with `expand-hosts` a name without a dot is also one in the domain of its
        address."""
        if self.first("expand-hosts") is None:
            return hosts
        entries = tuple(self._complete(entry) for entry in hosts.entries)
        return Hosts(entries=entries, unread=hosts.unread, index=index_entries(entries))

    def domain_of(self, address: str) -> str | None:
        """`domain=DOMAIN[,NETWORK|FIRST,LAST|FIRST]`: the last one whose range has the address, else the last one
        without a range."""
        for one in reversed(tuple(self.all("domain"))):
            domain, *limits = one.value.split(",")
            if limits and _is_within(address, limits):
                return _plain(domain)
        plain = [one.value for one in self.all("domain") if "," not in one.value and one.value != "#"]
        return _plain(plain[-1]) if plain else None

    def _complete(self, entry: HostsEntry) -> HostsEntry:
        domain = self.domain_of(entry.address)
        if domain is None:
            return entry
        full = tuple(f"{name}.{domain}" for name in entry.names if "." not in name)
        return msgspec.structs.replace(entry, names=(*full, *entry.names))

    def _records_of(self, name: str) -> tuple[str, ...]:
        wanted = _plain(name)
        records = [one.value.split(",") for one in self.all("host-record")]
        told = [part for record in records if wanted in map(_plain, record) for part in record]
        if not any(map(parse_address, told)):
            told = self._addresses_below(wanted)
        return tuple(dict.fromkeys(filter(None, map(parse_address, told))))

    def _target_of(self, name: str) -> str | None:
        wanted = _plain(name)
        for one in self.all("cname"):
            parts = [part for part in map(_plain, one.value.split(",")) if not part.isdigit()]
            *aliases, target = parts or [""]
            if any(is_below(wanted, alias[2:]) if alias.startswith("*.") else wanted == alias for alias in aliases):
                return target
        return None

    def _addresses_below(self, name: str) -> list[str]:
        longest, found = -1, list[str]()
        for one in self.all("address"):
            *domains, address = one.value.removeprefix("/").split("/")
            for domain in map(_plain, domains):
                if is_below(name, domain) and len(domain) >= longest:
                    addresses = _NOWHERE if address == "#" else (address,)
                    found = [*(found if len(domain) == longest else ()), *addresses]
                    longest = len(domain)
        return found


class HostsSource(StrEnum):
    """By which setting a hosts file is served, and so when an edit of it counts."""

    HOSTS = "hosts"  # the system's own, unless `no-hosts`: at SIGHUP, or a restart
    ADDN_HOSTS = "addn-hosts"  # the same
    HOSTSDIR = "hostsdir"  # a file in that folder: at once


class ServedHosts(msgspec.Struct, frozen=True, kw_only=True):
    """A hosts file that a DNS server answers from, its names completed. `waits`: the setting that names it was written
    after the server was started, and counts once that is restarted. `managers`: line number -> who rewrites it."""

    file: str
    hosts: Hosts
    source: HostsSource = HostsSource.HOSTS
    waits: bool = False
    managers: Mapping[int, Manager] = {}


def read_settings(content: bytes, file: str) -> Iterator[Setting]:
    """The settings of one file."""
    for number, raw in enumerate(content.split(b"\n"), 1):
        bare = show(_COMMENT.split(raw, maxsplit=1)[0].strip())
        if bare:
            yield _setting(bare, show(raw.strip()), file, number)


def read_arguments(arguments: Iterable[str]) -> Iterator[Setting]:
    """The options of its command line that matter here, long and short."""
    waiting: str | None = None
    for argument in arguments:
        if waiting is not None:
            yield Setting(key=waiting, value=argument, text=argument)
            waiting = None
        elif argument.startswith("--"):
            setting = _setting(argument[2:], argument)
            if setting.key in _WITH_VALUE and "=" not in argument:
                waiting = setting.key
            else:
                yield setting
        elif argument[:2] in _SHORT:
            key, value = _SHORT[argument[:2]], argument[2:]
            if value or key not in _WITH_VALUE:
                yield Setting(key=key, value=value, text=argument)
            else:
                waiting = key


def is_below(name: str, domain: str) -> bool:
    """Whether the name is the domain, or lies in it; everything lies in the one without a name."""
    return not domain or name == domain or name.endswith("." + domain)


_SHORT = {
    "-C": "conf-file",
    "-7": "conf-dir",
    "-H": "addn-hosts",
    "-h": "no-hosts",
    "-p": "port",
    "-E": "expand-hosts",
    "-s": "domain",
    "-A": "address",
    "-S": "server",
}
_WITH_VALUE = {*_SHORT.values(), "hostsdir", "host-record", "cname", "servers-file", "rebind-domain-ok", "local"} - {
    "no-hosts",
    "expand-hosts",
}
_NOWHERE = ("0.0.0.0", "::")  # noqa: S104 - what it answers
_LONGEST_CHAIN = 8


def _setting(bare: str, text: str, file: str | None = None, line: int | None = None) -> Setting:
    key, _, value = bare.partition("=")
    return Setting(key=key.strip(), value=value.strip().strip('"'), text=text, file=file, line=line)


def _plain(name: str) -> str:
    return name.strip().lower().strip(".#")


def _is_within(address: str, limits: list[str]) -> bool:
    """Whether the address lies in `NETWORK`, or between `FIRST` and `LAST`; a trailing `local` says nothing of it."""
    try:
        number = ipaddress.ip_address(address.partition("%")[0])
        if "/" in limits[0]:
            return number in ipaddress.ip_network(limits[0].strip(), strict=False)
        first, last = (ipaddress.ip_address(limit.strip()) for limit in (limits * 2)[:2])
    except ValueError:
        return False
    return first.version == number.version == last.version and int(first) <= int(number) <= int(last)
