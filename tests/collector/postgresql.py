"""A real PostgreSQL, Debian's, on a folder of its own and a unix socket there; never as root, never a service."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from sqlalchemy import create_engine, text

from tests.ports import free_port

PROGRAMS = Path("/usr/lib/postgresql")
_OWNER = "postgres"
_PATIENCE = 60.0


class Server:
    """A server on its own folder, which holds its data and its socket."""

    def __init__(
        self,
        folder: Path,
        pair: tuple[Path, Path] | None = None,
        on: tuple[str, Sequence[str]] = ("127.0.0.1", ()),
    ) -> None:
        self.folder = folder
        self.pair = pair
        self.port: int | None = None
        self._address, self._prefix = on
        if pair is not None or self._prefix:
            self.listen()
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None

    def listen(self) -> None:
        """Also on a port, from its next start on."""
        self.port = self.port or free_port()

    def admit(self, network: str) -> None:
        """Whoever asks from there."""
        with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {network} trust\n")
        self.process.send_signal(signal.SIGHUP)

    def start(self) -> None:
        """Until it answers."""
        programs = _programs()
        options = f"-c unix_socket_directories={self.folder} -c listen_addresses= -c fsync=off -c max_connections=40"
        if self.port is not None:  # the socket is named after the port
            options += f" -c listen_addresses={self._address} -c port={self.port}"
        if self.pair is not None:
            certificate, key = self.pair
            options += f" -c ssl=on -c ssl_cert_file={certificate} -c ssl_key_file={key}"
        with (self.folder / "log").open("ab") as log:
            command = [str(programs / "postgres"), "-D", str(self.folder / "data"), *options.split()]
            if self._prefix:  # which needs root's rights, and gives them up
                command = [*self._prefix, "setpriv", "--reuid", _OWNER, "--regid", _OWNER, "--clear-groups", *command]
            user = None if self._prefix else _account()
            self._process = subprocess.Popen(command, user=user, cwd=self.folder, stdout=log, stderr=log)
        _wait_until_it_answers(programs, self.folder, self.port)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server's first one."""
        assert self._process is not None
        return self._process

    @property
    def process_id(self) -> int:
        """Whom a signal reaches."""
        return self.process.pid

    def stop(self, number: int = signal.SIGINT) -> None:
        """By its fast shutdown, or at once by SIGQUIT."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(_PATIENCE)

    def url(self, database: str) -> str:
        """As it stands in `[store] url`."""
        port = f"&port={self.port}" if self.port is not None else ""
        return f"postgresql://{_OWNER}@/{database}?host={self.folder}{port}"

    def promote(self) -> None:
        """A standby becomes the primary."""
        _run(_programs() / "pg_ctl", "promote", "-w", "-D", self.folder / "data")

    def new_database(self) -> str:
        """The URL of an empty one."""
        name = f"certagent_{next(self._numbers)}"
        engine = create_engine(
            self.url("postgres").replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} STRATEGY file_copy"))
        engine.dispose()
        return self.url(name)


@contextmanager
def running_server(
    pair: tuple[Path, Path] | None = None, on: tuple[str, Sequence[str]] = ("127.0.0.1", ())
) -> Iterator[Server]:
    """Up within the block; with a certificate and its key also on a port of loopback, by TLS. `on`: another address,
    and what a command begins with to be run in its network. What is missing is an error: `deploy/setup --tests`
    installs it."""
    with _new_folder(*(pair or ())) as folder:
        _run(_programs() / "initdb", "-D", folder / "data", "-U", _OWNER, "-A", "trust", "-E", "UTF8", "--no-sync")
        server = Server(folder, pair, on)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def primary_and_standby() -> Iterator[tuple[Server, Server]]:
    """Two that listen on loopback; what the first commits, the second has."""
    with _new_folder() as folder, _new_folder() as other:
        primary, standby = Server(folder), Server(other)
        for server in (primary, standby):
            server.listen()
        _run(_programs() / "initdb", "-D", folder / "data", "-U", _OWNER, "-A", "trust", "-E", "UTF8", "--no-sync")
        primary.start()
        try:
            source = f"host=127.0.0.1 port={primary.port} user={_OWNER}"
            copy = (_programs() / "pg_basebackup", "-R", "--checkpoint=fast", "--no-sync")
            _run(*copy, "-d", source, "-D", other / "data")
            standby.start()
            yield primary, standby
        finally:
            for server in (standby, primary):
                server.stop(signal.SIGQUIT)


@contextmanager
def _new_folder(*others: Path) -> Iterator[Path]:
    """Of the server's account, like those other files; removed after the block."""
    folder = Path(tempfile.mkdtemp(prefix="certagent-postgresql-"))
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam(_OWNER)
            for path in (folder, *others):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder)


def _wait_until_it_answers(programs: Path, folder: Path, port: int | None) -> None:
    end = time.monotonic() + _PATIENCE
    ask = [str(programs / "pg_isready"), "-q", "-h", str(folder), "-p", str(port or 5432)]
    while subprocess.run(ask, check=False).returncode != 0:
        assert time.monotonic() < end, (folder / "log").read_text()
        time.sleep(0.05)


def _programs() -> Path:
    found = sorted(PROGRAMS.glob("*/bin/postgres"))
    assert found, f"no PostgreSQL below {PROGRAMS}: deploy/setup --tests installs Debian's"
    return found[-1].parent


def _account() -> str | None:
    return _OWNER if os.geteuid() == 0 else None


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, user=_account(), capture_output=True)
