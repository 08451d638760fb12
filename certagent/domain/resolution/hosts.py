"""A hosts file as Go reads it, with line numbers. Pure; never raises.

Names are compared without regard to ASCII case and as absolute names; every line that names a name counts, in the
order of the file; an address in any form but the literal one ends the line's meaning (Go, net/hosts.go).
"""

from enum import StrEnum

import msgspec

from certagent.domain.resolution.text import absolute, lower, parse_address, read_lines, split_fields

HOSTS_FILE = "/etc/hosts"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class HostsProblem(StrEnum):
    """Why a line says nothing, or not what it seems to say."""

    BYTE_ORDER_MARK = "byte_order_mark"  # belongs to the first field, so the first line's address is none
    NO_ADDRESS = "no_address"
    NO_NAME = "no_name"
    NOT_READ = "not_read"  # this line and all after it: longer than Go's buffer


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
    return Hosts(tuple(entries), tuple(unread), _index(entries))


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


def _index(entries: list[HostsEntry]) -> dict[str, tuple[HostsEntry, ...]]:
    index: dict[str, list[HostsEntry]] = {}
    for entry in entries:
        for name in entry.names:
            index.setdefault(absolute(lower(name)), []).append(entry)
    return {key: tuple(found) for key, found in index.items()}
