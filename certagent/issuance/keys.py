"""A certificate's own key, and the request for it (RFC 2986)."""

import ipaddress
from collections.abc import Callable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_MAKERS: dict[str, Callable[[], _Key]] = {
    "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa-4096": lambda: rsa.generate_private_key(65537, 4096),
}


def make_key(key_type: str) -> bytes:
    """A new private key, PKCS 8, PEM. `key_type` as the configuration has it. RSA takes its time."""
    return _MAKERS[key_type]().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_request(key_pem: str, identifiers: Sequence[str]) -> x509.CertificateSigningRequest:
    """A request for these identifiers; the subject stays empty, the names are in the SAN."""
    key = serialization.load_pem_private_key(key_pem.encode(), password=None)
    if not isinstance(key, _Key):
        raise TypeError(f"a certificate's key is EC or RSA, not {type(key).__name__}")
    names = x509.SubjectAlternativeName([_general_name(identifier) for identifier in identifiers])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.add_extension(names, critical=True).sign(key, hashes.SHA256())


def _general_name(identifier: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(identifier))
    except ValueError:
        return x509.DNSName(identifier)
