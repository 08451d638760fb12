"""Certificates as values: what a certificate says about itself, and when it is due. Nothing here opens a file."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

UNREADABLE = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What `cryptography` raises for a certificate that it cannot read, at once or with a look inside."""


class CertificateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A leaf certificate in short. `fingerprint` is the SHA-256 of its DER form in lower-case hexadecimal."""

    fingerprint: str
    serial: str
    identifiers: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    issuer: str

    def lifetime(self) -> timedelta:
        """From not_before to not_after."""
        return self.not_after - self.not_before

    def due_at(self, fraction: float) -> datetime:
        """When renewal is due: after `fraction` (0..1) of the lifetime."""
        return self.not_before + self.lifetime() * fraction

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
    )


def read_leaf(chain_pem: bytes) -> CertificateFacts:
    """The facts of a chain's first. Raises ValueError when there is none, or none that can be read."""
    try:
        return read_facts(x509.load_pem_x509_certificate(chain_pem))
    except UNREADABLE as error:
        raise ValueError(str(error)) from error


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
