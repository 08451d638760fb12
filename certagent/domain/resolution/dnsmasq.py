"""dnsmasq's configuration, as much of it as decides what a name of the fleet becomes; with line numbers. Pure.

Facts: dnsmasq(8). An option stands one to a line, long name without dashes; later lines of the same kind add.
"""

import re
from collections.abc import Iterable, Iterator

import msgspec

from certagent.domain.resolution.file_formats import parse_address, show

_COMMENT = re.compile(rb"(?:^|\s)#")


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One line, or one argument of the command line (then `file` and `line` are null)."""

    key: str
    value: str
    text: str
    file: str | None = None
    line: int | None = None


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
        """The addresses that its own lines give a name: host-record, else the address= of the longest domain."""
        wanted = _plain(name)
        records = [one.value.split(",") for one in self.all("host-record")]
        told = [part for record in records if wanted in map(_plain, record) for part in record]
        if not any(map(parse_address, told)):
            told = self._addresses_below(wanted)
        return tuple(dict.fromkeys(filter(None, map(parse_address, told))))

    def exempt_from_filter(self) -> tuple[str, ...]:
        """The domains whose private addresses pass in spite of stop-dns-rebind, and those answered from here."""
        listed = (part for one in self.all("rebind-domain-ok", "local") for part in one.value.split("/"))
        return tuple(dict.fromkeys(filter(None, map(_plain, listed))))

    def forwarded(self) -> tuple[str, ...]:
        """The domains that are asked of somebody else."""
        listed = (one.value.split("/")[1:] for one in self.all("server") if one.value.startswith("/"))
        return tuple(_plain(domain) for *domains, to in listed if to for domain in domains if domain)

    def _addresses_below(self, name: str) -> list[str]:
        longest, found = -1, list[str]()
        for one in self.all("address"):
            *domains, address = one.value.removeprefix("/").split("/")
            for domain in map(_plain, domains):
                if is_below(name, domain) and len(domain) >= longest:
                    found = [*(found if len(domain) == longest else ()), address]
                    longest = len(domain)
        return found


def read_settings(content: bytes, file: str) -> Iterator[Setting]:
    """The settings of one file."""
    for number, raw in enumerate(content.split(b"\n"), 1):
        bare = show(_COMMENT.split(raw, maxsplit=1)[0].strip())
        if bare:
            yield _setting(bare, show(raw.strip()), file, number)


def read_arguments(arguments: Iterable[str]) -> Iterator[Setting]:
    """The long options of its command line, and the short ones that name files and the port."""
    waiting: str | None = None
    for argument in arguments:
        if waiting is not None:
            yield Setting(key=waiting, value=argument, text=argument)
            waiting = None
        elif argument.startswith("--"):
            yield _setting(argument[2:], argument)
        elif argument[:2] in _SHORT:
            key, value = _SHORT[argument[:2]], argument[2:]
            if value or key == "no-hosts":
                yield Setting(key=key, value=value, text=argument)
            else:
                waiting = key


def is_below(name: str, domain: str) -> bool:
    """Whether the name is the domain, or lies in it."""
    return name == domain or name.endswith("." + domain)


_SHORT = {"-C": "conf-file", "-7": "conf-dir", "-H": "addn-hosts", "-h": "no-hosts", "-p": "port"}


def _setting(bare: str, text: str, file: str | None = None, line: int | None = None) -> Setting:
    key, _, value = bare.partition("=")
    return Setting(key=key.strip(), value=value.strip(), text=text, file=file, line=line)


def _plain(name: str) -> str:
    return name.strip().lower().strip(".")
