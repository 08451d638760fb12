"""A pair on disk, looked at. Changes nothing.

Live, whoever put it there: which certificate, does the key fit, who may read it, who changed it? Staged, before it goes
live: does the key fit, does the chain hold, are the names in it, is it time?
"""

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from certagent.domain.catalogue import Fact
from certagent.domain.certificates import UNREADABLE, CertificateFacts, read_facts, read_leaf
from certagent.domain.chains import Roots, follow_chain, name_of
from certagent.domain.deployments import Fault, Generation, LivePair
from certagent.system.file_content import Owner
from certagent.system.files import read_files
from certagent.system.path_walk import read_linked
from certagent.system.processes import run

KEY = "privkey.pem"
CHAIN = "fullchain.pem"
COMBINED = "combined.pem"
"""Key and chain in one file, for a service that reads one."""
READ_SECONDS = 10.0
_FORM = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def read_pair(folder: Path) -> tuple[bytes, bytes] | None:
    """(key, chain) in a folder, if both are there."""
    key, chain = read_files(folder, KEY, CHAIN)
    return None if key is None or chain is None else (key, chain)


def fingerprint_in(folder: Path) -> str | None:
    """SHA-256 of the leaf in a folder; None when there is no readable certificate."""
    pair = read_pair(folder)
    try:
        return x509.load_pem_x509_certificate(pair[1]).fingerprint(hashes.SHA256()).hex() if pair else None
    except UNREADABLE:
        return None


def inspect_pair(shown: Path, certificate: Path, key: Path) -> LivePair:
    """The pair at two paths, through links that may be followed; `shown` is the file that decides on it. Raises OSError
    for what cannot be read although it is there."""
    chain = _read(certificate)
    leaf = _leaf(chain) if chain is not None else None
    changed_at, changed_by = _changed(shown)
    return LivePair(
        file=str(shown),
        key_file=str(key),
        facts=_facts(chain) if chain is not None else None,
        key_fits=leaf is None or _fits(_read(key), leaf),
        is_open=_is_open(key),
        changed_at=changed_at,
        changed_by=changed_by,
    )


async def may_read(path: Path, user: Owner) -> bool:
    """Whether that user can read the file, as the kernel says it: folders above, groups and all. Only root can ask
    for others; nobody else's doubt is a fault."""
    if user.uid == os.geteuid():
        return os.access(path, os.R_OK)
    if os.geteuid() != 0:
        return True
    return (await run(("test", "-r", str(path)), timeout=READ_SECONDS, user=user)).is_good


def _read(path: Path) -> bytes | None:
    """None where there is nothing; what is no file holds nothing."""
    try:
        return read_linked(path).content
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EFBIG):
            return b""
        raise


def _leaf(chain: bytes) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(chain)
    except UNREADABLE:
        return None


def _facts(chain: bytes) -> CertificateFacts | None:
    try:
        return read_leaf(chain)
    except ValueError:
        return None


def _fits(key_pem: bytes | None, leaf: x509.Certificate) -> bool:
    try:
        key = load_pem_private_key(key_pem or b"", password=None)
        return key.public_key().public_bytes(*_FORM) == leaf.public_key().public_bytes(*_FORM)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def _is_open(key: Path) -> bool:
    """Everybody may read the file, and may come to it through every folder above."""
    try:
        real = key.resolve(strict=True)
        return bool(real.stat().st_mode & stat.S_IROTH) and all(
            folder.stat().st_mode & stat.S_IXOTH for folder in real.parents
        )
    except (OSError, RuntimeError, ValueError):  # the last: a NUL in the name
        return False


def _changed(path: Path) -> tuple[datetime | None, str | None]:
    """When, by ctime (nobody can set that), and whose file it is: the link itself, or what it leads to, the later."""
    states = []
    for status in (path.lstat, path.stat):
        try:
            states.append(status())
        except OSError:
            continue
    if not states:
        return None, None
    latest = max(states, key=lambda one: one.st_ctime_ns)
    return datetime.fromtimestamp(latest.st_ctime, UTC), _name_of(latest.st_uid)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def check_pair(folder: Path, identifiers: tuple[str, ...], now: datetime, roots: Roots) -> list[Fault]:
    """What speaks against the pair in a staged folder; empty when nothing does. Raises OSError."""
    pair = read_pair(folder)
    if pair is None:
        return [Fault(code="deploy.pair_mismatch", variant="no_pair", file=str(folder))]
    return _check(folder, *pair, identifiers, now, roots)


def find_pair_faults(generation: Generation, identifiers: tuple[str, ...], now: datetime, roots: Roots) -> list[Fault]:
    """The same of a pair that is not staged anywhere yet."""
    return _check(Path(), generation.key_pem, generation.chain_pem, identifiers, now, roots)


def _check(
    folder: Path, key_pem: bytes, chain_pem: bytes, identifiers: tuple[str, ...], now: datetime, roots: Roots
) -> list[Fault]:
    try:
        chain = x509.load_pem_x509_certificates(chain_pem)
    except ValueError as error:
        return [_fault("deploy.chain_incomplete", folder / CHAIN, "no_certificate", said=str(error))]
    return [
        *_key_fits(folder, key_pem, chain[0]),
        *_chain_leads_to_a_root(folder, chain, roots),
        *_names_are_covered(folder, chain[0], identifiers),
        *_it_is_valid_now(folder, chain[0], now),
    ]


def _key_fits(folder: Path, key_pem: bytes, leaf: x509.Certificate) -> Iterator[Fault]:
    try:
        public_key = load_pem_private_key(key_pem, password=None).public_key()
    except (ValueError, TypeError) as error:
        yield _fault("deploy.pair_mismatch", folder / KEY, "no_key", said=str(error))
        return
    if public_key.public_bytes(*_FORM) != leaf.public_key().public_bytes(*_FORM):
        yield _fault("deploy.pair_mismatch", folder / KEY)


def _chain_leads_to_a_root(folder: Path, chain: list[x509.Certificate], roots: Roots) -> Iterator[Fault]:
    path = follow_chain(chain, roots)
    if path.gap is not None:
        below, above = path.gap
        yield _fault(
            "deploy.chain_incomplete", folder / CHAIN, "wrong_issuer", issuer=name_of(above), subject=name_of(below)
        )
    elif path.root is None:
        yield _fault("deploy.chain_incomplete", folder / CHAIN, "no_root", subject=name_of(path.certificates[-1]))


def _names_are_covered(folder: Path, leaf: x509.Certificate, identifiers: tuple[str, ...]) -> Iterator[Fault]:
    missing = sorted(set(identifiers) - set(read_facts(leaf).identifiers))
    if missing:
        yield _fault("deploy.san_missing", folder / CHAIN, names=missing)


def _it_is_valid_now(folder: Path, leaf: x509.Certificate, now: datetime) -> Iterator[Fault]:
    if now < leaf.not_valid_before_utc:
        since = str(leaf.not_valid_before_utc)
        yield _fault("deploy.not_yet_valid", folder / CHAIN, since=since, now=str(now))
    if now >= leaf.not_valid_after_utc:
        until = str(leaf.not_valid_after_utc)
        yield _fault("cert.expired", folder / CHAIN, "staged", until=until, now=str(now))


def _fault(code: str, path: Path, variant: str = "", **facts: Fact) -> Fault:
    return Fault(code=code, variant=variant, facts={"staged": path.name, **facts}, file=str(path))
