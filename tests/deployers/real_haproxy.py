"""A real HAProxy, Debian's, in master-worker mode on a folder and a port of its own; and a small one in its place."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from certagent.config import HaproxyTarget
from certagent.deployers.haproxy import HaproxyProcesses, find_processes
from deploy.lab.parts import proxies
from tests.certificates import Authority, Pair
from tests.deployers import small_haproxy as small_haproxy_program
from tests.deployers.dies_at import HaproxyJob
from tests.deployers.place import NAME

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
    """HAProxy that serves what `crt` names: a file, or a folder. `programs`: where the program is, else as fetched."""

    def __init__(self, folder: Path, crt: Path, programs: Path | None = None) -> None:
        self._programs = programs
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
        command = [str((self._programs or programs()) / "haproxy"), "-W", "-f", str(self.configuration)]
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


class HaproxyScene:
    """A HAProxy with its old certificate."""

    def __init__(self, folder: Path, *, is_folder: bool = False, programs: Path | None = None) -> None:
        self.private = Authority()
        self.root = self.private.write_root(folder / "root.crt")
        self.old: Pair = self.private.issue(NAME)
        self.certificate = folder / "certs" / "web.pem"
        self.certificate.parent.mkdir()
        self.certificate.write_bytes(self.old.chain_pem + self.old.key_pem)  # HAProxy takes either order
        self.certificate.chmod(0o600)
        self.haproxy = RealHaproxy(folder, self.certificate.parent if is_folder else self.certificate, programs)

    def job(self, number: int = 1, *, within: float = 10.0, **settings: Any) -> HaproxyJob:
        """A new certificate for it."""
        given: dict[str, Any] = {"configuration": self.haproxy.configuration, "prove": (self.haproxy.endpoint,)}
        target = HaproxyTarget(certificate=self.certificate, **given | settings)
        return HaproxyJob(
            generation=self.private.issue(NAME).generation(number), settings=target, root=self.root, within=within
        )


def programs() -> Path:
    """The folder for PATH."""
    return proxies.ensure("haproxy")


def small_haproxy(folder: Path) -> Path:
    """A folder for PATH whose `haproxy` is small_haproxy.py."""
    program = folder / "bin" / "haproxy"
    program.parent.mkdir()
    source = Path(small_haproxy_program.__file__).read_text(encoding="utf-8")
    program.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
    program.chmod(0o755)
    return program.parent
