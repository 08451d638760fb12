"""A real nginx in a network namespace of its own, asked as a CA would ask; nothing of this machine is touched.

Run as a program it is inside that namespace: it reads jobs from standard input and prints what came of each, as JSON.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec

from deploy.lab.parts import nginx
from tests.certificates import Authority
from tests.nginx.generator import ADDRESSES, PATH, UPSTREAMS, Ask

CLOSED = 0
"""The status of a connection that ended without an answer."""
REFUSED = -1
"""The status where nobody listens."""
_PATIENCE = 1.0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a client saw. `upstream`: port, path and Host as the upstream got them, None where nginx answered."""

    status: int
    where: str | None = None
    upstream: str | None = None
    location: str | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A folder with a configuration, and what to ask of it."""

    folder: str
    asks: tuple[Ask, ...]


def write(folder: Path, files: dict[str, str]) -> Path:
    """The configuration below `folder`; gives its first file."""
    (folder / "empty").mkdir(parents=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, newline="")
    return folder / "nginx.conf"


def complaint(configuration: Path) -> str:
    """What `nginx -t` says of it."""
    done = subprocess.run(_argv(configuration, "-t"), capture_output=True, text=True, timeout=30, check=False)
    return done.stderr


def ask(jobs: Sequence[Job]) -> list[list[Seen] | None]:
    """What nginx answered, job by job; None for a configuration that it refuses. Raises CalledProcessError."""
    pair = Authority().issue("home.test")
    for job in jobs:
        Path(job.folder, "pair.crt").write_bytes(pair.chain_pem)
        Path(job.folder, "pair.key").write_bytes(pair.key_pem)
    addresses = "; ".join(f"ip address add {one} dev lo{' nodad' * (':' in one)}" for one in ADDRESSES)
    script = f'ip link set lo up; {addresses}; exec "$@"'
    inside = ["unshare", "--map-root-user", "--net", "--kill-child", "sh", "-ec", script, "sh"]
    done = subprocess.run(
        [*inside, sys.executable, "-m", "tests.nginx.real_nginx", str(nginx.ensure() / "usr/sbin/nginx")],
        input=msgspec.json.encode(jobs),
        stdout=subprocess.PIPE,
        timeout=20 + len(jobs) / 4,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return msgspec.json.decode(done.stdout, type=list[list[Seen] | None])


def _argv(configuration: Path, *options: str) -> list[str]:
    program = nginx.ensure() / "usr/sbin/nginx"
    return [str(program), "-p", str(configuration.parent), "-e", "error.log", "-c", configuration.name, *options]


class _Upstream(BaseHTTPRequestHandler):
    """Says which of them it is, and what it was asked for."""

    def do_GET(self) -> None:
        self.send_response(200 if "/errors/" not in self.path else 503)
        self.send_header(
            "X-Upstream", f"{self.connection.getsockname()[1]} {self.requestline.split()[1]} {self.headers['Host']}"
        )
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its name in the base class
        """Nothing."""


def _serve(jobs: Iterable[Job], program: str) -> Iterable[list[dict[str, object]] | None]:
    for port in UPSTREAMS:
        threading.Thread(target=ThreadingHTTPServer(("127.0.0.1", port), _Upstream).serve_forever, daemon=True).start()
    for job in jobs:
        argv = [program, "-p", job.folder, "-e", "error.log", "-c", "nginx.conf"]
        argv += ["-g", "daemon off; master_process off; pid pid;"]
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=subprocess.DEVNULL, cwd=job.folder
        )
        try:
            is_ready = _await(process, Path(job.folder))
            yield [msgspec.to_builtins(_fetch(ask)) for ask in job.asks] if is_ready else None
        finally:
            process.kill()
            process.wait()


def _await(process: "subprocess.Popen[bytes]", folder: Path) -> bool:
    """Whether it runs; it writes its pid once it listens."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and process.poll() is None:
        if (folder / "pid").exists() and (folder / "pid").read_text():
            return True
        time.sleep(0.005)
    return False


def _fetch(ask: Ask) -> Seen:
    try:
        connection = socket.create_connection((ask.address, 80), _PATIENCE)
    except ConnectionRefusedError:
        return Seen(status=REFUSED)
    with connection:
        try:
            connection.sendall(f"GET {PATH} HTTP/1.1\r\nHost: {ask.name}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while part := connection.recv(65536):
                answer += part
        except (ConnectionResetError, TimeoutError):
            return Seen(status=CLOSED)
    return _parse(answer.decode(errors="replace"))


def _parse(answer: str) -> Seen:
    head = answer.partition("\r\n\r\n")[0].split("\r\n")
    if not head[0].startswith("HTTP/"):
        return Seen(status=CLOSED)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    return Seen(
        status=int(head[0].split()[1]),
        where=headers.get("x-where"),
        upstream=headers.get("x-upstream"),
        location=headers.get("location"),
    )


if __name__ == "__main__":
    jobs = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Job])
    json.dump(list(_serve(jobs, sys.argv[1])), sys.stdout)
