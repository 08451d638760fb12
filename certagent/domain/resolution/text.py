"""Bytes to lines and fields, as Go's net package cuts them. Never raises, whatever the bytes are."""

import ipaddress
import re
from typing import NamedTuple

LONGEST_LINE = 64 * 1024  # Go reads through a buffer of this size and stops at a line that does not fit

_SPACES = re.compile(rb"[ \r\t\n]+")
_UNSHOWABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
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
    """Bytes as printable text: UTF-8, and whatever is not (or is a control character) as a \\x escape."""
    text = content.decode("utf-8", "backslashreplace")
    return _UNSHOWABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


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
