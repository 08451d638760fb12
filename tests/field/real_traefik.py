"""What a real Traefik does with challenges, in namespaces of its own: `ask` is the way in; the module runs inside."""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from deploy.lab.parts import traefik

_ASKED = "/.well-known/acme-challenge/token"
_READY_SECONDS = 10.0


def ask(folders: Sequence[Path], hosts: Sequence[str], ports: Sequence[int]) -> list[dict[str, Any] | None]:
    """Per folder with a static configuration: {host: answer}, or None where Traefik did not start. An answer is
    {"status", "location", "backend", "path", "host"}: the last three as the backend at one of the ports saw it."""
    program = traefik.ensure() / "usr/local/bin/traefik"
    given = {"program": str(program), "folders": [str(one) for one in folders], "hosts": hosts, "ports": ports}
    inside = 'ip link set lo up; exec "$@"'
    namespaces = ["unshare", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    done = subprocess.run(
        [*namespaces, "sh", "-ec", inside, "sh", sys.executable, "-m", __name__],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any] | None] = json.loads(done.stdout)
    return answers


class _Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say who was asked for what."""
        port = self.connection.getsockname()[1]
        body = json.dumps({"backend": port, "path": self.path, "host": self.headers["Host"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Nothing."""


def _main() -> None:
    given = json.load(sys.stdin)
    for port in given["ports"]:
        server = ThreadingHTTPServer(("127.0.0.1", port), _Backend)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    answers = [_try(given["program"], Path(folder), given["hosts"]) for folder in given["folders"]]
    json.dump(answers, sys.stdout)


def _try(program: str, folder: Path, hosts: Sequence[str]) -> dict[str, Any] | None:
    static = next(path for path in folder.iterdir() if path.name.startswith("traefik."))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, f"--configFile={static}"], stdout=log, stderr=log, cwd=folder)
    try:
        if not _wait(process, folder / "log"):
            return None
        return {host: _get(80, _ASKED, host) for host in hosts}
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path) -> bool:
    """Until the file provider's routers are loaded, or refused."""
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            text = _get(8080, "/api/http/routers?per_page=100", "localhost", is_json=False).get("body", "")
            if "sentinel@file" in text:
                return True
            if "@internal" in text and "for the first time" in log.read_text(errors="replace"):
                return True
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.02)
    return False


def _get(port: int, path: str, host: str, *, is_json: bool = True) -> Mapping[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
    except (TimeoutError, http.client.HTTPException):
        return {"status": 0}
    finally:
        connection.close()
    if not is_json:
        return {"status": response.status, "body": body}
    seen = json.loads(body) if body.startswith("{") else {}
    return {"status": response.status, "location": response.getheader("Location"), **seen}


if __name__ == "__main__":
    _main()
