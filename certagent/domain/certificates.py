"""Certificates as values: what a certificate says about itself, and when it is due. Nothing here opens a file."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import PublicKeyAlgorithmOID

from certagent.domain.chains import Roots, follow_chain, is_named_issuer, name_of

UNREADABLE = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What `cryptography` raises for a certificate that it cannot read, at once or with a look inside."""


KEY_KINDS = {
    PublicKeyAlgorithmOID.EC_PUBLIC_KEY: "ecdsa",
    PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5: "rsa",
    PublicKeyAlgorithmOID.RSASSA_PSS: "rsa",
    PublicKeyAlgorithmOID.ED25519: "ed25519",
}


class CertificateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A leaf certificate in short, and how long its chain lasts.

    `fingerprint` is the SHA-256 of its DER form in lower-case hexadecimal. `key`: what kind its key is ("ecdsa", "rsa",
    "ed25519"). `chain_ends_at`, `chain_ends_with`: when another certificate of the chain ends before the leaf, and
    whose that is; None where none does, and in what older versions wrote.
    """

    fingerprint: str
    serial: str
    identifiers: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    issuer: str
    key: str | None = None
    chain_ends_at: datetime | None = None
    chain_ends_with: str | None = None

    @property
    def ends_at(self) -> datetime:
        """When the first certificate of the chain ends: from then on no client accepts it."""
        return self.not_after if self.chain_ends_at is None else min(self.chain_ends_at, self.not_after)

    def lifetime(self) -> timedelta:
        """From not_before until the first certificate of the chain ends; nothing where that is over before."""
        return max(self.ends_at - self.not_before, timedelta())

    def due_at(self, fraction: float) -> datetime:
        """When renewal is due: after `fraction` (0..1) of the lifetime."""
        return self.not_before + self.lifetime() * fraction

    def is_for(self, name: str) -> bool:
        """Whether a client that asks for that name or address would take it for its own (RFC 6125 section 6.4)."""
        wanted = name.lower().rstrip(".")
        wildcard = f"*.{wanted.partition('.')[2]}"
        return any(one.lower() in (wanted, wildcard) for one in self.identifiers)

    def without_chain(self) -> "CertificateFacts":
        """The leaf alone, as if its chain lasted as long."""
        return msgspec.structs.replace(self, chain_ends_at=None, chain_ends_with=None)

    def covers(self, identifiers: tuple[str, ...]) -> bool:
        """Whether every wanted identifier is among the certificate's own; DNS knows no case."""
        return {one.lower() for one in identifiers} <= {one.lower() for one in self.identifiers}


def renewal_identifier(certificate: x509.Certificate) -> str | None:
    """RFC 9773 section 4.1: the issuing key's identifier and the serial; None where that key has no identifier."""
    try:
        issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
    if issuer is None:
        return None
    number = certificate.serial_number
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big")  # as DER has it: a leading zero keeps it positive
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (issuer, serial))


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """When the CA would have a certificate renewed (RFC 9773 section 4.2)."""

    start: datetime
    end: datetime

    def at(self, share: float) -> datetime:
        """The instant in it at that share (0..1) of its length."""
        return self.start + (self.end - self.start) * share


def read_facts(certificate: x509.Certificate) -> CertificateFacts:
    """The facts of a parsed certificate: DNS names and IP addresses of its SAN are its identifiers. Raises what is
    `UNREADABLE`."""
    return CertificateFacts(
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        serial=f"{certificate.serial_number:x}",
        identifiers=_subject_alternative_names(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        issuer=certificate.issuer.rfc4514_string(),
        key=KEY_KINDS.get(certificate.public_key_algorithm_oid),
    )


def read_leaf(chain_pem: bytes, roots: Roots = ()) -> CertificateFacts:
    """The facts of a chain's first, and when the chain ends on its way to one of the roots (those that are known).
    Raises ValueError when there is none, or none that can be read; what follows it may be unreadable."""
    try:
        facts = read_facts(x509.load_pem_x509_certificate(chain_pem))
    except UNREADABLE as error:
        raise ValueError(str(error)) from error
    try:
        return with_chain(facts, x509.load_pem_x509_certificates(chain_pem), roots)
    except UNREADABLE:
        return facts


def with_chain(facts: CertificateFacts, chain: Sequence[x509.Certificate], roots: Roots = ()) -> CertificateFacts:
    """The facts of the chain's leaf, with the end of what ends before it. Raises what is `UNREADABLE`."""
    first = follow_chain(chain, roots, is_named_issuer).first_to_end
    if first is chain[0]:
        return facts
    ends_at = first.not_valid_after_utc
    return msgspec.structs.replace(facts, chain_ends_at=ends_at, chain_ends_with=name_of(first))


def read_roots(pem: bytes) -> Roots:
    """The roots of a file. Raises ValueError when it holds none."""
    return tuple(x509.load_pem_x509_certificates(pem))


def read_shown(der: bytes) -> CertificateFacts:
    """The facts of what somebody shows, whatever it is. What cannot be read is for nobody and has but a fingerprint; of
    its validity nothing is known."""
    try:
        return read_facts(x509.load_der_x509_certificate(der))
    except UNREADABLE:
        return CertificateFacts(
            fingerprint=hashlib.sha256(der).hexdigest(),
            serial="",
            identifiers=(),
            not_before=datetime.min.replace(tzinfo=UTC),
            not_after=datetime.max.replace(tzinfo=UTC),
            issuer="",
        )


def fingerprint_of(chain_pem: bytes) -> str:
    """Of the leaf. Raises as `read_leaf` does."""
    return read_leaf(chain_pem).fingerprint


def _subject_alternative_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = (str(address) for address in names.get_values_for_type(x509.IPAddress))
    return (*names.get_values_for_type(x509.DNSName), *addresses)
