"""hosts and resolv.conf as a pure-Go program reads them, with line numbers; lines and addresses. Pure; never raises."""

import ipaddress
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

import msgspec

LONGEST_LINE = 64 * 1024  # Go reads through a buffer of this size and stops at a line that does not fit

_SPACES = re.compile(rb"[ \r\t\n]+")
_UNSHOWABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_INVISIBLE = re.compile(
    "[\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800"
    "\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


class Line(NamedTuple):
    """One line without its line feed. `number` counts from 1."""

    number: int
    content: bytes

    @property
    def text(self) -> str:
        """The line as a person reads it: see `show`."""
        return show(self.content.rstrip(b"\r"))


def read_lines(raw: bytes) -> tuple[tuple[Line, ...], int | None]:
    """The lines that Go sees, without the empty ones (millions of them must not cost anything), and the number of the
    line at which it stops: the first that is longer than its buffer. None: it reads them all."""
    lines: list[Line] = []
    for number, content in enumerate(raw.split(b"\n"), start=1):
        if len(content) >= LONGEST_LINE:
            return tuple(lines), number
        if content:
            lines.append(Line(number, content))
    return tuple(lines), None


def split_fields(content: bytes) -> list[str]:
    """The fields between blanks, tabs and carriage returns; no other character separates."""
    return [show(field) for field in _SPACES.split(content) if field]


def show(content: bytes) -> str:
    """Bytes as text that a person sees: UTF-8, and whatever is not (or is a control character) as a \\x escape; blanks
    that are none, and other characters that cannot be seen, as `<U+00A0>`."""
    text = content.decode("utf-8", "backslashreplace")
    if text.isascii() and text.isprintable():
        return text
    return show_invisible(_UNSHOWABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text))


def show_invisible(text: str) -> str:
    """The text with each character that cannot be seen by its number."""
    return text if text.isascii() else _INVISIBLE.sub(lambda found: f"<U+{ord(found[0]):04X}>", text)


def lower(text: str) -> str:
    """Lower case in ASCII alone: to Go no other letter has a case here."""
    return text.translate(_LOWER)


def absolute(name: str) -> str:
    """A name with dots gets a final dot; one without stays as it is (Go's rule for hosts files)."""
    return name + "." if "." in name and not name.endswith(".") else name


def without_scope(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The number of an address that `parse_address` knows. To Go any scope is one, to `ipaddress` none with a `%` in
    it (`fe80::1%%eth0`)."""
    return ipaddress.ip_address(address.partition("%")[0])


def leads_to_itself(address: str) -> bool:
    """Whether a connection there ends at the machine that makes it: loopback, or the unspecified address (`0.0.0.0`,
    `::`), which Linux takes for loopback. No for what is no address."""
    try:
        number = without_scope(address)
    except ValueError:
        return False
    mapped = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
    return (mapped or number).is_loopback or (mapped or number).is_unspecified


def parse_address(text: str) -> str | None:
    """An address in its normal form, or None. An IPv4 address in IPv6 clothes is IPv4, as it is to Go's dialer."""
    host, has_scope, scope = text.partition("%")
    if has_scope and (not scope or ":" not in host):
        return None
    try:
        address = ipaddress.IPv6Address(host) if ":" in host else ipaddress.IPv4Address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{address}{has_scope}{scope}"


HOSTS_FILE = "/etc/hosts"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class HostsProblem(StrEnum):
    """Why a line says nothing, or not what it seems to say."""

    BYTE_ORDER_MARK = "byte_order_mark"  # belongs to the first field, so the first line's address is none
    NO_ADDRESS = "no_address"
    NO_NAME = "no_name"
    NOT_READ = "not_read"  # this line and all after it: longer than Go's buffer
    COMMENT_MARK = "comment_mark"  # the first field is ...
    NAME_FIRST = "name_first"
    MASK = "mask"
    BRACKETS = "brackets"
    LEADING_ZERO = "leading_zero"
    OUT_OF_RANGE = "out_of_range"
    ADDRESS_URL = "address_url"
    ADDRESS_PORT = "address_port"
    ADDRESS_QUOTES = "address_quotes"
    ADDRESS_PUNCTUATION = "address_punctuation"
    ADDRESS_NOT_ASCII = "address_not_ascii"
    INVISIBLE = "invisible"  # a field, or a name, has ...
    SCHEME = "scheme"
    PORT = "port"
    PATH = "path"
    WILDCARD = "wildcard"
    COMMA = "comma"
    QUOTES = "quotes"
    PUNCTUATION = "punctuation"
    NOT_ASCII = "not_ascii"
    NOT_A_NAME = "not_a_name"
    SECOND_ADDRESS = "second_address"
    ENDS_EARLY = "ends_early"  # at a `#` in its middle


class HostsEntry(msgspec.Struct, frozen=True):
    """One line that maps names to an address. `names` as spelled, the first one canonical; `text` the whole line."""

    line: int
    text: str
    address: str
    names: tuple[str, ...]


class UnreadLine(msgspec.Struct, frozen=True):
    """A line without effect that looks as if it had one."""

    line: int
    text: str
    problem: HostsProblem


class Hosts(msgspec.Struct, frozen=True):
    """A parsed hosts file. `index` maps a name (lower case, absolute) to its entries."""

    entries: tuple[HostsEntry, ...] = ()
    unread: tuple[UnreadLine, ...] = ()
    index: dict[str, tuple[HostsEntry, ...]] = {}

    def entries_for(self, name: str) -> tuple[HostsEntry, ...]:
        """Every entry for the name, in the order of the file; twice where a line names it twice."""
        return self.index.get(absolute(lower(name)), ())

    def canonical_name(self, name: str) -> str:
        """The first name of the first line that names it, absolute; "" when there is none."""
        entries = self.entries_for(name)
        return absolute(entries[0].names[0]) if entries else ""

    def names(self) -> tuple[str, ...]:
        """Every name of the file once: lower case, without the final dot, in the order of the file."""
        return tuple(key.removesuffix(".") for key in self.index)


def parse_hosts(raw: bytes | None) -> Hosts:
    """The hosts file's meaning to Go. None is a file that is not there or cannot be read: it maps nothing."""
    lines, stopped_at = read_lines(raw or b"")
    entries: list[HostsEntry] = []
    unread: list[UnreadLine] = []
    for line in lines:
        parsed = _parse_line(line.number, line.text, line.content.partition(b"#")[0])
        if isinstance(parsed, HostsEntry):
            entries.append(parsed)
        elif parsed is not None:
            unread.append(parsed)
    if stopped_at is not None:
        unread.append(UnreadLine(stopped_at, "", HostsProblem.NOT_READ))
    return Hosts(tuple(entries), tuple(unread), index_entries(entries))


def _parse_line(number: int, text: str, content: bytes) -> HostsEntry | UnreadLine | None:
    fields = split_fields(content)
    if not fields or content.strip() == _BYTE_ORDER_MARK:
        return None
    address = parse_address(fields[0])
    if content.startswith(_BYTE_ORDER_MARK):
        return UnreadLine(number, text, HostsProblem.BYTE_ORDER_MARK)
    if address is None:
        return UnreadLine(number, text, HostsProblem.NO_ADDRESS)
    if len(fields) == 1:
        return UnreadLine(number, text, HostsProblem.NO_NAME)
    return HostsEntry(number, text, address, tuple(fields[1:]))


def index_entries(entries: Iterable[HostsEntry]) -> dict[str, tuple[HostsEntry, ...]]:
    """Name (lower case, absolute) -> its entries, in the order of the file."""
    index: dict[str, list[HostsEntry]] = {}
    for entry in entries:
        for name in entry.names:
            index.setdefault(absolute(lower(name)), []).append(entry)
    return {key: tuple(found) for key, found in index.items()}


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
