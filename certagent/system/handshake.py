"""One handshake, looked at: which chain is served there, and would a client accept it? Verified first; a look without
verification follows only to learn what is served instead, and is labelled so.

The certificate is read from the handshake, whatever follows it: a server that then asks for a client's certificate, or
ends the connection with an alert, has shown its own all the same, and proven that it has the key.
"""

import asyncio
import errno
import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography import x509

from certagent.domain.certificates import UNREADABLE, CertificateFacts, read_shown, with_chain
from certagent.domain.chains import Roots, follow_chain, is_named_issuer, name_of
from certagent.system.processes import run
from certagent.system.starttls import begin_tls
from certagent.system.tls import (
    RootFiles,
    as_one_file,
    describe,
    distrust_kind,
    error_kind,
    kind_of_distrust,
    trust_for_looks,
    trust_only,
    trust_system,
    trusting_anybody,
)


class ChainLink(msgspec.Struct, frozen=True):
    """A certificate that was sent behind the leaf: whose it is, and when it ends."""

    name: str
    ends_at: datetime


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """What one handshake showed. `leaf` is None when none came about; `error` then says why.

    `error`: null, "refused", "timeout", "no_route", "reset", "unresolved", "tls" (it speaks no TLS, or not with us).
    `distrust`: null when the chain verified; else "untrusted", "name_mismatch" or "expired", and `leaf` is unverified;
    or "out_of_order": it verified, but its certificates are not in the order that every client accepts.
    """

    address: str
    port: int
    server_name: str
    leaf: CertificateFacts | None = None
    error: str | None = None
    distrust: str | None = None
    detail: str = ""
    above: tuple[ChainLink, ...] = ()

    @property
    def fingerprint(self) -> str | None:
        """SHA-256 of what is served, verified or not."""
        return self.leaf.fingerprint if self.leaf else None

    @property
    def is_verified(self) -> bool:
        """Whether a handshake came about that verified with the pinned root."""
        return self.leaf is not None and self.distrust is None


class LookOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How one looks. `and_systems`: trust what this system trusts, too. `key`: offer only what a key of that kind can
    sign (see `CertificateFacts.key`). `proxy_protocol`: begin with the PROXY protocol's header. `starttls`: have TLS
    begun by that protocol's words (see `certagent.system.starttls`)."""

    and_systems: bool = False
    key: str | None = None
    proxy_protocol: bool = False
    starttls: str | None = None


PLAIN = LookOptions()


async def probe(
    address: str, port: int, server_name: str, root: RootFiles, timeout: float, options: LookOptions = PLAIN
) -> Handshake:
    """One look, of `timeout` seconds at most. `server_name` (a name or an IP address) is asked for and verified."""
    seen = Handshake(address=address, port=port, server_name=server_name)
    try:
        async with asyncio.timeout(timeout):
            return await _look(seen, root, options)
    except TimeoutError:
        return msgspec.structs.replace(seen, error="timeout", detail=f"no handshake within {timeout:g} s")
    except OSError as error:
        return msgspec.structs.replace(seen, error=error_kind(error), detail=describe(error))


async def _look(seen: Handshake, root: RootFiles, options: LookOptions) -> Handshake:
    if options.key is not None:
        return await _look_by_key(seen, root, options)
    try:
        return _judge(seen, await _shake(seen, trust_for_looks(root, and_systems=options.and_systems), options))
    except ssl.SSLCertVerificationError as error:
        return _refused(seen, error, await _shake(seen, trusting_anybody(), options))


async def _look_by_key(seen: Handshake, root: RootFiles, options: LookOptions) -> Handshake:
    """In TLS 1.2 the ciphers name the kind of key. In TLS 1.3 only the signature algorithms do, which `ssl` cannot
    choose: a server that speaks nothing else is asked by OpenSSL's own client."""
    contexts = [trust_only(root), trusting_anybody()]
    if options.and_systems:
        trust_system(contexts[0])
    for context in contexts:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS[options.key or "ecdsa"])
    try:
        found = _judge(seen, await _shake(seen, contexts[0], options))
    except ssl.SSLCertVerificationError as error:
        found = _refused(seen, error, await _shake(seen, contexts[1], options))
    except ssl.SSLError as error:
        found = msgspec.structs.replace(seen, error="tls", detail=describe(error))
    is_too_new = found.leaf is None and "PROTOCOL" in found.detail.upper()
    is_other = found.leaf is not None and found.leaf.key != options.key
    if (is_too_new or is_other) and not options.proxy_protocol:
        return await look_by_openssl(seen, root, options)
    return found


_CIPHERS = {"ecdsa": "ECDHE+aECDSA", "ed25519": "ECDHE+aECDSA", "rsa": "ECDHE+aRSA:DHE+aRSA"}


def _judge(seen: Handshake, chain: "_Chain") -> Handshake:
    """A chain that verified: whether it is in order as well, which not every client mends by itself."""
    path = follow_chain(chain.sent, chain.roots, is_named_issuer) if chain.sent else None
    if path is None or path.gap is None:
        return msgspec.structs.replace(seen, leaf=chain.facts(), above=chain.above(), detail=chain.alert)
    below, above = path.gap
    detail = f"{name_of(above)} follows {name_of(below)}, but did not issue it"
    return msgspec.structs.replace(seen, leaf=chain.facts(), distrust="out_of_order", detail=detail)


def _refused(seen: Handshake, error: ssl.SSLCertVerificationError, chain: "_Chain") -> Handshake:
    distrust, detail = distrust_kind(error), describe(error)
    if distrust == "expired" and (over := chain.not_valid_at(datetime.now(UTC))):
        detail = f"{detail}: {', '.join(over)}"
    if distrust == "untrusted" and chain.sent:
        detail = f"{detail}: {chain.sent[-1].issuer.rfc4514_string()} issued {name_of(chain.sent[-1])}"
    return msgspec.structs.replace(seen, leaf=chain.facts(), above=chain.above(), distrust=distrust, detail=detail)


class _Chain(msgspec.Struct, frozen=True):
    """What a server sent, and the root that it leads to where it verified. `alert`: how the handshake ended, where it
    was not well. `sent` is empty where the leaf or another cannot be read."""

    leaf: bytes
    sent: tuple[x509.Certificate, ...]
    roots: Roots
    alert: str

    def facts(self) -> CertificateFacts:
        """Of the leaf."""
        shown = read_shown(self.leaf)
        return with_chain(shown, self.sent, self.roots) if self.sent else shown

    def above(self) -> tuple[ChainLink, ...]:
        """What was sent behind the leaf."""
        return tuple(ChainLink(name_of(one), one.not_valid_after_utc) for one in self.sent[1:])

    def not_valid_at(self, now: datetime) -> list[str]:
        """Whose time is over, or has not come."""
        return [
            f"{name_of(one)} is valid from {one.not_valid_before_utc} until {one.not_valid_after_utc}"
            for one in self.sent
            if not one.not_valid_before_utc <= now <= one.not_valid_after_utc
        ]


async def _shake(seen: Handshake, context: ssl.SSLContext, options: LookOptions) -> _Chain:
    """One handshake, as far as it takes to see the chain and the proof of the key. Raises OSError."""
    reader, writer = await asyncio.open_connection(seen.address, seen.port)
    try:
        if options.proxy_protocol:
            writer.write(_proxy_header(writer))
        if options.starttls is not None:
            await begin_tls(options.starttls, reader, writer, seen.server_name)
        return await _read_chain(reader, writer, context, seen.server_name)
    finally:
        writer.transport.abort()


async def _read_chain(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext, server_name: str
) -> _Chain:
    """Our answer to the server's flight is written only once its signature was checked: whatever comes after that, an
    alert for want of a client's certificate as a rule, does not change what was shown."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=server_name)
    has_answered, alert = False, ""
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            has_answered = has_answered or (bool(outgoing.pending) and bool(_sent_chain(client)))
            try:
                await _exchange(reader, writer, incoming, outgoing)
            except OSError as error:
                if not has_answered:
                    raise
                alert = describe(error)
                break
        except ssl.SSLError as error:
            if not has_answered or isinstance(error, ssl.SSLCertVerificationError):
                raise
            alert = describe(error)
            break
    chain = _sent_chain(client)
    if not chain:
        raise ConnectionResetError(errno.ECONNRESET, "it presented no certificate")
    verified = _verified_chain(client) if context.verify_mode is ssl.CERT_REQUIRED else []
    return _Chain(chain[0], _parsed(chain), _parsed(verified[-1:]), alert)


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
) -> None:
    """Send what is to be sent, and take what comes next. Raises ConnectionResetError at the end of the stream."""
    if outgoing.pending:
        writer.write(outgoing.read())
        await writer.drain()
    data = await reader.read(_MOST_AT_ONCE)
    if not data:
        raise ConnectionResetError(errno.ECONNRESET, "the connection was closed during the handshake")
    incoming.write(data)


_MOST_AT_ONCE = 16 * 1024


def _sent_chain(client: ssl.SSLObject) -> list[bytes]:
    """Public from Python 3.13 on, and there before; unlike the leaf alone it can also be read from a handshake that did
    not come to its end."""
    return _encoded(client._sslobj.get_unverified_chain())  # type: ignore[attr-defined]  # noqa: SLF001 - see above


def _verified_chain(client: ssl.SSLObject) -> list[bytes]:
    """Likewise: from the leaf to the root that it was found to lead to."""
    return _encoded(client._sslobj.get_verified_chain())  # type: ignore[attr-defined]  # noqa: SLF001 - see above


def _encoded(chain: Sequence[Any] | None) -> list[bytes]:
    return [one.public_bytes(_DER) for one in chain or ()]


_DER = 2  # `_ssl.ENCODING_DER`


def _parsed(chain: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_der_x509_certificate(one) for one in chain)
    except UNREADABLE:
        return ()


def _proxy_header(writer: asyncio.StreamWriter) -> bytes:
    """Version 1, which every server that speaks the protocol takes: our own two addresses."""
    (source, source_port), (target, target_port) = (
        writer.get_extra_info(name)[:2] for name in ("sockname", "peername")
    )
    family = "TCP6" if ":" in target else "TCP4"
    return f"PROXY {family} {source} {target} {source_port} {target_port}\r\n".encode()


async def look_by_openssl(seen: Handshake, root: RootFiles, options: LookOptions) -> Handshake:
    """The same by `openssl s_client`, which can choose signature algorithms in TLS 1.3, too."""
    host = f"[{seen.address}]" if ":" in seen.address else seen.address
    is_address = ":" in seen.server_name or seen.server_name.replace(".", "").isdigit()
    signatures = _SIGNATURES[options.key or "ecdsa"]
    words = ["openssl", "s_client", "-connect", f"{host}:{seen.port}", "-sigalgs", signatures, "-showcerts"]
    words += ["-starttls", options.starttls] if options.starttls is not None else []
    words += ["-verify_ip" if is_address else "-verify_hostname", seen.server_name]
    words += ["-noservername"] if is_address else ["-servername", seen.server_name]
    with as_one_file(root) as file:
        finished = await run([*words, "-CAfile", str(file)], timeout=_OPENSSL_SECONDS)
    chain = [ssl.PEM_cert_to_DER_cert(one) for one in _PEM.findall(finished.output)]
    verified = re.search(r"^Verify return code: (\d+) \((.*)\)", finished.output, re.MULTILINE)
    if not chain or verified is None:
        said = next((line for line in finished.output.splitlines() if "error" in line), "it printed nothing")
        return msgspec.structs.replace(seen, error="tls", detail=said[:_LONGEST_DETAIL])
    shown = _Chain(chain[0], _parsed(chain), (), "")
    if verified[1] == "0":
        return _judge(seen, shown)
    distrust = kind_of_distrust(int(verified[1]))
    return msgspec.structs.replace(seen, leaf=shown.facts(), distrust=distrust, detail=verified[2])


_SIGNATURES = {
    "ecdsa": "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512",
    "ed25519": "ed25519",
    "rsa": "RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512",
}
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_OPENSSL_SECONDS = 5.0
_LONGEST_DETAIL = 300
