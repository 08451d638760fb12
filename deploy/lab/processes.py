"""Other programs, run to their end; a program that fails is an exception with its own last words."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from deploy.lab import places

_LAST_WORDS = 2000


class Failed(Exception):
    """Something the lab needs to do could not be done; the message is for a person."""


def run(
    argv: Sequence[str | Path],
    *,
    text: str | None = None,
    stdin: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = 600,
) -> str:
    """Run a program and give what it printed.

    `text` is its standard input, or `stdin` a file for it; `env` is added to the environment; `timeout` in seconds.

    Raises:
        Failed: the exit status was not 0, or it took too long.
    """
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            input=None if text is None else text.encode(),
            stdin=None if text is not None else (stdin or subprocess.DEVNULL),
            capture_output=True,
            env={**os.environ, **marked(), **(env or {})},
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as missing:
        raise Failed(f"{argv[0]} is not installed") from missing
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{_line(argv)}: not done after {timeout:.0f} s") from late
    if done.returncode != 0:
        words = (done.stderr.decode(errors="replace") + done.stdout.decode(errors="replace"))[-_LAST_WORDS:]
        raise Failed(f"{_line(argv)}: exit status {done.returncode}\n{words.strip()}")
    return done.stdout.decode(errors="replace")


def marked() -> dict[str, str]:
    """The environment by which `down` recognises a process of the lab, and all that came of it."""
    return {places.MARK: str(places.RUNTIME)}


def _line(argv: Sequence[str | Path]) -> str:
    return " ".join(str(word) for word in argv)[:200]
