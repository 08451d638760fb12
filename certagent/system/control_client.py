"""The command line's way to the running agent: a line of JSON each way over its unix socket, blocking."""

import json
import socket
from pathlib import Path
from typing import Any

LONGEST_ANSWER_SECONDS = 600.0


class NoAnswerError(Exception):
    """Nobody listens on the socket, or who does ended without an answer. `status`: the program's exit status."""

    status = 1


def ask_agent(path: Path, ask: str, **details: Any) -> dict[str, Any]:
    """The answer; `{"error": sentence}` where the question was wrong. Raises `NoAnswerError`."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(LONGEST_ANSWER_SECONDS)
            connection.connect(str(path))
            answer = _exchange(connection, json.dumps({"ask": ask, **details}).encode() + b"\n")
    except (ConnectionRefusedError, FileNotFoundError) as error:
        reason = f"the agent is not running (no answer on {path}): systemctl start certagent-agent"
        raise NoAnswerError(reason) from error
    except OSError as error:
        raise NoAnswerError(f"the agent cannot be reached on {path}: {error.strerror or error}") from error
    if not answer.endswith(b"\n"):
        raise NoAnswerError("the agent did not answer; see its log for the reason: journalctl -u certagent-agent")
    return dict(json.loads(answer))


def _exchange(connection: socket.socket, question: bytes) -> bytes:
    """The answer as far as it came."""
    try:
        connection.sendall(question)
        return connection.makefile("rb").readline()
    except ConnectionError:
        return b""
