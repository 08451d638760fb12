"""resolv.conf as Go reads it, with line numbers. Pure; never raises.

The first three nameservers with literal addresses; the last `search` or `domain`; options by their first meaning. A
comment is a line whose very first character is `#` or `;`: behind anything else `#` is a word like any other, and in
`search` becomes a suffix (Go, net/dnsconfig_unix.go).
"""

from collections.abc import Callable
from datetime import timedelta

import msgspec

from certagent.domain.resolution.text import parse_address, read_lines, split_fields

RESOLV_CONF_FILE = "/etc/resolv.conf"
DEFAULT_NAMESERVERS = ("127.0.0.1", "::1")

_MOST_NAMESERVERS = 3
_MOST_DOTS = 15
_BIG = 0xFFFFFF


class Nameserver(msgspec.Struct, frozen=True):
    """One line that names a nameserver. `is_used`: Go asks the first three only."""

    line: int
    text: str
    address: str
    is_used: bool = True


class ResolvConf(msgspec.Struct, frozen=True):
    """The resolver's configuration. `search` is empty where the host's own domain takes its place."""

    nameservers: tuple[Nameserver, ...] = ()
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout_for: timedelta = timedelta(seconds=5)
    attempts: int = 2
    rotate: bool = False
    single_request: bool = False
    use_tcp: bool = False
    trust_ad: bool = False
    exists: bool = True

    def asked(self) -> tuple[str, ...]:
        """The addresses that Go asks, in their order: where the file names none, this machine's own port 53."""
        return tuple(server.address for server in self.nameservers if server.is_used) or DEFAULT_NAMESERVERS

    def names_nobody(self) -> bool:
        """Whether no usable nameserver is configured."""
        return not any(server.is_used for server in self.nameservers)


def parse_resolv_conf(raw: bytes | None) -> ResolvConf:
    """The configuration. None is a file that is not there or cannot be read: Go's defaults."""
    if raw is None:
        return ResolvConf(exists=False)
    lines, _ = read_lines(raw)
    settings: dict[str, object] = {}
    nameservers: list[Nameserver] = []
    for line in lines:
        fields = split_fields(line.content)
        if not fields or line.content[:1] in (b"#", b";"):
            continue
        keyword, values = fields[0], fields[1:]
        if keyword == "nameserver":
            nameservers += _nameserver(line.number, line.text, values, len(nameservers))
        elif keyword == "domain" and values:
            settings["search"] = (_rooted(values[0]),)
        elif keyword == "search":
            settings["search"] = tuple(suffix for suffix in map(_rooted, values) if suffix != ".")
        elif keyword == "options":
            for option in values:
                settings |= _option(option)
    return msgspec.structs.replace(ResolvConf(nameservers=tuple(nameservers)), **settings)


def _nameserver(number: int, text: str, values: list[str], count: int) -> list[Nameserver]:
    address = parse_address(values[0]) if values else None
    return [] if address is None else [Nameserver(number, text, address, count < _MOST_NAMESERVERS)]


def _option(option: str) -> dict[str, object]:
    name, colon, value = option.partition(":")
    if colon:
        return {_NUMBERS[name][0]: _NUMBERS[name][1](_leading_number(value))} if name in _NUMBERS else {}
    return {_SWITCHES[option]: True} if option in _SWITCHES else {}


def _leading_number(text: str) -> int:
    """The digits that the text begins with; 0 for none, and never more than Go's own bound."""
    digits = 0
    while digits < len(text) and text[digits] in "0123456789":
        digits += 1
    return min(int(text[: min(digits, 12)] or "0"), _BIG)


def _rooted(name: str) -> str:
    return name if name.endswith(".") else name + "."


_NUMBERS: dict[str, tuple[str, Callable[[int], object]]] = {
    "ndots": ("ndots", lambda number: min(number, _MOST_DOTS)),
    "timeout": ("timeout_for", lambda number: timedelta(seconds=max(number, 1))),
    "attempts": ("attempts", lambda number: max(number, 1)),
}
_SWITCHES = {
    "rotate": "rotate",
    "single-request": "single_request",
    "single-request-reopen": "single_request",
    "use-vc": "use_tcp",
    "usevc": "use_tcp",
    "tcp": "use_tcp",
    "trust-ad": "trust_ad",
}
