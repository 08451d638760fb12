"""Chains: how a client gets from a leaf to a root that it trusts, and which of them ends first. Pure."""

from collections.abc import Callable, Sequence

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

Roots = tuple[x509.Certificate, ...]
Issued = Callable[[x509.Certificate, x509.Certificate], bool]
"""Whether the first certificate issued the second."""


class ChainPath(msgspec.Struct, frozen=True, kw_only=True):
    """The way from the leaf, in the order in which the chain was sent. What follows a certificate that a root has
    issued (that root itself, a cross-signed form of it, a second chain) is not part of it: no client needs it.

    `root`: where it ends, None when no known root issued its last. `gap`: (below, above) where the second belongs to
    nothing: it did not issue the first, and is not even an authority's.
    """

    certificates: tuple[x509.Certificate, ...]
    root: x509.Certificate | None = None
    gap: tuple[x509.Certificate, x509.Certificate] | None = None

    @property
    def first_to_end(self) -> x509.Certificate:
        """Of all that a client checks, the root included; the leaf where it does not outlive the others."""
        above = (*self.certificates[1:], *((self.root,) if self.root is not None else ()))
        first: x509.Certificate = min((self.certificates[0], *above), key=lambda one: one.not_valid_after_utc)
        return first


def has_issued(above: x509.Certificate, below: x509.Certificate) -> bool:
    """Whether one certificate's key signed another that names it as its issuer."""
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def is_named_issuer(above: x509.Certificate, below: x509.Certificate) -> bool:
    """The same by the names alone, where somebody else has checked the signatures, or nobody relies on them."""
    return above.subject == below.issuer


def follow_chain(chain: Sequence[x509.Certificate], roots: Roots = (), issued: Issued = has_issued) -> ChainPath:
    """The way that a chain (leaf first, at least one) shows to one of the roots. Without roots it goes on for as long
    as each certificate issued the one before."""
    path = [chain[0]]
    chain = [chain[0], *(one for one in chain[1:] if one != chain[0])]  # sent twice, it is in nobody's way
    for at, above in enumerate(chain[1:], start=1):
        if (root := _issuer_of(path[-1], roots, issued)) is not None:
            stray = next((one for one in chain[at:] if not _is_authority(one)), None)
            gap = (path[-1], stray) if stray is not None else None
            return ChainPath(certificates=tuple(path), root=root, gap=gap)
        if not issued(above, path[-1]):
            return ChainPath(certificates=tuple(path), gap=(path[-1], above))
        path.append(above)
    return ChainPath(certificates=tuple(path), root=_issuer_of(path[-1], roots, issued))


def _issuer_of(certificate: x509.Certificate, roots: Roots, issued: Issued) -> x509.Certificate | None:
    """The root that issued it; of several with one key the one that ends last."""
    issuers = [root for root in roots if issued(root, certificate)]
    return max(issuers, key=lambda root: root.not_valid_after_utc, default=None)


def _is_authority(certificate: x509.Certificate) -> bool:
    """By its own word; a root of version 1 says nothing, but names itself as its issuer."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return certificate.subject == certificate.issuer
    return constraints.ca


def name_of(certificate: x509.Certificate) -> str:
    """Its subject as a person would write it; its serial where it has none."""
    return certificate.subject.rfc4514_string() or f"serial {certificate.serial_number:x}"
