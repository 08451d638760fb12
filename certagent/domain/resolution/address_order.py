"""The order in which Go tries addresses: RFC 6724 section 6, as far as Go implements it. Pure.

Rules 3, 4 and 7 are left out, and rule 9 is for IPv6 alone, as in Go (net/addrselect.go). On a network with IPv4
only, every rule is a tie and the order stays as it was.
"""

import functools
import ipaddress
from collections.abc import Mapping
from typing import NamedTuple

from certagent.domain.resolution.file_formats import without_scope

_IP = ipaddress.IPv4Address | ipaddress.IPv6Address

_LINK_LOCAL, _SITE_LOCAL, _GLOBAL = 0x2, 0x5, 0xE

# RFC 6724 section 2.1, longest prefix first: (prefix, precedence, label)
_POLICIES = tuple(
    (ipaddress.IPv6Network(prefix), precedence, label)
    for prefix, precedence, label in (
        ("::1/128", 50, 0),
        ("::ffff:0:0/96", 35, 4),
        ("::/96", 1, 3),
        ("2001::/32", 5, 5),
        ("2002::/16", 30, 2),
        ("3ffe::/16", 1, 12),
        ("fec0::/10", 1, 11),
        ("fc00::/7", 3, 13),
        ("::/0", 40, 1),
    )
)


class _Candidate(NamedTuple):
    address: str
    destination: _IP
    source: _IP | None


def in_order_of_trial(addresses: tuple[str, ...], sources: Mapping[str, str | None]) -> tuple[str, ...]:
    """The addresses as Go's dialer gets them. `sources` has the local address that the kernel would use for each;
    None (or absent) where there is no route: those come last."""
    candidates = [_Candidate(address, without_scope(address), _source(sources.get(address))) for address in addresses]
    ordered = sorted(candidates, key=functools.cmp_to_key(_compare))
    return tuple(candidate.address for candidate in ordered)


def _compare(first: _Candidate, second: _Candidate) -> int:
    """Negative when `first` comes first."""
    if first.source is None or second.source is None:
        return (first.source is None) - (second.source is None)
    mine, theirs = _merits(first.destination, first.source), _merits(second.destination, second.source)
    if mine != theirs:
        return -1 if mine > theirs else 1
    if isinstance(first.destination, ipaddress.IPv4Address) or isinstance(second.destination, ipaddress.IPv4Address):
        return 0
    return _common_bits(second) - _common_bits(first)


def _merits(destination: _IP, source: _IP) -> tuple[bool, bool, int, int]:
    """Rules 2, 5, 6 and 8, the better the greater."""
    precedence, label = _policy(destination)
    return (
        _scope(destination) == _scope(source),
        label == _policy(source)[1],
        precedence,
        -_scope(destination),
    )


def _common_bits(candidate: _Candidate) -> int:
    """Rule 9: how long the prefix is that an IPv6 destination and its source share, up to 64."""
    if candidate.source is None or candidate.source.version != 6:
        return 0
    differing = (int(candidate.destination) ^ int(candidate.source)) >> 64
    return 64 - differing.bit_length()


def _policy(address: _IP) -> tuple[int, int]:
    mapped = ipaddress.IPv6Address(f"::ffff:{address}") if isinstance(address, ipaddress.IPv4Address) else address
    return next((precedence, label) for prefix, precedence, label in _POLICIES if mapped in prefix)


def _scope(address: _IP) -> int:
    if address.is_loopback or address.is_link_local:
        return _LINK_LOCAL
    if isinstance(address, ipaddress.IPv6Address):
        if address.is_multicast:
            return address.packed[1] & 0xF
        if address.packed[0] == 0xFE and address.packed[1] & 0xC0 == 0xC0:
            return _SITE_LOCAL
    return _GLOBAL


def _source(address: str | None) -> _IP | None:
    return None if address is None else without_scope(address)
