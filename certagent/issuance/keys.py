"""Private keys: that of an account, before the CA knows the account (a stateless responder needs it, without the
ACME package), and that of a certificate, with its signing request (RFC 2986)."""

import base64
import hashlib
import ipaddress
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from certagent.domain.orders import Account

_P256_BYTES = 32


class AccountStore(Protocol):
    """Where the account is stored beyond the life of the process."""

    def load(self) -> Account | None:
        """Return the account, if there is one."""
        ...

    def save(self, account: Account) -> None:
        """Store the account."""
        ...


def ensure_account(store: AccountStore) -> Account:
    """Return the account, or create and store the key that it will have. The CA learns of it with the first order."""
    account = store.load()
    if account is None:
        account = _new_account()
        store.save(account)
    return account


def thumbprint(account: Account) -> str:
    """Return the RFC 7638 thumbprint of the account's public key: the part of a key authorization that follows the
    token."""
    return _thumbprint_of(account.key_pem)


@lru_cache(maxsize=1)
def _thumbprint_of(key_pem: str) -> str:
    key = serialization.load_pem_private_key(key_pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"an account's key must be EC, not {type(key).__name__}")
    numbers = key.public_key().public_numbers()
    members = {"crv": "P-256", "kty": "EC", "x": _encoded(numbers.x), "y": _encoded(numbers.y)}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    return _base64url(hashlib.sha256(canonical).digest())


def _new_account() -> Account:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Account(key_pem=pem.decode())


def _encoded(number: int) -> str:
    return _base64url(number.to_bytes(_P256_BYTES, "big"))


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

_MAKERS: dict[str, Callable[[], _Key]] = {
    "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa-4096": lambda: rsa.generate_private_key(65537, 4096),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def make_key(key_type: str) -> bytes:
    """Return a new private key as PKCS 8 PEM. `key_type` is as in the configuration. Generating an RSA key takes
    time."""
    return _MAKERS[key_type]().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_request(key_pem: str, identifiers: Sequence[str]) -> x509.CertificateSigningRequest:
    """Return a signing request for these identifiers; the subject is empty, the names are in the SAN."""
    key = serialization.load_pem_private_key(key_pem.encode(), password=None)
    if not isinstance(key, _Key):
        raise TypeError(f"a certificate's key must be EC, RSA or Ed25519, not {type(key).__name__}")
    names = x509.SubjectAlternativeName([_general_name(identifier) for identifier in identifiers])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.add_extension(names, critical=True).sign(key, digest)


def is_of_type(key_pem: bytes, key_type: str) -> bool:
    """Return whether the private key has the type that the configuration asks for."""
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
