"""Chains: the way from a leaf to a root, and what of it ends first."""

from datetime import timedelta

import msgspec
import pytest
from cryptography import x509

from certagent.domain.certificates import CertificateFacts, read_leaf
from certagent.domain.chains import follow_chain, name_of
from tests.certificates import Authority, Pair, to_pem

NAME = "traefik.internal"


@pytest.fixture(scope="module")
def private() -> Authority:
    """The pinned root."""
    return Authority()


def _path(private: Authority, *chain: x509.Certificate) -> tuple[list[str], bool, str | None]:
    """(the way's names, whether it ends at the root, what belongs to nothing)."""
    path = follow_chain(chain, (private.root,))
    return (
        [name_of(one) for one in path.certificates],
        path.root is not None,
        name_of(path.gap[1]) if path.gap else None,
    )


def test_the_way_ends_where_a_root_is_met(private: Authority) -> None:
    """The root behind it, a cross-signed form of it, a second chain: nobody needs them. A leaf of another's behind it
    is a mistake, and so is a gap."""
    below, other = private.intermediate(), Authority("Other")
    crossed = other.intermediate("Test Root", key=private.key).above
    leaf, (above,) = below.issue(NAME).certificate, below.above
    stray = Authority("Stray").issue("stray.internal").certificate
    names = [f"CN={NAME}", "CN=Test Intermediate"]
    assert _path(private, leaf, above) == (names, True, None)
    assert _path(private, leaf, above, private.root) == (names, True, None)
    assert _path(private, leaf, above, *crossed, other.root) == (names, True, None)
    assert _path(private, leaf, above, *other.intermediate("Else").above) == (names, True, None)
    assert _path(private, leaf, leaf, above) == (names, True, None)
    assert _path(private, leaf, above, stray) == (names, True, "CN=stray.internal")
    assert _path(private, leaf) == (names[:1], False, None)
    assert _path(private, leaf, private.root, above) == (names[:1], False, "CN=Test Root")
    assert _path(other, leaf, above) == (names, False, None)


def test_two_intermediates_are_one_way(private: Authority) -> None:
    """Each issued the one before."""
    pair = private.intermediate("First").intermediate("Second").issue(NAME)
    chain = x509.load_pem_x509_certificates(pair.chain_pem)
    assert _path(private, *chain) == ([f"CN={NAME}", "CN=Second", "CN=First"], True, None)


def test_of_two_roots_with_one_key_the_later_end_counts(private: Authority) -> None:
    """A root that was renewed under its name and key."""
    renewed = Authority(key=private.key)
    leaf = private.issue(NAME).certificate
    path = follow_chain([leaf], (private.root, renewed.root))
    assert path.root == max(private.root, renewed.root, key=lambda root: root.not_valid_after_utc)


def test_the_facts_say_what_ends_before_the_leaf(private: Authority) -> None:
    """With its name; the certificate is due, and over, by that. What lasts as long as the leaf is not mentioned."""
    pair = private.intermediate("Short", timedelta(hours=2)).issue(NAME)
    facts = read_leaf(pair.chain_pem)
    assert (facts.chain_ends_with, facts.ends_at) == ("CN=Short", facts.chain_ends_at)
    assert facts.lifetime() == facts.ends_at - facts.not_before < timedelta(hours=3)
    assert facts.due_at(0.5) == facts.not_before + facts.lifetime() / 2
    assert facts.without_chain() == read_leaf(to_pem(pair.certificate))
    long = read_leaf(private.intermediate("Long").issue(NAME).chain_pem)
    assert (long.chain_ends_at, long.ends_at) == (None, long.not_after)


def test_a_root_that_is_known_ends_the_chain(private: Authority) -> None:
    """A cross-signed root that ends soon is nothing to those who trust the root itself."""
    below = private.intermediate()
    crossed = Authority("Other").intermediate("Test Root", timedelta(hours=1), key=private.key).above
    chain_pem = to_pem(below.issue(NAME).certificate, *below.above, *crossed)
    assert read_leaf(chain_pem).chain_ends_with == "CN=Test Root"
    assert read_leaf(chain_pem, (private.root,)).chain_ends_at is None


def test_what_cannot_be_read_behind_the_leaf_changes_nothing(private: Authority) -> None:
    """The leaf's facts are the leaf's."""
    pair: Pair = private.issue(NAME)
    broken = b"-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n"
    assert read_leaf(to_pem(pair.certificate) + broken) == pair.facts


def test_facts_of_an_older_version_are_taken_over(private: Authority) -> None:
    """They say nothing of a chain, nor of the key."""
    facts = private.issue(NAME).facts
    written = msgspec.to_builtins(facts)
    for field in ("key", "chain_ends_at", "chain_ends_with"):
        del written[field]
    read = msgspec.json.decode(msgspec.json.encode(written), type=CertificateFacts)
    assert (read.key, read.chain_ends_at, read.ends_at) == (None, None, facts.not_after)


@pytest.mark.parametrize(
    ("names", "asked", "expected"),
    [
        ((NAME,), NAME.upper(), True),
        (("*.internal",), NAME, True),
        (("*.internal",), "a.b.internal", False),
        (("10.0.0.1",), "10.0.0.1", True),
        (("internal",), NAME, False),
    ],
)
def test_a_name_that_a_certificate_is_for(
    private: Authority, names: tuple[str, ...], asked: str, expected: bool
) -> None:
    """As a client compares it: a star is one label."""
    assert private.issue(*names).facts.is_for(asked) is expected
