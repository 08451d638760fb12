"""The pair, checked before it goes live: does the key fit, does the chain hold, are the names in it, is it time?"""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from certagent.deployers.generation_store import CHAIN, KEY, read_pair
from certagent.domain.certificates import read_facts
from certagent.domain.deployments import Fault


def check_pair(
    folder: Path, identifiers: tuple[str, ...], now: datetime, roots: tuple[x509.Certificate, ...]
) -> list[Fault]:
    """What speaks against the pair in a staged folder; empty when nothing does. Raises OSError."""
    pair = read_pair(folder)
    if pair is None:
        return [Fault(code="deploy.pair_mismatch", explanation=f"{folder} holds no pair.", file=str(folder))]
    try:
        chain = x509.load_pem_x509_certificates(pair[1])
    except ValueError as error:
        return [_fault("deploy.chain_incomplete", folder / CHAIN, f"it holds no certificate: {error}")]
    return [
        *_key_fits(folder, pair[0], chain[0]),
        *_chain_leads_to_a_root(folder, chain, roots),
        *_names_are_covered(folder, chain[0], identifiers),
        *_it_is_valid_now(folder, chain[0], now),
    ]


def read_roots(path: Path) -> tuple[x509.Certificate, ...]:
    """The pinned roots in a PEM file. Raises OSError, and ValueError when it holds none."""
    return tuple(x509.load_pem_x509_certificates(path.read_bytes()))


def _key_fits(folder: Path, key_pem: bytes, leaf: x509.Certificate) -> Iterator[Fault]:
    try:
        own = load_pem_private_key(key_pem, password=None).public_key()
    except (ValueError, TypeError) as error:
        yield _fault("deploy.pair_mismatch", folder / KEY, f"it holds no private key that can be read: {error}")
        return
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if own.public_bytes(*form) != leaf.public_key().public_bytes(*form):
        yield _fault("deploy.pair_mismatch", folder / KEY, "the key is not the one that the certificate is for")


def _chain_leads_to_a_root(
    folder: Path, chain: list[x509.Certificate], roots: tuple[x509.Certificate, ...]
) -> Iterator[Fault]:
    for below, above in pairwise(chain):
        if not _issued_by(below, above):
            yield _fault("deploy.chain_incomplete", folder / CHAIN, f"{_who(above)} did not issue {_who(below)}")
            return
    last = chain[-1]
    if last not in roots and not any(_issued_by(last, root) for root in roots):
        yield _fault("deploy.chain_incomplete", folder / CHAIN, f"no pinned root issued {_who(last)}")


def _names_are_covered(folder: Path, leaf: x509.Certificate, identifiers: tuple[str, ...]) -> Iterator[Fault]:
    missing = sorted(set(identifiers) - set(read_facts(leaf).identifiers))
    if missing:
        yield _fault("deploy.san_missing", folder / CHAIN, f"it is not for {', '.join(missing)}")


def _it_is_valid_now(folder: Path, leaf: x509.Certificate, now: datetime) -> Iterator[Fault]:
    if now < leaf.not_valid_before_utc:
        yield _fault("deploy.not_yet_valid", folder / CHAIN, f"it is valid from {leaf.not_valid_before_utc}, now {now}")
    if now >= leaf.not_valid_after_utc:
        yield _fault("cert.expired", folder / CHAIN, f"it was valid until {leaf.not_valid_after_utc}, now {now}")


def _issued_by(below: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _who(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"serial {certificate.serial_number:x}"


def _fault(code: str, path: Path, what: str) -> Fault:
    return Fault(code=code, explanation=f"The staged {path.name} is not promoted: {what}.", file=str(path))
