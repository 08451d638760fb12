"""Real TLS servers on loopback, for tests that look at what is served."""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.certificates import Pair


class TlsServer:
    """Serves one pair per name; the one for "" to whoever asks for anything else. Pairs may be exchanged."""

    def __init__(self, pair: Pair) -> None:
        self._contexts = {"": context_of(pair)}
        self.entrance = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.entrance.sni_callback = self._choose
        self.endpoint = ""

    def serve(self, pair: Pair, name: str = "") -> None:
        """From the next handshake on."""
        self._contexts[name] = context_of(pair)

    def serve_files(self, chain: Path, key: Path) -> None:
        """What lies there now, as a reload does. Raises `ssl.SSLError` for a pair that does not match."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        self._contexts[""] = context

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        connection.context = self._contexts.get(name or "", self._contexts[""])


@asynccontextmanager
async def tls_server(pair: Pair, address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[TlsServer]:
    """A server that shakes hands and hangs up."""
    server = TlsServer(pair)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, address, port, ssl=server.entrance) as listening:
        server.endpoint = f"{address}:{listening.sockets[0].getsockname()[1]}"
        yield server


def context_of(pair: Pair) -> ssl.SSLContext:
    """A server's context with that pair."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        chain, key = Path(folder, "chain"), Path(folder, "key")
        chain.write_bytes(pair.chain_pem)
        key.write_bytes(pair.key_pem)
        context.load_cert_chain(chain, key)
    return context
