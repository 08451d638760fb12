"""The command line's door to the running agent: HTTP over its unix socket, blocking, standard library only."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

LONGEST_ANSWER_SECONDS = 600.0


class AgentNotRunningError(Exception):
    """Nobody answers on the socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"the agent is not running (nobody answers on {path}): systemctl start certagent-agent")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("agent", timeout=LONGEST_ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask_agent(path: Path, method: str, target: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    """(status, document). Raises `AgentNotRunningError`."""
    connection = _UnixConnection(path)
    try:
        connection.request(method, target, json.dumps(body or {}), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (ConnectionError, FileNotFoundError, http.client.HTTPException) as error:
        raise AgentNotRunningError(path) from error
    finally:
        connection.close()
