"""A real TLS server whose pair lies on disk, and which reads it again on a real signal."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from certagent.config import CommandTarget
from tests.certificates import Authority, Pair
from tests.deployers.dies_at import Job
from tests.fakes.tls_servers import TlsServer, tls_server

NAME = "web.internal"
RELOAD = ("sh", "-c", f"kill -HUP {os.getpid()}")


class Place(msgspec.Struct):
    """A service with its pair on disk, and the CA that certifies it."""

    private: Authority
    server: TlsServer
    folder: Path
    old: Pair

    @property
    def certificate(self) -> Path:
        """Where the service reads its chain."""
        return self.folder / "web.crt"

    @property
    def key(self) -> Path:
        """And its key."""
        return self.folder / "web.key"

    def reload(self) -> None:
        """What the service does on SIGHUP; a pair that does not match is never there."""
        self.server.serve_files(self.certificate, self.key)

    def job(self, number: int = 1, *, within: float = 5.0, command: tuple[str, ...] = RELOAD, **settings: Any) -> Job:
        """A new certificate for it."""
        return Job(
            generation=self.private.issue(NAME).generation(number),
            settings=CommandTarget(
                certificate=self.certificate,
                key=self.key,
                command=command,
                **{"prove": (self.server.endpoint,), **settings},
            ),
            root=self.folder / "root.crt",
            within=within,
        )


@contextmanager
def open_folder() -> Iterator[Path]:
    """Not pytest's, whose folders are for their owner alone: other users are to come through."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@asynccontextmanager
async def open_place(folder: Path) -> AsyncIterator[Place]:
    """Serves an old pair from regular files; SIGHUP makes it read them again."""
    private = Authority()
    old = private.issue(NAME)
    private.write_root(folder / "root.crt")
    async with tls_server(old) as server:
        here = Place(private, server, folder, old)
        here.certificate.write_bytes(old.chain_pem)
        here.key.write_bytes(old.key_pem)
        here.key.chmod(0o600)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, here.reload)
        yield here
        loop.remove_signal_handler(signal.SIGHUP)
