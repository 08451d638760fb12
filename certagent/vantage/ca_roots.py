"""The CA's root certificates, fetched from the CA without trusting it: the caller must compare a fingerprint first."""

import asyncio
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certagent.system.http import FetchError, connect, fetch
from certagent.system.libc import addresses_of

ANSWER_SECONDS = 10.0


async def fetch_roots(directory: str) -> list[bytes]:
    """Return the certificates (PEM, one each) that the CA of that directory publishes as its roots (`GET /roots.pem`).

    Raises ConnectionError with a message a person can act on.
    """
    parts = urlsplit(directory)
    host, port = parts.hostname or "", parts.port or 443
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            connection = await connect((await addresses_of(host))[0], port)
            reply = await fetch(connection, parts.netloc, "/roots.pem", "certagent", tls_name=host)
    except (OSError, FetchError, TimeoutError) as error:
        raise ConnectionError(f"the CA at {host}:{port} does not send its roots: {error or 'no answer'}") from error
    if reply.status != 200:
        raise ConnectionError(f"the CA at {host}:{port} does not send its roots: status {reply.status}")
    try:
        return [root.public_bytes(Encoding.PEM) for root in x509.load_pem_x509_certificates(reply.body)]
    except ValueError as error:
        raise ConnectionError(f"the CA at {host}:{port} did not send its roots: {error}") from error
