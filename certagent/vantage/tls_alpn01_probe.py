"""The handshake of a tls-alpn-01 challenge as the CA makes it (acme/challenge.go, tlsalpn01Validate).

It dials all addresses once, with TLS 1.2 or later, the protocol `acme-tls/1` alone and the identifier by SNI; the first
connection that is established decides. The chain is not verified; only the certificate is inspected.
"""

import asyncio
import errno
import socket
import ssl
from datetime import timedelta

import msgspec

from certagent.domain.alpn_certificate import judge_certificate, server_name
from certagent.domain.certificates import read_shown
from certagent.domain.rehearsals import ACME_TLS, AlpnAnswer, Attempt, Hop, RehearsalRequest
from certagent.domain.resolution.go import Lookup
from certagent.system import http
from certagent.system.tls import NoProtocolError, served_certificate
from certagent.vantage.dialer import Dialer, kind_of

HANDSHAKING_FOR = timedelta(seconds=5)
NAMING_FOR = timedelta(seconds=1)


class TlsAlpn01Probe:
    """The handshake of one rehearsal. `dialer` connects as the CA's does, with `is_silence_final` off."""

    def __init__(self, dialer: Dialer, handshaking_for: timedelta = HANDSHAKING_FOR) -> None:
        self._dialer = dialer
        self._handshaking_for = handshaking_for

    async def attempts(self, request: RehearsalRequest, lookup: Lookup, port: int) -> tuple[Attempt, ...]:
        """Return one attempt per address tried; the last one decides. `lookup` has addresses."""
        dialled = await self._dialer.dial([found.address for found in lookup.addresses], port)
        start = Hop(url=f"acme-tls://{request.identifier}:{port}", name=request.identifier, port=port)
        hops = [
            msgspec.structs.replace(
                start,
                address=trial.address,
                error=trial.error,
                errno=trial.errno,
                took_ms=trial.took_ms,
                is_local=trial.is_local,
            )
            for trial in dialled.trials
        ]
        failed = tuple(Attempt(hops=(hop,)) for hop in hops if hop.error is not None)
        if dialled.connection is None:
            return failed
        used = next(hop for hop in hops if hop.error is None)
        hop = await self._shake_hands(dialled.connection, used, request)
        return (*failed, Attempt(hops=(hop,), matched=hop.alpn is not None and hop.alpn.is_good))

    async def _shake_hands(self, connection: socket.socket, hop: Hop, request: RehearsalRequest) -> Hop:
        name = server_name(request.identifier)
        try:
            async with asyncio.timeout(self._handshaking_for.total_seconds()):
                protocol, der = await served_certificate(connection, name, ACME_TLS)
        except NoProtocolError as error:
            names = await _names_without_protocol(hop, name)
            return msgspec.structs.replace(hop, error="no_protocol", errno=str(error), certificate_names=names)
        except TimeoutError:
            return msgspec.structs.replace(hop, error="timeout")
        except ssl.SSLError as error:
            return msgspec.structs.replace(hop, error="tls", errno=error.reason)
        except OSError as error:
            return msgspec.structs.replace(hop, error=kind_of(error), errno=errno.errorcode.get(error.errno or 0))
        answer = _judged(protocol, der, request)
        if answer is None:
            return msgspec.structs.replace(hop, error="tls", errno="NO_CERTIFICATE")
        return msgspec.structs.replace(hop, alpn=answer, certificate_names=read_shown(der).identifiers)


async def _names_without_protocol(hop: Hop, name: str) -> tuple[str, ...]:
    """Identify a server that speaks TLS but not this protocol: return the names in the certificate that other
    clients get."""
    try:
        async with asyncio.timeout(NAMING_FOR.total_seconds()):
            connection = await http.connect(hop.address or "", hop.port)
            return read_shown((await served_certificate(connection, name))[1]).identifiers
    except (NoProtocolError, OSError):
        return ()


def _judged(protocol: str | None, der: bytes, request: RehearsalRequest) -> AlpnAnswer | None:
    try:
        return judge_certificate(protocol, der, request.identifier, bytes.fromhex(request.digest))
    except ValueError:
        return None
