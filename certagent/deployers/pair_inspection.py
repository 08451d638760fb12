"""What is live on disk, whoever put it there: which certificate, does the key fit, who may read it, who changed it."""

import os
import pwd
import stat
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from certagent.domain.certificates import UNREADABLE, CertificateFacts, read_facts
from certagent.domain.deployments import LivePair
from certagent.system.files import Owner
from certagent.system.processes import run

READ_SECONDS = 10.0
_FORM = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def look_at_pair(shown: Path, certificate: Path, key: Path) -> LivePair:
    """The pair at two paths, through whatever links lead there; `shown` is the file that decides on it. Raises OSError
    for what cannot be read although it is there."""
    chain = _read(certificate)
    leaf = _leaf(chain) if chain is not None else None
    changed_at, changed_by = _changed(shown)
    return LivePair(
        file=str(shown),
        key_file=str(key),
        facts=_facts(leaf) if leaf is not None else None,
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
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _leaf(chain: bytes) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(chain)
    except UNREADABLE:
        return None


def _facts(leaf: x509.Certificate) -> CertificateFacts | None:
    try:
        return read_facts(leaf)
    except UNREADABLE:
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
    except (OSError, RuntimeError):
        return False


def _changed(path: Path) -> tuple[datetime | None, str | None]:
    """When, by ctime (nobody can set that), and whose file it is: the link itself, or what it leads to, the later."""
    looks = []
    for status in (path.lstat, path.stat):
        try:
            looks.append(status())
        except OSError:
            continue
    if not looks:
        return None, None
    latest = max(looks, key=lambda one: one.st_ctime_ns)
    return datetime.fromtimestamp(latest.st_ctime, UTC), _name_of(latest.st_uid)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
