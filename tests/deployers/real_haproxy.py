"""A real HAProxy, Debian's, in master-worker mode on a folder and a port of its own."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certagent.deployers.haproxy import HaproxyProcesses, find_processes
from deploy.lab.parts import proxies

_PATIENCE = 30.0
_CONFIGURATION = """\
global
  stats socket {folder}/admin.sock mode 600 level admin
  crt-base {folder}
defaults
  mode tcp
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend tls
  bind 127.0.0.1:{port} ssl crt {crt}
  default_backend nobody
backend nobody
  server one 127.0.0.1:9
"""


class RealHaproxy:
    """HAProxy that serves what `crt` names: a file, or a folder."""

    def __init__(self, folder: Path, crt: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            self.port = reserved.getsockname()[1]
        self.folder = folder
        self.configuration = folder / "haproxy.cfg"
        self.socket = folder / "admin.sock"
        self.configuration.write_text(_CONFIGURATION.format(folder=folder, port=self.port, crt=crt))

    @property
    def endpoint(self) -> str:
        """Where it serves."""
        return f"127.0.0.1:{self.port}"

    @property
    def processes(self) -> HaproxyProcesses:
        """Its master and workers."""
        found = find_processes(self.configuration)
        assert found is not None
        return found

    @contextmanager
    def run(self, *more: Path) -> Iterator[None]:
        """Up within the block, with more files of configuration where given."""
        command = [str(programs() / "haproxy"), "-W", "-f", str(self.configuration)]
        command += [word for file in more for word in ("-f", str(file))]
        with (
            (self.folder / "haproxy.log").open("wb") as log,
            subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL) as process,
        ):
            try:
                self._wait()
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(_PATIENCE)

    def _wait(self) -> None:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                self._require_worker()
            except OSError:
                assert time.monotonic() < end, (self.folder / "haproxy.log").read_text()
                time.sleep(0.05)
            else:
                return

    def _require_worker(self) -> None:
        """The master listens before that."""
        found = find_processes(self.configuration)
        if found is None or not found.workers:
            raise ConnectionRefusedError


def programs() -> Path:
    """The folder for PATH."""
    return proxies.ensure("haproxy")
