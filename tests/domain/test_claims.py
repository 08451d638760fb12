"""Whose an identifier or an address is, where several nodes claim it."""

from datetime import UTC, datetime, timedelta

import pytest

from certagent.domain.claims import Claim, ClaimKind, Dispute, disputes_among, rightful_nodes

AT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def claim(node: str, after: int | None = 0, *, is_proven: bool = False) -> Claim:
    """A node's claim, made that many seconds later than the first; None: before claims had a date."""
    since = AT + timedelta(seconds=after) if after is not None else None
    return Claim(node=node, since=since, is_proven=is_proven)


@pytest.mark.parametrize(
    ("claims", "bound", "expected"),
    [
        ([claim("a")], (), {"a"}),
        ([claim("b", 1), claim("a", 0)], (), {"a"}),
        ([claim("a"), claim("b", None)], (), {"b"}),
        ([claim("a", None), claim("b", None)], (), {"a", "b"}),
        ([claim("a"), claim("b", 1, is_proven=True)], (), {"b"}),
        ([claim("a", is_proven=True), claim("b", 1, is_proven=True), claim("c", 2)], (), {"a", "b"}),
        ([claim("a", is_proven=True), claim("b", 1), claim("c", 2)], ("b", "c"), {"b", "c"}),
        ([claim("a", is_proven=True)], ("elsewhere",), set()),
        ([], (), set()),
    ],
)
def test_a_binding_decides_then_a_proof_then_who_was_first(
    claims: list[Claim], bound: tuple[str, ...], expected: set[str]
) -> None:
    assert rightful_nodes(claims, bound) == expected


def test_what_a_pair_has_proven_is_no_dispute_and_what_only_one_has_is_one() -> None:
    pair, thief = [claim("a", is_proven=True), claim("b", 1, is_proven=True)], [claim("a"), claim("b", 1)]
    claims = [*(("pair", one) for one in pair), *(("name", one) for one in thief), ("own", claim("c"))]
    assert disputes_among(ClaimKind.IDENTIFIER, claims, ()) == (
        Dispute(kind=ClaimKind.IDENTIFIER, subject="name", holders=("a",), claims=tuple(thief)),
    )
    assert disputes_among(ClaimKind.IDENTIFIER, claims, [("name", "a"), ("name", "b")]) == ()


def test_every_node_has_a_loopback_and_link_local_addresses() -> None:
    addresses = ("127.0.0.1", "fe80::1", "169.254.1.1", "nonsense", "10.0.0.12")
    claims = [(address, claim(node, after)) for address in addresses for after, node in enumerate("ab")]
    assert [one.subject for one in disputes_among(ClaimKind.ADDRESS, claims, ())] == ["10.0.0.12"]
