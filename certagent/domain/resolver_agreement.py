"""One name as its sources have it, side by side: where they disagree. Pure."""

from collections.abc import Collection, Iterator

import msgspec

from certagent.domain.probe_errors import DNS_PHRASES, DnsStatus
from certagent.domain.rehearsals import (
    DnsAnswer,
    LibcAnswer,
    Resolution,
    ResolvedAddress,
    addresses_in_dns,
)
from certagent.domain.resolution.file_formats import leads_to_itself, parse_address


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """Two sources ("hosts", "libc", "go", or a nameserver's address) that do not say the same of a name."""

    between: tuple[str, str]
    explanation: str


def disagreements(resolution: Resolution, libc: LibcAnswer, own_addresses: Collection[str]) -> tuple[Disagreement, ...]:
    """All of them. `own_addresses` are this node's addresses: its own name may well be on loopback here.

    An AAAA that does not exist beside a good A is none, nor is a hosts line that agrees with DNS.
    """
    return (
        *_hosts_against_dns(resolution, own_addresses),
        *_among_nameservers(resolution),
        *_libc_against_go(resolution, libc),
    )


def stray_lines(resolution: Resolution, own_addresses: Collection[str]) -> tuple[ResolvedAddress, ...]:
    """The hosts lines that lead elsewhere than DNS does; none where DNS gives no address to compare with."""
    answers = addresses_in_dns(resolution)
    is_own = bool(answers & set(own_addresses))
    return tuple(
        line
        for line in resolution.hosts
        if answers and line.address not in answers and not (is_own and leads_to_itself(line.address))
    )


def verdicts(resolution: Resolution) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Nameserver -> (status, addresses): A and AAAA as one; "nodata" for a name without any."""
    found: dict[str, list[DnsAnswer]] = {}
    for reply in resolution.dns:
        found.setdefault(reply.nameserver, []).append(reply)
    return {server: _verdict(replies) for server, replies in found.items()}


def _verdict(replies: list[DnsAnswer]) -> tuple[str, tuple[str, ...]]:
    addresses = tuple(dict.fromkeys(address for reply in replies for address in reply.addresses))
    if addresses:
        return DnsStatus.OK, addresses
    first = next((reply for reply in replies if reply.record == "A"), replies[0])
    return (DnsStatus.NODATA if first.status == DnsStatus.OK else first.status), ()


def _hosts_against_dns(resolution: Resolution, own_addresses: Collection[str]) -> Iterator[Disagreement]:
    answers = ", ".join(sorted(addresses_in_dns(resolution)))
    for line in stray_lines(resolution, own_addresses):
        origin = line.origin
        decides = bool(resolution.addresses) and resolution.addresses[0].origin.source == "hosts"
        yield Disagreement(
            between=("hosts", "dns"),
            explanation=f"line {origin.line} of {origin.file} says {line.address}, DNS says {answers}"
            + ("" if decides else "; this line has no effect here"),
        )


def _among_nameservers(resolution: Resolution) -> Iterator[Disagreement]:
    by_server = verdicts(resolution)
    reference = next((server for server, (status, _) in by_server.items() if status == DnsStatus.OK), None)
    if reference is None:
        return
    expected = by_server[reference][1]
    for server, (status, addresses) in by_server.items():
        if set(addresses) != set(expected):
            said = f"says {', '.join(addresses)}" if addresses else DNS_PHRASES.get(status, f"answers {status}")
            yield Disagreement(
                between=(reference, server),
                explanation=f"nameserver {reference} says {', '.join(expected)}, {server} {said}",
            )


def _libc_against_go(resolution: Resolution, libc: LibcAnswer) -> Iterator[Disagreement]:
    to_libc = {parse_address(address) or address for address in libc.addresses}
    to_go = {found.address for found in resolution.addresses}
    if to_libc == to_go or (to_libc and to_go and all(map(leads_to_itself, to_libc | to_go))):
        return
    yield Disagreement(
        between=("libc", "go"),
        explanation=f"libc gets {', '.join(sorted(to_libc)) or libc.error or 'nothing'},"
        f" a Go program (such as the CA) gets {', '.join(sorted(to_go)) or resolution.error or 'nothing'}",
    )
