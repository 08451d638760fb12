"""tls-alpn-01 (RFC 8737): the certificate that a challenge wants, and what a certificate that came is. Pure."""

import ipaddress
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from certagent.domain.rehearsals import AlpnAnswer

ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
OBSOLETE_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.30.1")  # of the drafts; the CA knows and refuses it

_OCTETS_OF_32 = b"\x04\x20"  # DER: an OCTET STRING of 32 octets
_ALWAYS = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2049, 1, 1, tzinfo=UTC))  # the CA does not look at the time


def server_name(identifier: str) -> str:
    """What the CA asks for by SNI: the name; of an address its reverse name (RFC 8738 section 6)."""
    try:
        return ipaddress.ip_address(identifier).reverse_pointer
    except ValueError:
        return identifier.lower().removesuffix(".")


def challenge_certificate(identifier: str, digest: bytes, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """The self-signed certificate of RFC 8737 section 3. `digest`: the SHA-256 of the key authorization."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "certagent challenge")])
    extension = x509.UnrecognizedExtension(ACME_IDENTIFIER, _OCTETS_OF_32 + digest)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(_ALWAYS[0])
    builder = builder.not_valid_after(_ALWAYS[1]).add_extension(extension, critical=True)
    names = x509.SubjectAlternativeName([_general_name(identifier)])
    return builder.add_extension(names, critical=False).sign(key, hashes.SHA256())


def judge_certificate(protocol: str | None, der: bytes, identifier: str, digest: bytes) -> AlpnAnswer:
    """What the CA (acme/challenge.go, tlsalpn01Validate) would find. Raises ValueError for what is no certificate."""
    extensions = x509.load_der_x509_certificate(der).extensions
    return AlpnAnswer(
        protocol=protocol, is_alone=_is_alone(extensions, identifier), extension=_judge(extensions, digest)
    )


def _is_alone(extensions: x509.Extensions, identifier: str) -> bool:
    """One DNS name, whatever addresses stand beside it; without any, one address."""
    try:
        san = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    names = [name.lower() for name in san.get_values_for_type(x509.DNSName)]
    if names:
        return names == [identifier.lower()]
    return [str(address) for address in san.get_values_for_type(x509.IPAddress)] == [identifier]


def _judge(extensions: x509.Extensions, digest: bytes) -> str:
    found = {one.oid: one for one in extensions}
    extension = found.get(ACME_IDENTIFIER)
    if extension is None:
        return "obsolete" if OBSOLETE_IDENTIFIER in found else "absent"
    if not extension.critical:
        return "not_critical"
    value = extension.value.public_bytes()
    if len(value) != len(_OCTETS_OF_32) + 32 or not value.startswith(_OCTETS_OF_32):
        return "malformed"
    return "ours" if value.endswith(digest) else "other"


def _general_name(identifier: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(identifier))
    except ValueError:
        return x509.DNSName(identifier)
