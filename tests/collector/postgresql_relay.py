"""A way to a PostgreSQL that can be cut: nothing passes any more, and no connection is closed."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from tests.collector.postgresql import Server

_SOCKET = ".s.PGSQL.5432"


class PostgresqlRelay:
    """A unix socket in a folder of its own that leads to the server's, by threads."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._is_open = threading.Event()
        self._is_open.set()
        self._takes = threading.Event()
        self._takes.set()
        self._sockets: list[socket.socket] = []

    def url_of(self, url: str) -> str:
        """That database, by this way."""
        return url.replace(str(self._server.folder), str(self._folder))

    def cut(self) -> None:
        """Let nothing pass."""
        self._is_open.clear()

    @contextmanager
    def losing_everything(self) -> Iterator[None]:
        """Let nothing pass within the block."""
        self.cut()
        try:
            yield
        finally:
            self.mend()

    def refuse(self) -> None:
        """Let those that are there go on, and no new one pass."""
        self._takes.clear()

    def mend(self) -> None:
        """Let everything pass, also what has come meanwhile."""
        self._is_open.set()
        self._takes.set()

    @contextmanager
    def listening(self) -> Iterator[Self]:
        """Up within the block."""
        self._folder.mkdir()
        listener = self._keep(socket.socket(socket.AF_UNIX))
        listener.bind(str(self._folder / _SOCKET))
        listener.listen(64)
        self._start(self._accept, listener)
        try:
            yield self
        finally:
            self.mend()
            for one in self._sockets:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def _keep(self, one: socket.socket) -> socket.socket:
        self._sockets.append(one)
        return one

    def _start(self, work: object, *sockets: socket.socket) -> None:
        threading.Thread(target=work, args=sockets, daemon=True).start()  # type: ignore[arg-type]

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client = self._keep(listener.accept()[0])
                self._takes.wait()
                server = self._keep(socket.socket(socket.AF_UNIX))
                server.connect(str(self._server.folder / _SOCKET))
                self._start(self._pass_on, client, server)
                self._start(self._pass_on, server, client)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._is_open.wait()
                target.sendall(data)
            self._is_open.wait()
            target.shutdown(socket.SHUT_RDWR)
