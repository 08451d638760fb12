"""A certificate's own key, and the request for it (RFC 2986)."""

import ipaddress
from collections.abc import Callable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

_MAKERS: dict[str, Callable[[], _Key]] = {
    "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa-4096": lambda: rsa.generate_private_key(65537, 4096),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
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
        raise TypeError(f"a certificate's key is EC, RSA or Ed25519, not {type(key).__name__}")
    names = x509.SubjectAlternativeName([_general_name(identifier) for identifier in identifiers])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.add_extension(names, critical=True).sign(key, digest)


def is_of_type(key_pem: bytes, key_type: str) -> bool:
    """Whether the private key is of the kind that the configuration wants."""
    key = serialization.load_pem_private_key(key_pem, password=None)
    match key:
        case ec.EllipticCurvePrivateKey(curve=curve):
            return key_type == {"secp256r1": "ecdsa-p256", "secp384r1": "ecdsa-p384"}.get(curve.name)
        case rsa.RSAPrivateKey(key_size=size):
            return key_type == f"rsa-{size}"
        case _:
            return isinstance(key, ed25519.Ed25519PrivateKey) and key_type == "ed25519"


def _general_name(identifier: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(identifier))
    except ValueError:
        return x509.DNSName(identifier)
