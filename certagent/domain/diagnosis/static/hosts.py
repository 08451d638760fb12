"""Conclusions from a hosts file alone. Pure."""

from collections.abc import Iterator, Sequence

from certagent.domain.diagnosis.static.observation import StaticObservation, is_local, leads_home, short
from certagent.domain.findings import Finding
from certagent.domain.resolution.hosts import HOSTS_FILE, HostsEntry
from certagent.domain.resolution.text import lower

_HOME = "this node itself"


def lines_contradict(look: StaticObservation) -> Iterator[Finding]:
    """dns.hosts_conflict, dns.hosts_duplicate: one name, several lines. An IPv4 and an IPv6 address are no conflict,
    nor is loopback for the node's own name."""
    for key, found in look.files.hosts.index.items():
        name = key.removesuffix(".")
        entries = _counted(look, name, found)
        for family in (False, True):
            yield from _compared(look, name, [entry for entry in entries if _is_v6(entry) is family])


def names_loop_back(look: StaticObservation) -> Iterator[Finding]:
    """dns.loopback: a name of the fleet's zones that is another's leads to this node itself (Debian's 127.0.1.1)."""
    for entry in look.files.hosts.entries:
        if not leads_home(entry.address):
            continue
        for name in dict.fromkeys(map(_plain, entry.names)):
            if look.is_of_fleet(name) and not look.is_own(name):
                yield look.finding(
                    "dns.loopback",
                    file=HOSTS_FILE,
                    line=entry.line,
                    text=entry.text,
                    address=entry.address,
                    identifier=short(name),
                    variant="static",
                    name=short(name),
                )


def lines_say_nothing(look: StaticObservation) -> Iterator[Finding]:
    """dns.hosts_ignored: lines that look as if they meant something, and do not."""
    for one in look.files.hosts.unread:
        yield look.finding(
            "dns.hosts_ignored",
            file=HOSTS_FILE,
            line=one.line,
            text=one.text,
            variant=one.problem.value,
            detail={"problem": one.problem},
        )


def _counted(look: StaticObservation, name: str, entries: Sequence[HostsEntry]) -> list[HostsEntry]:
    """Each line once; of a name that may be on loopback here, only the lines that lead elsewhere."""
    lines = list({entry.line: entry for entry in entries}.values())
    if is_local(name) or (len(lines) > 1 and look.is_own(name)):
        return [entry for entry in lines if not leads_home(entry.address)]
    return lines


def _compared(look: StaticObservation, name: str, entries: list[HostsEntry]) -> Iterator[Finding]:
    """Lines with addresses of one family."""
    if len(entries) > 1:
        other = next((one for one in entries[1:] if _leads(one) != _leads(entries[0])), None)
        code = "dns.hosts_duplicate" if other is None else "dns.hosts_conflict"
        yield _repeated(look, name, entries, other or entries[1], code)


def _repeated(look: StaticObservation, name: str, entries: list[HostsEntry], other: HostsEntry, code: str) -> Finding:
    managed = next((entry.line for entry in entries if look.manager(HOSTS_FILE, entry.line) is not None), None)
    return look.finding(
        code,
        file=HOSTS_FILE,
        line=other.line,
        text=other.text,
        address=other.address,
        identifier=short(name),
        variant="static",
        detail={"lines": _shown(look, entries)},
        managed_line=managed,
        name=short(name),
        lines=[str(entry.line) for entry in entries],
        addresses=list(dict.fromkeys(entry.address for entry in entries)),
    )


def _shown(look: StaticObservation, entries: list[HostsEntry]) -> list[dict[str, object]]:
    return [
        {
            "line": entry.line,
            "text": short(entry.text),
            "address": entry.address,
            "managed_by": look.manager(HOSTS_FILE, entry.line),
        }
        for entry in entries[:20]
    ]


def _leads(entry: HostsEntry) -> str:
    return _HOME if leads_home(entry.address) else entry.address


def _is_v6(entry: HostsEntry) -> bool:
    return ":" in entry.address


def _plain(name: str) -> str:
    return lower(name).removesuffix(".")
