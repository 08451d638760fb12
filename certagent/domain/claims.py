"""Claims: whose an identifier or an address is, where several nodes say that it is theirs. Pure.

A claim gains nothing by being made. An operator's binding decides; else what is proven; else who claimed it first, and
beside that whoever DNS leads to: who claims what nobody has yet keeps nobody out.
"""

import ipaddress
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class ClaimKind(StrEnum):
    """What is claimed."""

    IDENTIFIER = "identifier"
    ADDRESS = "address"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One node's. `since` is null for what was there before claims had a date: long ago. `is_proven`: of an identifier,
    the CA's side was led to that node's own address and met there what the node had planted; of an address, the node
    speaks from there, and no other does. `dns_leads_here`: the CA's nameservers lead to that node's own address."""

    node: str
    since: datetime | None = None
    is_proven: bool = False
    dns_leads_here: bool = False


def rightful_nodes(claims: Iterable[Claim], bound: Collection[str] = ()) -> frozenset[str]:
    """The claiming nodes whose it is. `bound`: to which nodes an operator has bound it, if anybody has."""
    listed = list(claims)
    if bound:
        return frozenset(claim.node for claim in listed if claim.node in bound)
    proven = frozenset(claim.node for claim in listed if claim.is_proven)
    if proven or not listed:
        return proven
    first = min(claim.since or _LONG_AGO for claim in listed)
    return frozenset(claim.node for claim in listed if claim.dns_leads_here or (claim.since or _LONG_AGO) == first)


def is_routable(address: str) -> bool:
    """Whether the address is of one node: every node has a loopback, and addresses of its own on its links."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not known.is_loopback and not known.is_link_local


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """What several nodes claim, and some of them without a right to it."""

    kind: ClaimKind
    subject: str
    holders: tuple[str, ...]
    claims: tuple[Claim, ...]

    def pretenders(self) -> tuple[Claim, ...]:
        """The claims that count for nothing."""
        return tuple(claim for claim in self.claims if claim.node not in self.holders)


def disputes_among(
    kind: ClaimKind, claims: Iterable[tuple[str, Claim]], bound: Iterable[tuple[str, str]]
) -> tuple[Dispute, ...]:
    """Of (subject, claim) and (subject, bound node): what is in dispute, by subject."""
    by_subject: dict[str, list[Claim]] = {}
    for subject, claim in claims:
        by_subject.setdefault(subject, []).append(claim)
    nodes: dict[str, set[str]] = {}
    for subject, node in bound:
        nodes.setdefault(subject, set()).add(node)
    found = []
    for subject, listed in sorted(by_subject.items()):
        if kind is ClaimKind.ADDRESS and not is_routable(subject):
            continue
        holders = rightful_nodes(listed, nodes.get(subject, ()))
        if any(claim.node not in holders for claim in listed):
            found.append(Dispute(kind=kind, subject=subject, holders=tuple(sorted(holders)), claims=tuple(listed)))
    return tuple(found)
