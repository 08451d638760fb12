"""An account's key before there is any account: what a stateless responder needs, without the ACME package."""

import base64
import hashlib
import json
from typing import Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certagent.domain.orders import Account

_P256_BYTES = 32


class AccountStore(Protocol):
    """Where the account outlives the process."""

    def load(self) -> Account | None:
        """The account, if there is one."""
        ...

    def save(self, account: Account) -> None:
        """Keep it."""
        ...


def ensure_account(store: AccountStore) -> Account:
    """The account, or the key that it will have; kept. The CA learns of it with the first order."""
    account = store.load()
    if account is None:
        account = _new_account()
        store.save(account)
    return account


def thumbprint(account: Account) -> str:
    """RFC 7638, of the account's public key: what follows the token in a key authorization."""
    key = serialization.load_pem_private_key(account.key_pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"an account's key is EC, not {type(key).__name__}")
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
