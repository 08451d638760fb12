"""TLS: contexts that trust or show what they are told to, what an error means, and the certificate of one socket."""

import asyncio
import errno
import os
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

_NO_ROUTE = {  # the last three: a black hole and a prohibition among this node's own routes, and its own filter
    errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EINVAL, errno.EACCES, errno.EPERM,
}  # fmt: skip
_NAME_MISMATCH = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_TRUST_FILE = "SSL_CERT_FILE"  # X509_get_default_cert_file_env(3)
_EXPIRED = {9, 10}  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


RootFiles = Path | tuple[Path, ...]
"""One file of pinned roots or several; each may hold several certificates. Every root in them is trusted."""


def files_of(root: RootFiles) -> tuple[Path, ...]:
    """The files."""
    return (root,) if isinstance(root, Path) else root


def read_root_files(root: RootFiles) -> bytes:
    """All of them as one PEM text. Raises OSError."""
    return b"\n".join(file.read_bytes() for file in files_of(root))


@contextmanager
def as_one_file(root: RootFiles) -> Iterator[Path]:
    """A file that holds them all, within the block: for programs that take one. Raises OSError."""
    files = files_of(root)
    if len(files) == 1:
        yield files[0]
        return
    with tempfile.NamedTemporaryFile(prefix="certagent-roots-", suffix=".pem") as bundle:
        bundle.write(read_root_files(files))
        bundle.flush()
        yield Path(bundle.name)


def trust_only(root: RootFiles) -> ssl.SSLContext:
    """A client's context that trusts the pinned root files and nothing else. Raises OSError (ssl.SSLError too).

    Not `ssl.create_default_context`: from Python 3.13 on that refuses chains without key identifiers (RFC 5280,
    4.2.1.1), which private CAs have, and which everybody else accepts.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for file in files_of(root):
        context.load_verify_locations(cafile=file)
    return context


@contextmanager
def without_system_trust() -> Iterator[None]:
    """Contexts that are made meanwhile do not load the authorities that this system trusts. aiohttp makes one when it
    is imported: 1.5 MiB, whether it is used or not."""
    before = os.environ.get(_TRUST_FILE)
    os.environ[_TRUST_FILE] = os.devnull
    try:
        yield
    finally:
        del os.environ[_TRUST_FILE]
        if before is not None:
            os.environ[_TRUST_FILE] = before


def trust_for_looks(root: RootFiles, *, and_systems: bool = False) -> ssl.SSLContext:
    """The same, kept as long as the files stay as they are: for all looks, and not to be changed; with what this system
    trusts, if so wished. Raises as it does."""
    stats = [file.stat() for file in files_of(root)]
    stamp = tuple((found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) for found in stats)
    return _kept_trust(root, stamp, and_systems)


@lru_cache(maxsize=8)
def _kept_trust(root: RootFiles, _stamp: tuple[tuple[int, ...], ...], and_systems: bool) -> ssl.SSLContext:
    context = trust_only(root)
    if and_systems:
        trust_system(context)
    return context


def trust_system(context: ssl.SSLContext) -> None:
    """Trust what this system trusts, too. From the folder of hashed names where there is one: that is read as far as it
    is needed, not as a whole."""
    folder = ssl.get_default_verify_paths().openssl_capath
    if Path(folder).is_dir():
        context.load_verify_locations(capath=folder)
    else:
        context.load_default_certs()


def trusting_anybody() -> ssl.SSLContext:
    """A client's context for a second, labelled look."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def error_kind(error: OSError) -> str:
    """What kind of failure to connect that was: one of `Handshake.error`'s words."""
    match error:
        case ssl.SSLError():
            return "tls"
        case ConnectionRefusedError():
            return "refused"
        case TimeoutError():
            return "timeout"
        case socket.gaierror():
            return "unresolved"
        case OSError(errno=number) if number in _NO_ROUTE:
            return "no_route"
        case _:
            return "reset"


def distrust_kind(error: ssl.SSLCertVerificationError) -> str:
    """Why a certificate was not accepted: "name_mismatch", "expired" (or not yet valid) or "untrusted"."""
    return kind_of_distrust(error.verify_code)


def kind_of_distrust(verify_code: int) -> str:
    """The same of OpenSSL's number for it."""
    if verify_code in _NAME_MISMATCH:
        return "name_mismatch"
    return "expired" if verify_code in _EXPIRED else "untrusted"


def describe(error: OSError) -> str:
    """The error in its own words, with the kernel's name for it where there is one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    name = errno.errorcode.get(error.errno or 0, "") if not isinstance(error, socket.gaierror) else ""
    return " ".join(part for part in (name, error.strerror or str(error)) if part)


class NoProtocolError(Exception):
    """The server ended the handshake because none of the offered protocols is its own (RFC 7301 section 3.2)."""


async def served_certificate(
    connection: socket.socket, name: str, protocol: str | None = None
) -> tuple[str | None, bytes]:
    """(the protocol that was negotiated, the certificate in DER form) for a client that offers only `protocol`.

    Verifies nothing. Takes the socket over and closes it. Raises NoProtocolError, OSError (ssl.SSLError too); the
    caller bounds it in time.
    """
    context = trusting_anybody()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if protocol is not None:
        context.set_alpn_protocols([protocol])
    try:
        _, writer = await asyncio.open_connection(sock=connection, ssl=context, server_hostname=name)
    except ssl.SSLError as error:
        if "NO_APPLICATION_PROTOCOL" in str(error).upper().replace(" ", "_"):
            raise NoProtocolError(error.reason or "no_application_protocol") from error
        raise
    try:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return tls.selected_alpn_protocol(), tls.getpeercert(binary_form=True) or b""
    finally:
        writer.transport.abort()


def serving(certificate_pem: bytes, key_pem: bytes, protocol: str) -> ssl.SSLContext:
    """A server's context with that pair, which never touches a disk. Raises ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([protocol])
    _load_pair(context, certificate_pem, key_pem)
    return context


def presenting(root: RootFiles, chain_pem: bytes, key_pem: bytes) -> ssl.SSLContext:
    """A client's context that trusts the pinned root alone and presents that pair. Raises OSError, ssl.SSLError."""
    context = trust_only(root)
    _load_pair(context, chain_pem, key_pem)
    return context


def _load_pair(context: ssl.SSLContext, chain_pem: bytes, key_pem: bytes) -> None:
    descriptor = os.memfd_create("pair", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, key_pem + chain_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
