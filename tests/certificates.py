"""Certificates for tests, all of them: a root and its leaves, a leaf without a root, and facts by hand."""

import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtensionOID, NameOID

from certagent.domain.certificates import CertificateFacts, read_facts, read_leaf
from certagent.domain.deployments import Generation

UNREADABLE_NAMES = (
    b"\x30\x08\x82\x06caf\xe9.x",  # a DNS name in Latin-1 (RFC 5280 section 4.2.1.6 wants ASCII)
    b"\x30\x05\x87\x03\x0a\x00\x01",  # an IP address of three bytes
)
"""What a SAN may hold that nobody can read; OpenSSL serves it all the same."""

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

Extension = tuple[x509.ExtensionType, bool]
"""An extension, and whether it is critical."""


class Pair(msgspec.Struct, frozen=True):
    """A key and its chain, PEM."""

    key_pem: bytes
    chain_pem: bytes
    certificate: x509.Certificate

    @property
    def facts(self) -> CertificateFacts:
        """Of the leaf."""
        return read_facts(self.certificate)

    @property
    def fingerprint(self) -> str:
        """Of the leaf."""
        return self.facts.fingerprint

    def generation(self, number: int = 1) -> Generation:
        """What the state folder would give."""
        return Generation(number=number, key_pem=self.key_pem, chain_pem=self.chain_pem, facts=self.facts)


class Authority:
    """A private root that signs whatever is asked, with a key of its own or with the one given."""

    def __init__(self, name: str = "Test Root", key: ec.EllipticCurvePrivateKey | None = None) -> None:
        self._key = key or ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name(name)
        self.above: tuple[x509.Certificate, ...] = ()
        public = self._key.public_key()
        self.root = _sign(
            _describe(self._name, self._name, public, _a_minute_ago(), timedelta(days=3650)),
            self._key,
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (_usage(), True),
            (x509.SubjectKeyIdentifier.from_public_key(public), False),
        )
        self.root_pem = self.root.public_bytes(serialization.Encoding.PEM)

    def intermediate(
        self,
        name: str = "Test Intermediate",
        lifetime: timedelta = timedelta(days=30),
        not_before: datetime | None = None,
        *,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> "Authority":
        """An authority below this one: what it issues has its certificate behind the leaf, and no root."""
        below = Authority(name, key)
        public = below._key.public_key()
        certificate = _sign(
            _describe(below._name, self._name, public, not_before or _a_minute_ago(), lifetime),
            self._key,
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (_usage(), True),
            (x509.SubjectKeyIdentifier.from_public_key(public), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False),
        )
        below.above = (certificate, *self.above)
        return below

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """What it signs with."""
        return self._key

    def write_root(self, path: Path) -> Path:
        """Put the root there."""
        path.write_bytes(self.root_pem)
        return path

    def issue(
        self,
        *names: str,
        not_before: datetime | None = None,
        lifetime: timedelta = timedelta(hours=24),
        names_der: bytes | None = None,
        key: Key | None = None,
    ) -> Pair:
        """A leaf for DNS names and IP addresses. `names_der`: what its SAN holds instead; `key`: else P-256."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        start = not_before or _a_minute_ago()
        certificate = _sign(
            _describe(_common_name(names[0]), self._name, key.public_key(), start, lifetime),
            self._key,
            (_alternative_names(names, names_der), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False),
        )
        chain_pem = to_pem(certificate, *(self.above or (self.root,)))
        return Pair(key_pem=_key_pem(key), chain_pem=chain_pem, certificate=certificate)

    def issue_generations(self, count: int, *names: str) -> Iterator[Generation]:
        """So many renewals of one certificate."""
        return (self.issue(*names).generation(number) for number in range(1, count + 1))


def self_signed(*extensions: Extension, serial: int | None = None) -> Pair:
    """A leaf that says nothing but its extensions: no subject, no issuer."""
    key, nobody = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    described = _describe(nobody, nobody, key.public_key(), _a_minute_ago(), timedelta(days=1), serial)
    certificate = _sign(described, key, *extensions)
    chain_pem = certificate.public_bytes(serialization.Encoding.PEM)
    return Pair(key_pem=_key_pem(key), chain_pem=chain_pem, certificate=certificate)


def make_facts(
    *identifiers: str,
    not_before: datetime,
    lifetime: timedelta = timedelta(hours=24),
    fingerprint: str = "ab" * 32,
) -> CertificateFacts:
    """What would be read of a certificate that nobody has to make."""
    return CertificateFacts(
        fingerprint=fingerprint,
        serial="1",
        identifiers=identifiers,
        not_before=not_before,
        not_after=not_before + lifetime,
        issuer="CN=ca",
    )


def make_generation(key_pem: bytes, chain_pem: bytes, number: int = 1) -> Generation:
    """What the state folder would give for what a CA gave."""
    return Generation(number=number, key_pem=key_pem, chain_pem=chain_pem, facts=read_leaf(chain_pem))


def to_pem(*chain: x509.Certificate) -> bytes:
    """A file of certificates."""
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)


def dns_names(*names: str) -> x509.SubjectAlternativeName:
    """A SAN of DNS names and IP addresses."""
    return x509.SubjectAlternativeName([_general_name(name) for name in names])


def _describe(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    start: datetime,
    lifetime: timedelta,
    serial: int | None = None,
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=public,
        serial_number=serial if serial is not None else x509.random_serial_number(),
        not_valid_before=start,
        not_valid_after=start + lifetime,
    )


def _sign(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, *extensions: Extension
) -> x509.Certificate:
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(key, hashes.SHA256())


def _a_minute_ago() -> datetime:
    return datetime.now(UTC) - timedelta(minutes=1)


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _alternative_names(names: tuple[str, ...], der: bytes | None) -> x509.ExtensionType:
    if der is not None:
        return x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, der)
    return dns_names(*names)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
