"""Whether the CA's directory can be used from this node. Checks by name first, then at each configured address;
places no order."""

import asyncio
import json
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certagent.domain.certificates import UNREADABLE
from certagent.domain.diagnosis.evidence import DirectoryCheck
from certagent.system.libc import addresses_of
from certagent.system.tls import RootFiles, describe, distrust_kind, error_kind, read_root_files, trust_for_looks

CHECK_SECONDS = 2.5
LARGEST_ANSWER = 64 * 1024


async def check_directory(
    directory: str, root: RootFiles, addresses: Sequence[str], timeout: float = CHECK_SECONDS
) -> list[DirectoryCheck]:
    """Return one check for each address of the name, then one for each configured address that the name does not
    resolve to.

    The checks run concurrently, each for `timeout` seconds at most; those by name come first in the result.
    """
    found = await _resolve(urlsplit(directory).hostname or "", timeout)
    named = [] if isinstance(found, DirectoryCheck) else found
    checks = [DirectoryCheck(url=directory, address=address) for address in named]
    checks += [
        DirectoryCheck(url=directory, address=address, by_address=True) for address in addresses if address not in named
    ]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_check(check, root, timeout), name=f"look at {check.address}") for check in checks]
    unresolved = [msgspec.structs.replace(found, url=directory)] if isinstance(found, DirectoryCheck) else []
    return unresolved + [task.result() for task in tasks]


async def _resolve(host: str, timeout: float) -> list[str] | DirectoryCheck:
    """Return the name's addresses as this node's libc resolves them, or the check that failed because it cannot."""
    try:
        async with asyncio.timeout(timeout):
            return await addresses_of(host)
    except TimeoutError:
        return DirectoryCheck(url="", error="unresolved", detail="the resolver did not answer in time")
    except socket.gaierror as error:
        return DirectoryCheck(url="", error="unresolved", detail=str(error.strerror))


async def _check(check: DirectoryCheck, root: RootFiles, timeout: float) -> DirectoryCheck:
    try:
        async with asyncio.timeout(timeout):
            status, body, date = await _get(check, root)
            check = msgspec.structs.replace(check, ahead_seconds=_ahead(date))
    except TimeoutError:
        return msgspec.structs.replace(check, error="timeout", detail=f"no answer within {timeout:g} s")
    except OSError as error:
        failed = msgspec.structs.replace(check, error=_error_of(error), detail=describe(error))
        return await _with_offered_root(failed, root) if failed.error == "untrusted" else failed
    if status == 200 and _is_directory(body):
        return msgspec.structs.replace(check, status=status)
    detail = f"answered {status}" if status != 200 else "answered 200, but not with an ACME directory"
    said = "unhealthy" if status >= 500 else "http_status"
    return msgspec.structs.replace(check, error=said, status=status, detail=detail)


async def _with_offered_root(check: DirectoryCheck, root: RootFiles) -> DirectoryCheck:
    """Return the check; if the server is a Step-CA with another root, that root is named. Its /roots.pem is read
    unverified, and never trusted."""
    pinned = set(await asyncio.to_thread(fingerprints_of_files, root))
    if not pinned:
        return msgspec.structs.replace(check, detail="the pinned root cannot be read")
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            status, body, _ = await _get(check, root, "/roots.pem", trust=_unverified())
        offered = _fingerprints_of(body)
        if status != 200 or not offered or (offered & pinned and not await _is_of_another(check, root, body, pinned)):
            return check
    except (OSError, TimeoutError, *UNREADABLE):
        return check
    detail = f"offers {', '.join(sorted(offered))} (unverified), pinned is {', '.join(sorted(pinned))}"
    return msgspec.structs.replace(check, error="root_changed", detail=detail)


async def _is_of_another(check: DirectoryCheck, root: RootFiles, offered: bytes, pinned: set[str]) -> bool:
    """Return whether the CA's own certificate is of a root that it offers beside the pinned one."""
    found = x509.load_pem_x509_certificates(offered)
    others = [one for one in found if one.fingerprint(hashes.SHA256()).hex() not in pinned]
    if not others:
        return False
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(cadata="".join(one.public_bytes(Encoding.PEM).decode() for one in others))
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await _get(check, root, trust=trust)
    except ssl.SSLError:
        return False
    return True


async def published_roots(directory: str, root: RootFiles, addresses: Sequence[str]) -> set[str]:
    """Return the fingerprints of all roots that the CA publishes (Step-CA's /roots.pem), as a server that the pinned
    roots vouch for says; nothing where no such answer comes, or the CA publishes none."""
    host = urlsplit(directory).hostname or ""
    for address in dict.fromkeys((host, *addresses)):
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                status, body, _ = await _get(DirectoryCheck(url=directory, address=address), root, "/roots.pem")
            return _fingerprints_of(body) if status == 200 else set()
        except (OSError, TimeoutError, *UNREADABLE):
            continue
    return set()


async def is_step_ca(directory: str, root: RootFiles, addresses: Sequence[str]) -> bool | None:
    """Return whether the CA publishes its roots at /roots.pem, as Step-CA alone does; None where it gives no answer at
    all. Not /version: there Step-CA says only a number, as others may."""
    host = urlsplit(directory).hostname or ""
    for address in dict.fromkeys((host, *addresses)):
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                status, body, _ = await _get(DirectoryCheck(url=directory, address=address), root, "/roots.pem")
        except (OSError, TimeoutError):
            continue
        return (status == 200 and _holds_certificates(body)) if status and status < 500 else None
    return None


def _holds_certificates(body: bytes) -> bool:
    try:
        return bool(_fingerprints_of(body))
    except UNREADABLE:
        return False


def fingerprints_of_files(root: RootFiles) -> tuple[str, ...]:
    """Return the fingerprints of the pinned roots; nothing where they cannot be read."""
    try:
        return tuple(sorted(_fingerprints(root)))
    except (OSError, *UNREADABLE):
        return ()


def _fingerprints(root: RootFiles) -> set[str]:
    return _fingerprints_of(read_root_files(root))


def _fingerprints_of(pem: bytes) -> set[str]:
    return {root.fingerprint(hashes.SHA256()).hex() for root in x509.load_pem_x509_certificates(pem)}


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _get(
    check: DirectoryCheck, root: RootFiles, path: str | None = None, trust: ssl.SSLContext | None = None
) -> tuple[int, bytes, str]:
    """Return status, body and Date header; status 0 for a response that is not HTTP. The request is HTTP/1.0, so the
    response ends with the connection."""
    parts = urlsplit(check.url)
    reader, writer = await asyncio.open_connection(
        check.address, parts.port or 443, ssl=trust or trust_for_looks(root), server_hostname=parts.hostname
    )
    try:
        writer.write(
            f"GET {path or parts.path} HTTP/1.0\r\nHost: {parts.netloc}\r\nUser-Agent: certagent\r\n\r\n".encode()
        )
        answer = await reader.read(LARGEST_ANSWER)
        while len(answer) < LARGEST_ANSWER and (piece := await reader.read(LARGEST_ANSWER)):
            answer += piece
    finally:
        writer.transport.abort()
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head[9:12]
    date = next((line[5:].strip() for line in head.split(b"\r\n") if line[:5].lower() == b"date:"), b"")
    return (int(status) if head.startswith(b"HTTP/1.") and status.isdigit() else 0), body, date.decode("latin-1")


def _ahead(date: str) -> float | None:
    """Return how far the CA's clock is ahead of this node's; None without a valid date."""
    try:
        date_shown = parsedate_to_datetime(date)
    except ValueError:
        return None
    return (date_shown - datetime.now(UTC)).total_seconds() if date_shown.tzinfo is not None else None


def _is_directory(body: bytes) -> bool:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and {"newNonce", "newAccount", "newOrder"} <= document.keys()


def _error_of(error: OSError) -> str:
    """Return the error in the words of `DirectoryCheck`: a server that does not speak TLS, or has another root, is
    not trusted, and neither is any while the pinned root's file is gone."""
    if isinstance(error, FileNotFoundError):
        return "untrusted"
    if isinstance(error, ssl.SSLCertVerificationError):
        return distrust_kind(error)
    kind = error_kind(error)
    return "untrusted" if kind == "tls" else kind
