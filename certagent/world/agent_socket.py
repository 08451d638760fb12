"""The command line's way to the running agent: a line of JSON each way over its unix socket, blocking."""

import json
import socket
from pathlib import Path
from typing import Any

LONGEST_ANSWER_SECONDS = 600.0


class NoAnswerError(Exception):
    """Nobody listens on the socket, or who does ended without an answer."""


def ask_agent(path: Path, ask: str, **details: Any) -> dict[str, Any]:
    """The answer; `{"error": sentence}` where the question was wrong. Raises `NoAnswerError`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(LONGEST_ANSWER_SECONDS)
        try:
            connection.connect(str(path))
        except (ConnectionError, FileNotFoundError) as error:
            reason = f"the agent is not running (nobody answers on {path}): systemctl start certagent-agent"
            raise NoAnswerError(reason) from error
        try:
            connection.sendall(json.dumps({"ask": ask, **details}).encode() + b"\n")
            answer = connection.makefile("rb").readline()
        except ConnectionError:
            answer = b""
    if not answer.endswith(b"\n"):
        raise NoAnswerError("the agent gave no answer; it says why: journalctl -u certagent-agent")
    return dict(json.loads(answer))
