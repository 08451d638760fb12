"""A real PostgreSQL, Debian's, on a folder of its own and a unix socket there; never as root, never a service."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from sqlalchemy import create_engine, text

PROGRAMS = Path("/usr/lib/postgresql")
_OWNER = "postgres"
_PATIENCE = 60.0


class Server:
    """A server that runs. `folder` holds its socket."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self.process = process
        self._numbers = count(1)

    def url(self, database: str) -> str:
        """As it stands in `[store] url`."""
        return f"postgresql://{_OWNER}@/{database}?host={self.folder}"

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
def running_server() -> Iterator[Server]:
    """Up within the block. What is missing is an error: `deploy/setup --tests` installs it."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="certagent-postgresql-"))
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam(_OWNER)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        _run(programs / "initdb", "-D", folder / "data", "-U", _OWNER, "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-c unix_socket_directories={folder} -c listen_addresses= -c fsync=off -c max_connections=40"
        with (folder / "log").open("wb") as log:
            command = [str(programs / "postgres"), "-D", str(folder / "data"), *options.split()]
            process = subprocess.Popen(command, user=_account(), cwd=folder, stdout=log, stderr=log)
        try:
            _wait_until_it_answers(programs, folder)
            yield Server(folder, process)
        finally:
            process.send_signal(signal.SIGINT)  # its fast shutdown
            process.wait(_PATIENCE)
    finally:
        shutil.rmtree(folder)


def _wait_until_it_answers(programs: Path, folder: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while subprocess.run([programs / "pg_isready", "-q", "-h", folder], check=False).returncode != 0:
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
